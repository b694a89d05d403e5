"""The flow: extract, then validate, clean and transform as maps over the rows, then load in one transaction."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pgflow import Flow, at_most, current_task

from . import store
from .reference import COUNTRIES, RATES
from .rows import BadRow, Fact, Order, Row

ROWS_PER_TASK = 50
"""A row takes microseconds, so 50 share one task. Each fails for itself all the same; a batch in which one does is taken apart."""
TOLERANCE = at_most(percent=5)
"""Beyond that the file is at fault, not some rows of it: the run fails, and nothing is loaded."""


@dataclass(frozen=True)
class Source:
    """The run's input: a file, and the name by which its rows are known in the quarantine."""

    name: str
    path: str


etl = Flow[Source]("etl_example")


@etl.step()
def extract(source: Source) -> list[Row]:
    """Read the file, trusting nothing in it."""
    with Path(source.path).open(encoding="utf-8", newline="") as file:
        return list(numbered(csv.DictReader(file, restkey="surplus", restval="")))


@etl.map(over=extract, batch_size=ROWS_PER_TASK, failure_policy=TOLERANCE)
def validate(row: Row) -> Order:
    """Refuse a row that is not an order, with the reason."""
    if row.repeats is not None:
        raise BadRow("duplicate order", f"{row.fields['order_id']} stands in row {row.repeats}")
    try:
        return Order.model_validate({name: value for name, value in row.fields.items() if value})
    except ValidationError as error:
        raise BadRow.of(error) from None


@etl.map(over=validate, batch_size=ROWS_PER_TASK, failure_policy=TOLERANCE)
def clean(order: Order | None) -> Order | None:
    """Write one thing in one way; None is a row that an earlier map has refused."""
    if order is None:
        return None
    country = COUNTRIES.get(order.country.casefold())
    if country is None:
        raise BadRow("unknown country", order.country)
    customer = " ".join(order.customer.split()).title()
    return order.model_copy(
        update={"country": country, "customer": customer, "currency": order.currency.upper()}
    )


@etl.map(over=clean, batch_size=ROWS_PER_TASK, failure_policy=TOLERANCE)
def transform(order: Order | None) -> Fact | None:
    """Make the fact of an order: its amount in euros."""
    if order is None:
        return None
    rate = RATES.get(order.currency)
    if rate is None:
        raise BadRow("unknown currency", order.currency)
    amount = (order.quantity * order.unit_price / rate).quantize(Decimal("0.01"))
    return Fact(**order.model_dump(), amount_eur=amount)


@etl.step(depends_on=(extract, transform))
def load(rows: list[Row], facts: list[Fact | None]) -> store.Load:
    """Upsert the facts and put the bad rows aside; all of it commits with this task's completion, or nothing."""
    task = current_task()
    source = Source(**task.run_input)
    good = {row.number: fact for row, fact in zip(rows, facts, strict=True) if fact is not None}
    with task.transaction() as connection:
        bad = store.refused_rows(connection, task.run_id, rows)
        return store.write(
            connection, task.run_id, source.name, extracted=len(rows), good=good, bad=bad
        )


def numbered(records: Iterable[dict[str, Any]]) -> Iterator[Row]:
    """Give each record its number, that of a column `row` if there is one, and that of an earlier row with its order id."""
    first: dict[str, int] = {}
    for place, fields in enumerate(records, start=1):
        row = int(fields.pop("row", place))
        earlier = first.setdefault(fields.get("order_id", ""), row)
        yield Row(row, dict(fields), earlier if earlier != row else None)

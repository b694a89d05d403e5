"""The flow: extract, then validate, clean and transform as maps over the rows, then load in one transaction."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pgflow import Flow, NonRetryable, at_most, current_task

from . import store
from .reference import COUNTRIES, RATES
from .rows import UNREADABLE, BadRow, Fact, Order, Row

ROWS_PER_TASK = 50
"""A row takes microseconds, so 50 share one task. Each fails for itself all the same; a batch in which one does is taken apart."""
MOST_BAD = 5
"""Percent of the rows. Beyond that the file is at fault, not some rows of it: the run fails, and nothing is loaded."""
TOLERANCE = at_most(percent=MOST_BAD)
"""Of each map, so that the first one ends the run of a hopeless file; `load` counts what all three have refused."""


@dataclass(frozen=True)
class Source:
    """The run's input: a file, as it was when the run was asked for."""

    path: str
    checksum: str
    mends: str | None = None
    """The name of the source whose rows it has, mended; nothing if they are its own."""

    @classmethod
    def of(cls, path: Path, *, mends: "Source | None" = None) -> "Source":
        """Describe a file, and the one whose rows it mends."""
        return cls(str(path), checksum(path.read_bytes()), mends.name if mends else None)

    @property
    def name(self) -> str:
        """Return by what its rows are known in the quarantine: tomorrow's file of the same name has others."""
        return self.mends or f"{Path(self.path).name}@{self.checksum}"


def checksum(data: bytes) -> str:
    """Tell a content from any other."""
    return sha256(data).hexdigest()[:16]


etl = Flow[Source]("etl_example")


@etl.step()
def extract(source: Source) -> list[Row]:
    """Read the file, trusting nothing in it."""
    data = Path(source.path).read_bytes()
    if checksum(data) != source.checksum:
        raise NonRetryable(f"{source.path} is another file than when the run was asked for")
    # JSON has no place for NUL, nor UTF-8 for some bytes: they become a sign by which `validate` refuses the row.
    text = data.decode("utf-8", errors="replace").replace("\0", UNREADABLE)
    file = io.StringIO(text, newline="")
    return list(numbered(csv.DictReader(file, restkey="surplus", restval="")))


@etl.map(over=extract, batch_size=ROWS_PER_TASK, failure_policy=TOLERANCE)
def validate(row: Row) -> Order:
    """Refuse a row that is not an order, with the reason."""
    if row.repeats is not None:
        raise BadRow("duplicate order", f"{row.fields['order_id']} stands in row {row.repeats}")
    try:
        return Order.model_validate(
            {name: value for name, value in row.fields.items() if str(value).strip()}
        )
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
        if 100 * len(bad) > MOST_BAD * len(rows):
            raise NonRetryable(f"{len(bad)} of {len(rows)} rows are bad, more than {MOST_BAD} %")
        return store.write(
            connection, task.run_id, source.name, extracted=len(rows), good=good, bad=bad
        )


def numbered(records: Iterable[dict[str, Any]]) -> Iterator[Row]:
    """Give each record its number, that of a column `row` if there is one, and that of an earlier row with its order id."""
    first: dict[str, int] = {}
    for place, fields in enumerate(records, start=1):
        row = int(fields.pop("row", place))
        order_id = (fields.get("order_id") or "").strip()  # as `Order` reads it
        earlier = first.setdefault(order_id, row) if order_id else row
        yield Row(row, dict(fields), earlier if earlier != row else None)

"""The rows of the ETL pattern: what becomes of a good one, and what a bad one says."""

from __future__ import annotations

from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest

from examples.etl import store
from examples.etl.flow import clean, numbered, transform, validate
from examples.etl.rows import BadRow, Fact, Order, Row
from tests.support.patterns import GOOD_ORDER


def through_all_maps(row: Row) -> Fact | None:
    fact: Fact | None = transform(clean(validate(row)))
    return fact


def test_a_good_row_becomes_a_fact() -> None:
    fact = through_all_maps(Row(1, GOOD_ORDER))
    assert fact is not None
    assert (fact.customer, fact.country, fact.currency) == ("Ada Lovelace", "DE", "USD")
    assert fact.amount_eur == Decimal("29.05")  # 31.50 / 1.0843


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("unit_price", "10,50", "unparsable number: unit_price = '10,50'"),
        ("quantity", "3.5", "unparsable number: quantity = '3.5'"),
        ("ordered_on", "2026-02-30", "impossible date: ordered_on = '2026-02-30'"),
        ("customer", "", "missing field: customer"),
        ("customer", "  ", "missing field: customer"),
        ("customer", "Ad\ufffd", "string pattern mismatch: customer = 'Ad\ufffd'"),
        ("quantity", "-1", "greater than: quantity = '-1'"),
        ("quantity", "99999999999", "less than equal: quantity = '99999999999'"),
        ("unit_price", "1E+400", "decimal max digits: unit_price = '1E+400'"),
        ("order_id", f"A-{'1' * 39}", f"string too long: order_id = 'A-{'1' * 39}'"),
        ("country", "Atlantis", "unknown country: Atlantis"),
        ("currency", "EURO", "unknown currency: EURO"),
        ("surplus", ["one", "more"], "extra forbidden: surplus = ['one', 'more']"),
    ],
)
def test_a_bad_row_says_what_is_wrong(field: str, value: object, error: str) -> None:
    with pytest.raises(BadRow) as raised:
        through_all_maps(Row(1, {**GOOD_ORDER, field: value}))
    assert str(raised.value) == error


def test_what_an_earlier_map_refused_passes_through() -> None:
    assert clean(None) is None
    assert transform(None) is None


def test_the_second_of_two_equal_order_ids_is_refused() -> None:
    one, two = numbered([GOOD_ORDER, GOOD_ORDER])
    assert isinstance(validate(one), Order)
    with pytest.raises(BadRow, match="duplicate order: A-000001 stands in row 1"):
        validate(two)


def test_an_order_id_is_compared_as_it_is_loaded() -> None:
    _, two = numbered([GOOD_ORDER, GOOD_ORDER | {"order_id": " A-000001 "}])
    with pytest.raises(BadRow, match="duplicate order"):
        validate(two)


def test_rows_without_an_order_id_do_not_repeat_each_other() -> None:
    for row in numbered([GOOD_ORDER | {"order_id": ""}, GOOD_ORDER | {"order_id": " "}]):
        with pytest.raises(BadRow, match="missing field: order_id"):
            validate(row)


def test_the_largest_values_of_a_row_fit_the_table(database_url: str) -> None:
    """What `validate` lets through can be loaded: it would take all other rows along."""
    most = {
        "order_id": f"A-{'9' * 38}",
        "ordered_on": "9999-12-31",
        "quantity": str(2**31 - 1),
        "unit_price": "9999999999.99",
    }
    fact = through_all_maps(Row(1, GOOD_ORDER | most))
    assert fact is not None
    store.create(database_url)
    with psycopg.connect(database_url) as connection:
        done = store.write(connection, uuid4(), "a file", extracted=1, good={1: fact}, bad=[])
    assert done.inserted == 1

"""Make the source file: orders as many systems write them, one in a hundred of them bad. Knows what the truth is."""

import csv
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

from .reference import NAMES, RATES

HEADER: tuple[str, ...] = (
    "order_id",
    "ordered_on",
    "customer",
    "country",
    "quantity",
    "unit_price",
    "currency",
)
FIRST_NAMES = ("ada", "grace", "edsger", "barbara", "alan", "radia", "donald", "margaret")
LAST_NAMES = ("lovelace", "hopper", "dijkstra", "liskov", "turing", "perlman", "knuth", "hamilton")


@dataclass
class Truth:
    """What the file says, and what it would say without its faults."""

    rows: int = 0
    bad: dict[int, str] = field(default_factory=dict)
    """Row number -> what is wrong with it."""
    amount_eur: Decimal = Decimal(0)
    """Of all orders, those of the bad rows included."""
    good_amount_eur: Decimal = Decimal(0)
    """Of the good rows."""
    order_ids: list[str] = field(default_factory=list)
    """Of the good rows, in order."""


Fault = Callable[[dict[str, str], dict[str, str]], None]
"""Spoils a row; may look at the row before it."""


def _spoil_number(row: dict[str, str], _before: dict[str, str]) -> None:
    row["unit_price"] = row["unit_price"].replace(".", ",")


def _spoil_date(row: dict[str, str], _before: dict[str, str]) -> None:
    row["ordered_on"] = "2026-02-30"


def _spoil_field(row: dict[str, str], _before: dict[str, str]) -> None:
    row["customer"] = ""


def _spoil_id(row: dict[str, str], before: dict[str, str]) -> None:
    row["order_id"] = before["order_id"]


def _spoil_currency(row: dict[str, str], _before: dict[str, str]) -> None:
    code = row["currency"].strip().upper()
    row["currency"] = {"EUR": "EURO", "USD": "US$", "GBP": "£"}.get(code, f"{code[:2]}?")


def _spoil_country(row: dict[str, str], _before: dict[str, str]) -> None:
    row["country"] = "Germny"


FAULTS: tuple[tuple[str, Fault, int], ...] = (
    ("unparsable number", _spoil_number, 30),
    ("impossible date", _spoil_date, 25),
    ("missing field", _spoil_field, 20),
    ("unknown currency", _spoil_currency, 10),
    ("duplicate order", _spoil_id, 10),
    ("unknown country", _spoil_country, 5),
)
"""What goes wrong, and how often among a hundred bad rows."""


def generate(path: Path, rows: int, *, seed: int, bad_share: float = 0.01) -> Truth:
    """Write `rows` rows; the same seed writes the same file."""
    chance = random.Random(seed)  # noqa: S311 - sample data, no secret
    faults = _choose_faults(chance, rows, round(rows * bad_share))
    truth = Truth(rows=rows)
    before: dict[str, str] = {}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, HEADER)
        writer.writeheader()
        for number in range(1, rows + 1):
            fault = faults.get(number)
            row, amount = _order(chance, number)
            truth.amount_eur += amount
            if fault is None:
                truth.good_amount_eur += amount
                truth.order_ids.append(row["order_id"])
            else:
                truth.bad[number] = fault[0]
                fault[1](row, before)
            writer.writerow(row)
            before = row if fault is None else before
    return truth


def _choose_faults(chance: random.Random, rows: int, bad: int) -> dict[int, tuple[str, Fault]]:
    # Not the first row: a duplicate needs one before it.
    places = chance.sample(range(2, rows + 1), bad)
    kinds = [(name, spoil) for name, spoil, weight in FAULTS for _ in range(weight)]
    return {place: kinds[index * len(kinds) // bad] for index, place in enumerate(places)}


def _order(chance: random.Random, number: int) -> tuple[dict[str, str], Decimal]:
    currency = chance.choice(sorted(RATES))
    quantity, price = chance.randint(1, 20), Decimal(chance.randint(100, 99_999)) / 100
    country = chance.choice(sorted(NAMES))
    row = {
        "order_id": f"A-{number:06}",
        "ordered_on": str(date(2026, 1, 1) + timedelta(days=chance.randrange(180))),
        "customer": _untidy(chance, f"{chance.choice(FIRST_NAMES)} {chance.choice(LAST_NAMES)}"),
        "country": _untidy(chance, chance.choice((country, *NAMES[country]))),
        "quantity": str(quantity),
        "unit_price": f"{price:.2f}",
        "currency": _untidy(chance, currency),
    }
    amount = (quantity * price / RATES[currency]).quantize(Decimal("0.01"), ROUND_HALF_EVEN)
    return row, amount


def _untidy(chance: random.Random, text: str) -> str:
    return chance.choice((text, text.upper(), text.lower(), f" {text}", f"{text}  "))

"""Mend the rows in quarantine, and show what was changed: `python -m examples.etl.mend QUARANTINE.csv MENDED.csv`."""

import calendar
import csv
import difflib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .generate import HEADER
from .reference import NAMES

Fields = dict[str, str]


@dataclass(frozen=True)
class Change:
    """One field of one row, before and after."""

    row: int
    reason: str
    field: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"row {self.row}, {self.reason}: {self.field} {self.before!r} -> {self.after!r}"


def _decimal_point(fields: Fields) -> Fields:
    return {"unit_price": fields["unit_price"].replace(",", ".")}


def _end_of_month(fields: Fields) -> Fields:
    year, month, _ = map(int, fields["ordered_on"].split("-"))
    return {"ordered_on": f"{year}-{month:02}-{calendar.monthrange(year, month)[1]}"}


def _guest(_fields: Fields) -> Fields:
    return {"customer": "Guest"}


def _iso_currency(fields: Fields) -> Fields:
    signs = {"EURO": "EUR", "US$": "USD", "£": "GBP", "CH?": "CHF", "PL?": "PLN"}
    return {"currency": signs[fields["currency"]]}


def _number_of_its_own(fields: Fields) -> Fields:
    return {"order_id": f"{fields['order_id']}-{fields['row']}"}


def _nearest_country(fields: Fields) -> Fields:
    known = [name for names in NAMES.values() for name in names]
    return {"country": difflib.get_close_matches(fields["country"], known, n=1)[0]}


MENDS: dict[str, Callable[[Fields], Fields]] = {
    "unparsable number": _decimal_point,
    "impossible date": _end_of_month,
    "missing field": _guest,
    "unknown currency": _iso_currency,
    "duplicate order": _number_of_its_own,
    "unknown country": _nearest_country,
}
"""What somebody who knows the data does about each reason."""


def mend(quarantine: Path, mended: Path) -> list[Change]:
    """Write the mended rows, each with its number in the first file; return what was changed."""
    changes = []
    with (
        quarantine.open(encoding="utf-8", newline="") as old,
        mended.open("w", encoding="utf-8", newline="") as new,
    ):
        writer = csv.DictWriter(new, ("row", *HEADER))
        writer.writeheader()
        for record in csv.DictReader(old):
            fields = {name: record[name] for name in ("row", *HEADER)}
            for name, after in MENDS[record["reason"]](fields).items():
                changes.append(
                    Change(int(fields["row"]), record["reason"], name, fields[name], after)
                )
                fields[name] = after
            writer.writerow(fields)
    return changes


if __name__ == "__main__":
    for change in mend(Path(sys.argv[1]), Path(sys.argv[2])):
        print(change)

"""Mend the rows in quarantine, and show what was changed: `python -m examples.etl.mend QUARANTINE.csv MENDED.csv`."""

import argparse
import calendar
import csv
import difflib
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


def _guest(fields: Fields) -> Fields:
    if fields["customer"].strip():
        raise LookupError("another field is missing")
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
"""What somebody who knows the data does about each reason; LookupError or ValueError where it is not known."""


def mend(quarantine: Path, mended: Path) -> tuple[list[Change], list[int]]:
    """Write the mended rows, each with its number in the first file.

    Return what was changed, and the rows that nobody knows how to mend: they are left out, and stay in quarantine.
    """
    changes: list[Change] = []
    left: list[int] = []
    with (
        quarantine.open(encoding="utf-8", newline="") as old,
        mended.open("w", encoding="utf-8", newline="") as new,
    ):
        writer = csv.DictWriter(new, ("row", *HEADER))
        writer.writeheader()
        for record in csv.DictReader(old):
            fields = {name: record[name] for name in ("row", *HEADER)}
            row, reason = int(fields["row"]), record["reason"]
            try:
                better = MENDS[reason](fields)
            except (LookupError, ValueError):
                left.append(row)
                continue
            changes += [
                Change(row, reason, name, fields[name], after) for name, after in better.items()
            ]
            writer.writerow(fields | better)
    return changes, left


def main() -> None:
    """Mend the file that the command line names."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}.mend", description=__doc__)
    parser.add_argument("quarantine", type=Path, help="the rows, as the example writes them")
    parser.add_argument("mended", type=Path, help="where the mended ones go")
    options = parser.parse_args()
    changes, left = mend(options.quarantine, options.mended)
    for change in changes:
        print(change)
    for row in left:
        print(f"row {row}: left in quarantine")


if __name__ == "__main__":
    main()

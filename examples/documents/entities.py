"""Finds people, companies, dates and amounts by rules; honest about what rules can do.

A person is known by a title, by a label such as `Present:`, or by a signature; a company by its legal form. Names that
appear bare in a sentence are not found: that takes a trained model, which you may put in the place of `find`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

Kind = Literal["person", "company", "date", "amount"]

MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_MONTH = f"(?P<month>{'|'.join(MONTHS)})"
DATES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(?P<year>\d{4})-(?P<number>\d{2})-(?P<day>\d{2})\b",
        r"\b(?P<day>\d{1,2})\.(?P<number>\d{1,2})\.(?P<year>\d{4})\b",
        rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+{_MONTH}\s+(?P<year>\d{{4}})\b",
        rf"\b{_MONTH}\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,\s+(?P<year>\d{{4}})\b",
    )
]
CURRENCIES = {"€": "EUR", "£": "GBP", "$": "USD"}
AMOUNT = re.compile(
    r"(?P<currency>\b(?:EUR|GBP|USD|CHF)\b|[€£$])\s?(?P<number>\d{1,3}(?:,\d{3})+|\d+)(?P<cents>\.\d{2})?(?![\d,.]*\d)"
)
_WORD = r"[A-Z][\w'-]+"
COMPANY = re.compile(
    rf"(?:{_WORD}|&)(?:[ ]+(?:{_WORD}|&|and|of)){{0,5}}[ ]+(?:Ltd|Limited|plc|LLP|Inc|GmbH|AG|AB|AS|BV|SA|Oy)\b"
)
_TITLE = r"(?:Mr|Mrs|Ms|Miss|Dr|Prof)\.?"
TITLED = re.compile(
    # A line may end after the title or after the given name; what follows a whole name is another line.
    rf"\b{_TITLE}\s+(?P<name>{_WORD}(?:[ ]+{_WORD}){{1,2}}|{_WORD}\n{_WORD}|{_WORD})"
)
LABELLED = re.compile(
    r"^(?:Present|Apologies|Chair|Issued by|Contact|Attention):[ ]*(?P<names>.+(?:(?<=,)\n.+)*)",
    re.MULTILINE,
)
SIGNED = re.compile(
    rf"(?:Yours \w+|(?:Kind|Best) regards),\s+(?P<name>{_WORD}(?:[ ]+{_WORD}){{1,2}})"
)
NAME = re.compile(rf"(?:{_TITLE}\s+)?(?P<name>{_WORD}(?:[ ]+{_WORD}){{1,2}})")


@dataclass(frozen=True, slots=True)
class Entity:
    """Something that a page names."""

    kind: Kind
    value: str
    """In one form for all spellings: 2026-03-12, EUR 1240.50, a name without title."""
    text: str
    """As it stands there."""


def find(text: str) -> list[Entity]:
    """Return what a page names, each thing once, in the order of the kinds."""
    found = [*_people(text), *_companies(text), *_dates(text), *_amounts(text)]
    return list({(entity.kind, entity.value): entity for entity in reversed(found)}.values())[::-1]


def _people(text: str) -> Iterator[Entity]:
    for match in TITLED.finditer(text):
        yield Entity("person", " ".join(match["name"].split()), match[0])
    for match in LABELLED.finditer(text):
        for part in match["names"].split(","):
            if name := NAME.search(part):
                yield Entity("person", name["name"], name[0])
    for match in SIGNED.finditer(text):
        yield Entity("person", match["name"], match["name"])


def _companies(text: str) -> Iterator[Entity]:
    for match in COMPANY.finditer(text):
        yield Entity("company", match[0], match[0])


def _dates(text: str) -> Iterator[Entity]:
    for pattern in DATES:
        for match in pattern.finditer(text):
            parts = match.groupdict()
            month = parts.get("number") or MONTHS.index(parts["month"].lower()) + 1
            try:
                day = date(int(parts["year"]), int(month), int(parts["day"]))
            except ValueError:
                continue  # the 31st of a month that has 30 days is no date
            yield Entity("date", day.isoformat(), match[0])


def _amounts(text: str) -> Iterator[Entity]:
    for match in AMOUNT.finditer(text):
        number = Decimal(match["number"].replace(",", "") + (match["cents"] or ""))
        currency = CURRENCIES.get(match["currency"], match["currency"])
        yield Entity("amount", f"{currency} {number:.2f}", match[0])

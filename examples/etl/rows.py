"""What a row is on its way: as it stands in the file, as an order, as a fact to load."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pgflow import NonRetryable

UNREADABLE = "\ufffd"
"""Stands for what is no text: bytes that are not UTF-8, and NUL."""
LARGEST = 2**31 - 1
"""What PostgreSQL's int holds."""
KINDS = {
    "missing": "missing field",
    "decimal_parsing": "unparsable number",
    "int_parsing": "unparsable number",
    "date_from_datetime_parsing": "impossible date",
    "date_parsing": "impossible date",
}
"""Names of pydantic's errors in the quarantine; the others keep the name that pydantic gives them."""


class BadRow(NonRetryable):
    """Raised by a map: this row goes into quarantine, another attempt would not help it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")

    @classmethod
    def of(cls, error: ValidationError) -> "BadRow":
        """Name the first thing that is wrong with a row."""
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        given = "" if first["type"] == "missing" else f" = {first['input']!r}"
        return cls(KINDS.get(first["type"], first["type"].replace("_", " ")), f"{field}{given}")


@dataclass(frozen=True)
class Row:
    """A record of the file, unread."""

    number: int
    """Counted from 1, without the header."""
    fields: dict[str, Any]
    repeats: int | None = None
    """The number of an earlier row with the same order id."""


class Order(BaseModel):
    """A row that says what an order must say."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, frozen=True)

    order_id: str = Field(pattern=r"^A-[0-9]+(-[0-9]+)?$", max_length=40)
    ordered_on: date
    customer: str = Field(pattern=f"^[^{UNREADABLE}]+$")
    country: str
    quantity: int = Field(gt=0, le=LARGEST)
    unit_price: Decimal = Field(gt=0, max_digits=12, decimal_places=2)
    currency: str


class Fact(BaseModel):
    """A row of the table that is loaded."""

    order_id: str
    ordered_on: date
    customer: str
    country: str
    quantity: int
    unit_price: Decimal
    currency: str
    amount_eur: Decimal

"""How the stand-in writes SQL: a sentence and the description of a table become a SELECT."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .words import stems

TABLE = re.compile(r"(?P<name>\w+\.\w+)\((?P<columns>.*)\)")
COLUMN = re.compile(
    r"(?P<name>\w+) (?P<type>date|integer|numeric|text)(?: /\* (?P<values>.*?) \*/)?"
)
REVENUE = frozenset({"revenue", "turnover", "earn"})


@dataclass(frozen=True, slots=True)
class Column:
    """A column, as the tool describes it."""

    name: str
    type: str
    values: tuple[str, ...] = ()


def to_sql(sentence: str, description: str) -> str | None:
    """Write the SELECT that a sentence asks for; None if it asks for nothing that can be summed."""
    table = TABLE.search(description)
    if table is None:
        return None
    columns = [
        Column(found["name"], found["type"], tuple((found["values"] or "").split(" | ")))
        for found in COLUMN.finditer(table["columns"])
    ]
    summed = _summed(sentence, columns)
    if summed is None:
        return None
    measure, units = summed
    groups = [*_groups(sentence, columns), *units]
    statement = f"select {', '.join([*groups, measure])} from {table['name']}"  # noqa: S608 - it plays the model: nothing trusts its SQL
    if conditions := _conditions(sentence, columns):
        statement += f" where {' and '.join(conditions)}"
    if groups:
        statement += f" group by {', '.join(groups)} order by {measure.split()[-1]} desc"
    return f"{statement} limit 1" if re.search(r"\bwhich\b", sentence, re.IGNORECASE) else statement


def _summed(sentence: str, columns: list[Column]) -> tuple[str, list[str]] | None:
    """Return what is summed, and the columns that name its unit."""
    counts = [column.name for column in columns if column.type == "integer" and column.name != "id"]
    prices = [column.name for column in columns if column.type == "numeric"]
    units = [column.name for column in columns if column.name == "currency"]
    if REVENUE & stems(sentence) and counts and prices:
        return f"sum({counts[0]} * {prices[0]}) as revenue", units
    asked = re.search(r"(?:how many|the most) (\w+)", sentence, re.IGNORECASE)
    if asked and asked[1] in counts:
        return f"sum({asked[1]}) as {asked[1]}", []
    return None


def _groups(sentence: str, columns: list[Column]) -> list[str]:
    """Return the columns that the sentence asks for, or names a value of."""
    asked = re.findall(r"\b(?:which|per|each) (\w+)", sentence.lower())
    return [
        column.name
        for column in columns
        if column.name in asked or any(value and value in sentence for value in column.values)
    ]


def _conditions(sentence: str, columns: list[Column]) -> list[str]:
    """Return what the sentence's names and years narrow down."""
    conditions = []
    for column in columns:
        named = [value for value in column.values if value and value in sentence]
        conditions += [
            f"{column.name} = '{value.replace(chr(39), chr(39) * 2)}'" for value in named
        ]
        if column.type == "date":
            years = re.findall(r"\b(?:19|20)\d\d\b", sentence)
            conditions += [f"extract(year from {column.name}) = {year}" for year in years]
    return conditions

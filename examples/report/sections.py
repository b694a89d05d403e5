"""The figures of each section, by SQL over the company's tables."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Self

import psycopg

from pgflow import NonRetryable

QUARTER = re.compile(r"([12]\d{3})-Q([1-4])")
MONTHS = 3


@dataclass(frozen=True)
class Quarter:
    """Three months: from the first day to the one after the last."""

    year: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `2026-Q3`."""
        if (found := QUARTER.fullmatch(text)) is None:
            raise NonRetryable(f"{text!r} is no quarter: write it as 2026-Q3")
        return cls(int(found[1]), int(found[2]))

    @property
    def days(self) -> Mapping[str, date]:
        """Return the quarter's bounds, and the beginning of the one before, as a query's parameters."""
        first = self.year * 12 + (self.number - 1) * MONTHS
        return {
            name: date((first + months) // 12, (first + months) % 12 + 1, 1)
            for name, months in (("before", -MONTHS), ("first", 0), ("after", MONTHS))
        }


@dataclass
class Figure:
    """One number that the section is about."""

    label: str
    value: Decimal
    unit: str


@dataclass
class Series:
    """What the section's chart shows."""

    title: str
    labels: list[str]
    values: list[Decimal]
    unit: str


@dataclass
class Section:
    """A section of the report: figures, a table, a chart; nothing formatted yet."""

    title: str
    figures: list[Figure]
    columns: list[str]
    units: list[str]
    """Of the columns after the first."""
    rows: list[tuple[str, list[Decimal | None]]]
    """None where there is nothing to compute from: no signups, no ticket closed."""
    series: Series


REVENUE = """
select sum(amount) filter (where ordered_on >= %(first)s), count(*) filter (where ordered_on >= %(first)s),
  round(avg(amount) filter (where ordered_on >= %(first)s), 2),
  round(100 * sum(amount) filter (where ordered_on >= %(first)s)
    / nullif(sum(amount) filter (where ordered_on < %(first)s), 0) - 100, 1)
from example_report.orders where ordered_on >= %(before)s and ordered_on < %(after)s
"""
REVENUE_BY_REGION = """
select region, count(*), sum(amount), round(100 * sum(amount) / nullif(sum(sum(amount)) over (), 0), 1)
from example_report.orders where ordered_on >= %(first)s and ordered_on < %(after)s
group by region order by sum(amount) desc
"""
REVENUE_BY_WEEK = """
select to_char(greatest(date_trunc('week', ordered_on), %(first)s), 'DD Mon'), sum(amount)
from example_report.orders where ordered_on >= %(first)s and ordered_on < %(after)s
group by date_trunc('week', ordered_on) order by date_trunc('week', ordered_on)
"""
CAMPAIGNS = """
select sum(cost), sum(visits), sum(signups), round(sum(cost) / nullif(sum(signups), 0), 2)
from example_report.campaigns where ran_on >= %(first)s and ran_on < %(after)s
"""
CAMPAIGNS_BY_CHANNEL = """
select channel, sum(cost), sum(visits), sum(signups), round(sum(cost) / nullif(sum(signups), 0), 2)
from example_report.campaigns where ran_on >= %(first)s and ran_on < %(after)s
group by channel order by sum(signups) desc
"""
TICKETS = """
select count(*), count(*) filter (where closed_at is null),
  round(percentile_cont(0.5) within group (order by extract(epoch from closed_at - opened_at))::numeric / 3600, 1),
  round(100.0 * count(*) filter (where closed_at - opened_at <= interval '1 day') / nullif(count(*), 0), 1)
from example_report.tickets where opened_at >= %(first)s and opened_at < %(after)s
"""
TICKETS_BY_TOPIC = """
select topic, count(*), count(*) filter (where closed_at is null),
  round(percentile_cont(0.5) within group (order by extract(epoch from closed_at - opened_at))::numeric / 3600, 1)
from example_report.tickets where opened_at >= %(first)s and opened_at < %(after)s
group by topic order by count(*) desc, topic
"""
TICKETS_BY_WEEK = """
select to_char(greatest(date_trunc('week', opened_at), %(first)s), 'DD Mon'), count(*)
from example_report.tickets where opened_at >= %(first)s and opened_at < %(after)s
group by date_trunc('week', opened_at) order by date_trunc('week', opened_at)
"""


def sales(dsn: str, quarter: Quarter) -> Section:
    """Read what was sold."""
    (total,), regions, weeks = _query(dsn, quarter, REVENUE, REVENUE_BY_REGION, REVENUE_BY_WEEK)
    return Section(
        "Sales",
        _figures(total, Revenue="€", Orders="", Average_order="€", Growth="%"),
        ["Region", "Orders", "Revenue", "Share"],
        ["", "€", "%"],
        _rows(regions),
        _series("Revenue by week", weeks, "€"),
    )


def marketing(dsn: str, quarter: Quarter) -> Section:
    """Read what was spent on being known, and what it brought."""
    (total,), channels = _query(dsn, quarter, CAMPAIGNS, CAMPAIGNS_BY_CHANNEL)
    signups = [(channel, signups) for channel, _, _, signups, _ in channels]
    return Section(
        "Marketing",
        _figures(total, Spend="€", Visits="", Signups="", Cost_per_signup="€"),
        ["Channel", "Spend", "Visits", "Signups", "Cost per signup"],
        ["€", "", "", "€"],
        _rows(channels),
        _series("Signups by channel", signups, ""),
    )


def operations(dsn: str, quarter: Quarter) -> Section:
    """Read what customers asked for, and how long they waited."""
    (total,), topics, weeks = _query(dsn, quarter, TICKETS, TICKETS_BY_TOPIC, TICKETS_BY_WEEK)
    return Section(
        "Operations",
        _figures(total, Tickets="", Open="", Median_time="h", Closed_in_a_day="%"),
        ["Topic", "Tickets", "Open", "Median time"],
        ["", "", "h"],
        _rows(topics),
        _series("Tickets by week", weeks, ""),
    )


def _query(dsn: str, quarter: Quarter, *queries: str) -> list[list[tuple[Any, ...]]]:
    """Return the rows of each query, all of one moment."""
    with psycopg.connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return [connection.execute(query.encode(), quarter.days).fetchall() for query in queries]


def _figures(values: tuple[Any, ...], **units: str) -> list[Figure]:
    if None in values:
        raise NonRetryable(f"the tables have too little for the figures {', '.join(units)}")
    return [
        Figure(name.replace("_", " "), Decimal(value), unit)
        for (name, unit), value in zip(units.items(), values, strict=True)
    ]


def _rows(rows: list[tuple[Any, ...]]) -> list[tuple[str, list[Decimal | None]]]:
    return [
        (name, [None if value is None else Decimal(value) for value in values])
        for name, *values in rows
    ]


def _series(title: str, rows: list[tuple[Any, ...]], unit: str) -> Series:
    labels, values = zip(*rows, strict=True)
    return Series(title, list(labels), [Decimal(value) for value in values], unit)

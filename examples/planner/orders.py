"""The shop: its tables, and two years of orders, the same at each run, in which some months stand out."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

SEED = 20_251_129
REGIONS = {"north": 1.25, "east": 0.8, "south": 1.1, "west": 0.95}
"""How much the second year brings, as a share of the first."""
PRODUCTS = {"bicycle": 640.0, "helmet": 70.0, "lamp": 35.0, "lock": 45.0, "pump": 20.0}
SURGES = {"2025-04": ("helmet", 14.0), "2025-11": ("bicycle", 2.4)}
"""Months in which a product sells so many times as much as usual."""

TABLES = b"""
create schema if not exists planner_example;
drop table if exists planner_example.orders;
create table planner_example.orders (
  order_id int primary key, placed_on date not null, region text not null, product text not null, amount numeric not null
);
create table if not exists planner_example.reports (
  report_id uuid primary key default gen_random_uuid(), run_id uuid not null, title text not null, body text not null
);
create table if not exists planner_example.follow_ups (run_id uuid not null, goal text not null);
"""


def orders() -> Iterator[tuple[date, str, str, float]]:
    """Make the orders of 2024 and 2025."""
    chance = random.Random(SEED)  # noqa: S311 - the same orders each time
    day = date(2024, 1, 1)
    while day.year < 2026:  # noqa: PLR2004 - two years
        for region, growth in REGIONS.items():
            for product, price in PRODUCTS.items():
                rate = growth if day.year == 2025 else 1.0  # noqa: PLR2004 - the second
                surging, factor = SURGES.get(f"{day:%Y-%m}", ("", 1.0))
                rate *= factor if product == surging else 1.0
                count = int(rate) + (chance.random() < rate % 1)
                for _ in range(count):
                    yield day, region, product, round(price * chance.uniform(0.9, 1.1), 2)
        day += timedelta(days=1)


def fill(connection: Connection[Any]) -> int:
    """Make the tables anew, and return the number of orders."""
    connection.execute(TABLES)
    with connection.cursor().copy(
        b"copy planner_example.orders (order_id, placed_on, region, product, amount) from stdin"
    ) as copy:
        number = 0
        for number, order in enumerate(orders(), 1):
            copy.write_row((number, *order))
    return number

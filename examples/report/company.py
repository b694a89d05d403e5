"""A company of some thousand rows, the same at every run."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import psycopg

SCHEMA = Path(__file__).with_name("schema.sql")
FIRST, LAST = date(2026, 1, 1), date(2026, 9, 30)
DAYS = (LAST - FIRST).days + 1
ORDERS, TICKETS = 9_000, 3_000
REGIONS = {"North": 0.8, "South": 1.0, "East": 0.6, "West": 1.3}
CHANNELS = {"Search": 90, "Social": 60, "Newsletter": 15, "Fairs": 120, "Partners": 45}
TOPICS = {"Delivery": 14, "Invoice": 30, "Returns": 22, "Product": 9}


def found(dsn: str) -> None:
    """Make the tables anew, and fill them."""
    chance = Random(2026)  # noqa: S311 - the same numbers each time are the point
    with psycopg.connect(dsn) as connection:
        connection.execute(SCHEMA.read_bytes())
        cursor = connection.cursor()
        with cursor.copy("copy example_report.orders from stdin") as copy:
            for number in range(ORDERS):
                # More orders later in the year.
                day = FIRST + timedelta(days=int(DAYS * chance.random() ** 0.8))
                region = chance.choices(list(REGIONS), weights=list(REGIONS.values()))[0]
                amount = Decimal(round(chance.lognormvariate(4.2, 0.7) * 100)) / 100
                copy.write_row((number + 1, day, region, amount))
        with cursor.copy("copy example_report.campaigns from stdin") as copy:
            for passed in range(DAYS):
                for channel, budget in CHANNELS.items():
                    cost = Decimal(round(budget * chance.uniform(60, 140))) / 100
                    visits = chance.randint(20, 60 + budget)
                    signups = sum(chance.random() < 0.07 for _ in range(visits))  # noqa: PLR2004 - a share
                    copy.write_row((FIRST + timedelta(days=passed), channel, cost, visits, signups))
        with cursor.copy("copy example_report.tickets from stdin") as copy:
            for number in range(TICKETS):
                topic = chance.choice(list(TOPICS))
                start = datetime.combine(FIRST, datetime.min.time())
                opened = start + timedelta(minutes=chance.randrange(DAYS * 24 * 60))
                hours = chance.expovariate(1 / TOPICS[topic])
                closed = opened + timedelta(seconds=round(hours * 3600))
                is_closed = closed.date() <= LAST and chance.random() > 0.01  # noqa: PLR2004 - a share
                copy.write_row((number + 1, opened, closed if is_closed else None, topic))

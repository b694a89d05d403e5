"""The suppliers, invented and the same each time: Alder reports what goods-in counted, Birch reports something better."""

from __future__ import annotations

import random
from dataclasses import astuple, dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg

HERE = Path(__file__).parent
QUARTERS = (1, 2, 3, 4)
A_QUARTER = 40
"""Deliveries a quarter."""
PRICE = {2024: Decimal("4.80"), 2025: Decimal("4.95")}
HONEST, FLATTERING = "Alder", "Birch"
LATE = {HONEST: 0.035, FLATTERING: 0.16}
DEFECTIVE = {HONEST: 0.008, FLATTERING: 0.034}
FLATTERY = (0.975, 0.009)
"""Shares on time and defective that the second supplier reports, whatever goods-in counts."""

NOTES = {
    HONEST: {
        date(2025, 3, 11): "Clean plant, good and open people; the new furnace works well.",
        date(2025, 9, 2): "Reliable as before. One complaint was settled within a day.",
    },
    FLATTERING: {
        date(2025, 4, 8): "Friendly reception, good presentation; the warehouse is well ordered.",
        date(2025, 10, 14): "Good talks with the new head of sales, a reliable impression.",
    },
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """A row of agent_team_example.deliveries."""

    id: int
    supplier: str
    promised_on: date
    delivered_on: date
    pieces: int
    defective: int
    unit_price: Decimal


def deliveries() -> list[Delivery]:
    """Make a year of deliveries of both suppliers."""
    chance = random.Random(2025)  # noqa: S311 - data for an example, no secret
    made: list[Delivery] = []
    for supplier in (HONEST, FLATTERING):
        for number in range(len(QUARTERS) * A_QUARTER):
            promised = date(2025, 1, 6) + timedelta(
                days=number * 358 // (len(QUARTERS) * A_QUARTER)
            )
            late = (
                chance.randint(1, 9) if chance.random() < LATE[supplier] else -chance.randint(0, 2)
            )
            pieces = chance.randint(200, 900)
            defective = sum(chance.random() < DEFECTIVE[supplier] for _ in range(pieces))
            price = PRICE[2024 if number < A_QUARTER else 2025]
            delivered = promised + timedelta(days=late)
            made.append(
                Delivery(len(made) + 1, supplier, promised, delivered, pieces, defective, price)
            )
    return made


def scorecards() -> list[tuple[str, int, float, float]]:
    """Make what each supplier reports: supplier, quarter, share on time, share defective."""
    reported = []
    for supplier in (HONEST, FLATTERING):
        own = [delivery for delivery in deliveries() if delivery.supplier == supplier]
        for quarter in QUARTERS:
            part = own[(quarter - 1) * A_QUARTER : quarter * A_QUARTER]
            on_time = sum(each.delivered_on <= each.promised_on for each in part) / len(part)
            defective = sum(each.defective for each in part) / sum(each.pieces for each in part)
            shares = (on_time, defective) if supplier == HONEST else FLATTERY
            reported.append((supplier, quarter, *shares))
    return reported


def set_up(dsn: str) -> None:
    """Create the tables where they are missing, and fill them anew."""
    with psycopg.connect(dsn) as connection:
        connection.execute("select pg_advisory_xact_lock(hashtext('examples.agent_team'))")
        connection.execute((HERE / "schema.sql").read_bytes())
        for clear in (
            "delete from agent_team_example.scorecards",
            "delete from agent_team_example.deliveries",
            "delete from agent_team_example.prices",
            "delete from agent_team_example.notes",
            "delete from agent_team_example.certificates",
        ):
            connection.execute(clear)
        cursor = connection.cursor()
        with cursor.copy("copy agent_team_example.deliveries from stdin") as copy:
            for delivery in deliveries():
                copy.write_row(astuple(delivery))
        cursor.executemany(
            "insert into agent_team_example.scorecards values (%s, %s, %s, %s)", scorecards()
        )
        for supplier in (HONEST, FLATTERING):
            cursor.executemany(
                "insert into agent_team_example.prices values (%s, %s, %s)",
                [(supplier, year, price) for year, price in PRICE.items()],
            )
            cursor.executemany(
                "insert into agent_team_example.notes values (%s, %s, %s)",
                [(supplier, day, note) for day, note in NOTES[supplier].items()],
            )
            cursor.execute(
                "insert into agent_team_example.certificates values (%s, 'ISO 9001', '2027-06-30')",
                (supplier,),
            )

"""What the agent can look into: the roastery's orders and handbook in the database, and a role that may read them."""

from __future__ import annotations

import random
import re
import secrets
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.conninfo import make_conninfo

from .embedding import embed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

HERE = Path(__file__).parent
ORDERS = 1200
FIRST_DAY, DAYS = date(2024, 1, 1), 731
CURRENCIES = {"Germany": "EUR", "Japan": "JPY", "Norway": "NOK", "United Kingdom": "GBP"}
PRICE_LEVELS = {
    "EUR": Decimal("1.00"),
    "GBP": Decimal("0.86"),
    "JPY": Decimal(163),
    "NOK": Decimal("11.6"),
}
PRODUCTS = {
    "Guji": 14,
    "Huila": 11,
    "Kirinyaga": 16,
    "Mandheling": 12,
    "Sidamo": 13,
    "Yirgacheffe": 15,
}
"""Prices of a bag in euros."""


@dataclass(frozen=True, slots=True)
class Order:
    """A row of agent_example.orders."""

    id: int
    ordered_on: date
    country: str
    product: str
    bags: int
    unit_price: Decimal
    currency: str


def orders() -> list[Order]:
    """Make the orders of two years: invented, and the same each time."""
    chance = random.Random(2026)  # noqa: S311 - data for an example, no secret
    made = []
    for number in range(1, ORDERS + 1):
        country, product = chance.choice(list(CURRENCIES)), chance.choice(list(PRODUCTS))
        currency = CURRENCIES[country]
        price = round(PRODUCTS[product] * PRICE_LEVELS[currency], 2)
        day = FIRST_DAY + timedelta(days=chance.randrange(DAYS))
        made.append(Order(number, day, country, product, chance.randint(1, 40), price, currency))
    return made


def passages() -> list[tuple[str, str]]:
    """Read the handbook: a title and a text for each of its chapters."""
    handbook = (HERE / "data" / "handbook.md").read_text("utf-8")
    chapters = re.findall(r"^## (.+)\n((?:(?!#).+\n)+)", handbook, re.MULTILINE)
    return [(title, body.strip()) for title, body in chapters]


def set_up(dsn: str) -> None:
    """Create the tables where they are missing, and fill them anew."""
    with psycopg.connect(dsn) as connection:
        connection.execute("select pg_advisory_xact_lock(hashtext('examples.agent'))")
        connection.execute("create extension if not exists vector")
        connection.execute((HERE / "schema.sql").read_bytes())
        connection.execute("delete from agent_example.orders")
        connection.execute("delete from agent_example.passages")
        _fill(connection)


def _fill(connection: Connection) -> None:
    with connection.cursor().copy("copy agent_example.orders from stdin") as copy:
        for order in orders():
            copy.write_row(astuple(order))
    register_vector(connection)
    chapters = passages()
    vectors = embed([f"{title}. {body}" for title, body in chapters])
    connection.cursor().executemany(
        "insert into agent_example.passages (title, body, embedding) values (%s, %s, %s)",
        [(*chapter, vector) for chapter, vector in zip(chapters, vectors, strict=True)],
    )


@contextmanager
def reading_role(dsn: str) -> Iterator[str]:
    """Make a role for the tools, with a password of its own; yield its address, and drop it at the end.

    An application would have one such role for good. It needs CREATEROLE, or being superuser.
    """
    name, password = f"agent_reader_{secrets.token_hex(4)}", secrets.token_urlsafe()
    role = sql.Identifier(name)
    with psycopg.connect(dsn, autocommit=True) as connection:
        create = sql.SQL("create role {} login password {}").format(role, sql.Literal(password))
        connection.execute(create)
        try:
            for statement in (
                "alter role {} set default_transaction_read_only = on",
                "alter role {} set statement_timeout = '2s'",
                "grant usage on schema agent_example to {}",
                "grant select on agent_example.orders, agent_example.passages to {}",
            ):
                connection.execute(sql.SQL(statement).format(role))
            yield make_conninfo(dsn, user=name, password=password)
        finally:
            connection.execute(sql.SQL("drop owned by {}").format(role))
            connection.execute(sql.SQL("drop role {}").format(role))

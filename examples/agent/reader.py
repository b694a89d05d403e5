"""Reads the database for the tools, as a role that the database itself keeps from writing.

What a model writes is not to be trusted, and a filter over SQL text can be talked around. So the tools log in
as a role of their own: it may select from two tables, its transactions are read-only, and its statements end after 2 s.
"""

from __future__ import annotations

import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row
from pydantic_core import to_jsonable_python

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import numpy as np
    from numpy.typing import NDArray
    from pydantic import JsonValue

MOST_ROWS = 50
LONGEST_ROW = 2000
"""Letters of a row's JSON; a model pays for each, and a row could be a gigabyte."""


class TooLongError(ValueError):
    """A row of the answer is longer than anybody wants to read."""


@asynccontextmanager
async def _connected() -> AsyncIterator[AsyncConnection[dict[str, Any]]]:
    """Connect as the reader, in a transaction that is read-only."""
    dsn = os.environ["AGENT_READER_DSN"]
    async with await AsyncConnection[dict[str, Any]].connect(
        dsn, row_factory=dict_row
    ) as connection:
        await connection.set_read_only(True)
        yield connection


async def select(statement: str) -> JsonValue:
    """Run a SELECT of the model's; a prepared statement cannot hide a second behind a semicolon.

    The server keeps back what is too much. Decimals become strings, as they stand: a float would round them.
    """
    asked = statement.strip().removesuffix(";")
    bounded = f"""
        select left(to_json(answer)::text, {LONGEST_ROW + 1}) as row
        from (
        {asked}
        ) as answer limit {MOST_ROWS}
    """  # noqa: S608 - nothing trusts it; the role can do no harm
    async with _connected() as connection:
        cursor = await connection.execute(bounded.encode(), prepare=True)
        rows = [row["row"] for row in await cursor.fetchall()]
    if any(len(row) > LONGEST_ROW for row in rows):
        raise TooLongError(f"a row has more than {LONGEST_ROW:,} letters; select less of it")
    return [json.loads(row, parse_float=str) for row in rows]


async def nearest_passages(vector: NDArray[np.float32], *, most: int = 3) -> JsonValue:
    """Return the passages nearest to a vector, by cosine."""
    async with _connected() as connection:
        await register_vector_async(connection)
        cursor = await connection.execute(
            "select title, body from agent_example.passages order by embedding <=> %s limit %s",
            (vector, most),
        )
        return _plain(await cursor.fetchall())


async def describe_orders() -> str:
    """Return the table's definition, with the values of its text columns: a model needs to know what it can ask for."""
    async with _connected() as connection:
        cursor = await connection.execute(
            """
            select column_name as name, data_type as type from information_schema.columns
            where table_schema = 'agent_example' and table_name = 'orders' order by ordinal_position
            """
        )
        columns = []
        for column in await cursor.fetchall():
            values = await _values(connection, column["name"]) if column["type"] == "text" else ""
            columns.append(f"{column['name']} {column['type']}{values}")
    return f"agent_example.orders({', '.join(columns)})"


async def _values(connection: AsyncConnection[dict[str, Any]], column: str) -> str:
    query = sql.SQL("select distinct {} as value from agent_example.orders order by 1 limit 20")
    cursor = await connection.execute(query.format(sql.Identifier(column)))
    return " /* " + " | ".join(row["value"] for row in await cursor.fetchall()) + " */"


def _plain(rows: list[dict[str, Any]]) -> JsonValue:
    """Return rows as plain JSON."""
    plain: JsonValue = to_jsonable_python(rows, fallback=str)
    return plain

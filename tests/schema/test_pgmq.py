"""Feature A18: installing beside a pgmq that is there already, as an extension or as plain SQL, or is not."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from pgflow import Database, Flow
from pgflow._sources import pgmq_sql
from pgflow.execute import execute_async
from pgflow.schema import install

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTROL = """
comment = 'a message queue'
default_version = 'test'
schema = 'pgmq'
relocatable = false
superuser = true
"""
CONTROL_PATH_SINCE = 180000
"""The first server that looks for extensions where a setting says."""


def functions_of_pgmq(connection: psycopg.Connection[Any]) -> set[tuple[int, str]]:
    return set(
        connection.execute(
            "select oid, proname from pg_proc where pronamespace = 'pgmq'::regnamespace"
        ).fetchall()
    )


async def doubled(dsn: str, number: int) -> int:
    """Run a flow with a retry and a map, which uses all that is used of pgmq."""
    flow = Flow[int]("doubled", base_delay=0)

    @flow.step()
    def count(number: int) -> list[int]:
        return list(range(number))

    @flow.map(over=count)
    def double(number: int) -> int:
        return 2 * number

    @flow.step(depends_on=(double,))
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    async with Database.connect(dsn) as db:
        return (await execute_async(flow, number, dsn=db, timeout=60))[total]


async def test_a18_without_pgmq_its_sql_is_installed_along(empty_database_url: str) -> None:
    install(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        assert functions_of_pgmq(connection)
        assert (
            connection.execute("select from pg_extension where extname = 'pgmq'").fetchall() == []
        )
    assert await doubled(empty_database_url, 4) == 12


async def test_a18_a_pgmq_schema_that_is_there_is_used_as_it_is(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(pgmq_sql().encode())
        connection.execute("select pgmq.create('theirs')")
        connection.execute("select pgmq.send('theirs', '{}')")
        before = functions_of_pgmq(connection)
    install(empty_database_url)
    assert await doubled(empty_database_url, 4) == 12
    with psycopg.connect(empty_database_url) as connection:
        assert functions_of_pgmq(connection) == before
        assert connection.execute("select count(*) from pgmq.q_theirs").fetchone() == (1,)


@pytest.fixture
def offered(empty_database_url: str) -> Iterator[str]:
    """Give a database whose server offers pgmq as an extension."""
    # Not in pytest's own directory: the server may run as another user, who cannot look into it.
    root = Path(tempfile.mkdtemp(prefix="pgflow-extension-"))
    root.chmod(0o755)
    directory = root / "extension"
    directory.mkdir()
    (directory / "pgmq.control").write_text(CONTROL)
    (directory / "pgmq--test.sql").write_text(pgmq_sql())
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        if connection.info.server_version < CONTROL_PATH_SINCE:
            pytest.skip("the server looks for extensions in its own directory only")
        connection.execute(
            sql.SQL("alter database {} set extension_control_path = {}").format(
                sql.Identifier(connection.info.dbname), f"{root}:$system"
            )
        )
    yield empty_database_url
    shutil.rmtree(root)


@pytest.mark.parametrize("is_there_before", [False, True])
async def test_a18_the_extension_is_used_where_the_server_offers_it(
    offered: str, is_there_before: bool
) -> None:
    if is_there_before:
        with psycopg.connect(offered) as connection:
            connection.execute("create extension pgmq")
    install(offered)
    with psycopg.connect(offered) as connection:
        assert connection.execute(
            "select extversion from pg_extension where extname = 'pgmq'"
        ).fetchone() == ("test",)
    assert await doubled(offered, 4) == 12

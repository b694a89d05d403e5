"""DirectLines: the worker's and starters' short calls, and what happens when their connections break."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest

from pgflow._direct import DirectLines
from pgflow._pool import SESSION_SETTINGS, Pool
from pgflow.errors import ConnectionFailed, SchemaMismatch, UsageError
from pgflow.records import RawJson

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    pool = Pool(
        database_url,
        min_size=0,
        max_size=1,
        settings=SESSION_SETTINGS,
        application_name="direct",
        prepared=True,
    )
    yield pool
    await pool.close()


@pytest.fixture
async def lines(pool: Pool) -> AsyncIterator[DirectLines]:
    lines = DirectLines(pool, size=2, prepared=True)
    yield lines
    await lines.close()


async def backends(lines: DirectLines) -> list[int]:
    rows = await lines.fetch(
        "select pid from pg_stat_activity where application_name = 'direct' order by pid"
    )
    return [pid for (pid,) in rows]


async def test_values_go_both_ways_whether_prepared_or_not(lines: DirectLines) -> None:
    run_id = UUID(int=7)
    statement = """select %s::uuid, %s::text, %s::int, %s::bigint, %s::text[], %s::jsonb, %s::text,
      %s::real, true"""
    parameters = (run_id, "ä%s'\\", 3, 2**40, '{"a,b",NULL}', '{"n": 1}', None, 0.5)
    for _ in range(4):
        ((*values, raw, nothing, real, yes),) = await lines.fetch(statement, parameters)
        assert values == [run_id, "ä%s'\\", 3, 2**40, ["a,b", None]]
        assert isinstance(raw, RawJson)
        assert raw.parse() == {"n": 1}
        assert (nothing, real, yes) == (None, 0.5, True)
    (names,) = await lines.fetch("select count(*) from pg_prepared_statements")
    assert names == (1,), "what is sent a second time is prepared, and once"


async def test_nothing_is_prepared_where_poolers_forbid_it(pool: Pool) -> None:
    lines = DirectLines(pool, size=1, prepared=False)
    for _ in range(3):
        assert await lines.fetch("select %s::int", (1,)) == [(1,)]
    assert await lines.fetch("select count(*) from pg_prepared_statements") == [(0,)]
    await lines.close()


async def test_statements_without_rows_give_none(lines: DirectLines) -> None:
    assert await lines.fetch("set lock_timeout = 0") == []


async def test_errors_of_the_server_leave_the_line_usable(lines: DirectLines) -> None:
    before = await backends(lines)
    for _ in range(3):
        with pytest.raises(psycopg.errors.DivisionByZero):
            await lines.fetch("select 1 / %s::int", (0,))
    with pytest.raises(SchemaMismatch):
        await lines.fetch("select pgflow.no_such_function()")
    with pytest.raises(psycopg.DataError, match="NUL"):
        await lines.fetch("select %s::text", ("a\0b",))
    assert await backends(lines) == before


async def test_large_values_are_sent_piece_by_piece_and_read_whole(lines: DirectLines) -> None:
    large = "x" * 30_000_000
    ((found,),) = await lines.fetch("select %s::text", (large,))
    assert found == large


async def test_calls_beyond_the_number_of_lines_wait_for_one(lines: DirectLines) -> None:
    rows = await asyncio.gather(
        *(lines.fetch("select pg_backend_pid(), pg_sleep(0.01)") for _ in range(20))
    )
    assert len({pid for ((pid, _),) in rows}) == 2


async def test_an_idle_line_that_the_server_closed_is_replaced(
    lines: DirectLines, database_url: str
) -> None:
    (before,) = await backends(lines)
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as other:
        await other.execute("select pg_terminate_backend(%s, 5000)", [before])
    await asyncio.sleep(0.05)  # the loop sees the end of the connection
    (after,) = await backends(lines)
    assert after != before


async def test_a_line_that_breaks_during_a_call_fails_it_and_is_replaced(
    lines: DirectLines, database_url: str
) -> None:
    ((victim,),) = await lines.fetch("select pg_backend_pid()")
    call = asyncio.create_task(lines.fetch("select pg_sleep(60)"))
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as other:
        await other.execute("select pg_terminate_backend(%s, 5000)", [victim])
    with pytest.raises(ConnectionFailed):
        await call
    assert await lines.fetch("select 1") == [(1,)]


async def test_fault_33_a_cancelled_call_is_stopped_and_its_line_discarded(
    lines: DirectLines,
) -> None:
    (first,) = await backends(lines)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await lines.fetch("select pg_sleep(60)")
    async with asyncio.timeout(10):
        while first in await backends(lines):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)


async def test_a_forgotten_statement_is_sent_anew(lines: DirectLines) -> None:
    for _ in range(3):
        assert await lines.fetch("select %s::int", (1,)) == [(1,)]
    await lines.fetch("deallocate all")
    for _ in range(3):
        assert await lines.fetch("select %s::int", (2,)) == [(2,)]


async def test_fault_13_a_conflict_is_repeated(
    lines: DirectLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    real = lines._call

    async def losing(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise psycopg.errors.DeadlockDetected
        return await real(*arguments)

    monkeypatch.setattr(lines, "_call", losing)
    assert await lines.fetch("select 1") == [(1,)]
    assert calls == 3


async def test_closing_fails_what_is_under_way(lines: DirectLines) -> None:
    call = asyncio.create_task(lines.fetch("select pg_sleep(60)"))
    await asyncio.sleep(0.2)
    await lines.close()
    with pytest.raises(ConnectionFailed):
        await call


async def test_fault_35_lines_belong_to_one_process(
    lines: DirectLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lines.fetch("select 1")
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(UsageError, match="another process"):
        await lines.fetch("select 1")
    monkeypatch.undo()

"""Fault 33: a worker is cancelled while a completion is under way: it is made all the same, or its connection is given up."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pgflow import Flow, Worker, current_task
from tests.support.worker_processes import begun, eventually, finished, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from pgflow.database import Database

WAITING = """select count(*) from pg_stat_activity
  where datname = current_database() and wait_event_type = 'Lock'"""


@asynccontextmanager
async def locked(db: Database, run_id: UUID) -> AsyncIterator[None]:
    """Hold the run, which completions have to share."""
    async with db.transaction() as connection:
        await connection.execute("select 1 from pgflow.runs where run_id = %s for update", [run_id])
        yield


async def waits(db: Database, count: int = 1) -> bool:
    async with db.connection() as connection:
        row = await (await connection.execute(WAITING)).fetchone()
    return row == (count,)


@pytest.mark.parametrize("transactional", [False, True])
async def test_fault_33_a_completion_under_way_outlives_the_cancelled_worker(
    db: Database, *, transactional: bool
) -> None:
    flow: Flow[Any] = Flow("shielded", max_attempts=1)

    @flow.step()
    async def task(_: Any) -> int:
        ready.set()
        await go.wait()
        if transactional:
            async with current_task().transaction() as connection:
                await connection.execute("create table public.written as select 1")
        return 7

    ready, go = asyncio.Event(), asyncio.Event()
    run_id = await start(db, flow)
    work = await begun(Worker(db, flow))
    await ready.wait()
    async with locked(db, run_id):
        go.set()
        await eventually(lambda: waits(db))
        work.cancel()
        await asyncio.sleep(0)
        assert await waits(db), "it is not given up"
    with pytest.raises(asyncio.CancelledError):
        await work
    assert await finished(db, run_id) == {"task": 7}
    assert [one.outcome for one in await db.attempts(run_id)] == ["completed"]
    async with db.connection() as connection:
        cursor = await connection.execute("select to_regclass('public.written') is not null")
        assert await cursor.fetchone() == (transactional,)


async def test_fault_33_a_completion_that_must_be_given_up_takes_its_connection_along(
    db: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow.worker.LAST_WORDS", 0.3)
    flow: Flow[Any] = Flow("given_up", max_attempts=2)
    go = asyncio.Event()

    @flow.step()
    async def task(_: Any) -> int:
        await go.wait()
        return current_task().fence

    run_id = await start(db, flow)
    work = await begun(Worker(database_url, flow, lease=2))

    async def is_granted() -> bool:
        return (await db.tasks(run_id, "task"))[0].status == "started"

    await eventually(is_granted)
    async with locked(db, run_id):
        go.set()
        await eventually(lambda: waits(db))
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        await eventually(lambda: waits(db, 0))
    assert await db.run_status(run_id) == "started", "it was not half made"
    other = await begun(second := Worker(db, flow, lease=2))
    assert await finished(db, run_id) == {"task": 2}
    second.stop()
    await other

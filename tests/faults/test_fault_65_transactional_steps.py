"""Fault 65: a step's writes and its completion commit together or not at all."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from pgflow import Flow, Worker, current_task
from pgflow._leases import LeaseKeeper
from tests.support.worker_flows import ledger
from tests.support.worker_processes import WorkerProcess, begun, eventually, finished, start

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow.database import Database

COUNT = 12


@pytest.fixture(autouse=True)
async def table(db: Database) -> None:
    async with db.connection() as connection:
        await connection.execute("create table public.ledger (number int)")


async def booked(db: Database) -> list[int]:
    async with db.connection() as connection:
        cursor = await connection.execute("select number from public.ledger order by 1")
        return [number for (number,) in await cursor.fetchall()]


@pytest.mark.parametrize("point", ["before_commit", "after_commit", "after_perform"])
async def test_fault_65_killed_around_the_commit_writes_once(
    db: Database, database_url: str, point: str
) -> None:
    run_id = await start(db, ledger, list(range(COUNT)))
    options: dict[str, Any] = {"lease": 2, "concurrency": 3}
    with WorkerProcess(database_url, "ledger", crash_at=f"{point}:4", **options) as first:
        assert (await first.ended())[0] == -signal.SIGKILL
        done = [t.task_index for t in await db.tasks(run_id, "book", status="completed")]
        assert await booked(db) == done, "what is written is completed, and the reverse"
    with WorkerProcess(database_url, "ledger", **options):
        assert await finished(db, run_id) == {"book": list(range(COUNT))}
    assert await booked(db) == list(range(COUNT))


def failing_sync(_: Any) -> None:
    with current_task().transaction() as connection:
        connection.execute("insert into public.ledger values (1)")
    raise ValueError("after the block")


async def failing_async(_: Any) -> None:
    async with current_task().transaction() as connection:
        await connection.execute("insert into public.ledger values (1)")
    raise ValueError("after the block")


async def hanging(_: Any) -> None:
    async with current_task().transaction() as connection:
        await connection.execute("insert into public.ledger values (1)")
        await connection.execute("select pg_sleep(600)")


def unencodable(_: Any) -> Any:
    with current_task().transaction() as connection:
        connection.execute("insert into public.ledger values (1)")
    return float("nan")


def broken(_: Any) -> None:
    with current_task().transaction() as connection:
        connection.execute("insert into public.ledger values ('no number')")


@pytest.mark.parametrize("handler", [failing_sync, failing_async, hanging, unencodable, broken])
async def test_failed_attempts_write_nothing(db: Database, handler: Callable[..., Any]) -> None:
    flow: Flow[Any] = Flow("failing", max_attempts=1)
    flow.step(name="task", timeout=1)(handler)
    run_id = await start(db, flow)
    async with asyncio.timeout(30):
        await Worker(db, flow).run_until(run_id)
    assert await db.run_status(run_id) == "failed"
    assert await booked(db) == []


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_block_that_raises_undoes_its_own_writes_only(db: Database, kind: str) -> None:
    flow: Flow[Any] = Flow("blocks")
    insert = "insert into public.ledger values (%s)"

    def write(_: Any) -> None:
        task = current_task()
        with task.transaction() as connection:
            connection.execute(insert, [1])
        with suppress(KeyError), task.transaction() as connection:
            connection.execute(insert, [2])
            raise KeyError
        with task.transaction() as connection:
            connection.execute(insert, [3])

    async def write_async(_: Any) -> None:
        task = current_task()
        async with task.transaction() as connection:
            await connection.execute(insert, [1])
        with suppress(KeyError):
            async with task.transaction() as connection:
                await connection.execute(insert, [2])
                raise KeyError
        async with task.transaction() as connection:
            await connection.execute(insert, [3])

    flow.step(name="task")(write if kind == "sync" else write_async)
    run_id = await start(db, flow)
    async with asyncio.timeout(30):
        await Worker(db, flow).run_until(run_id)
    assert await finished(db, run_id) == {"task": None}
    assert await booked(db) == [1, 3]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_fault_65_fenced_attempt_writes_nothing(
    db: Database, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    async def never(_: LeaseKeeper) -> None: ...

    monkeypatch.setattr(LeaseKeeper, "_extend", never)
    flow: Flow[Any] = Flow("fenced", base_delay=0)
    insert = "insert into public.ledger values (%s)"
    loop = asyncio.get_running_loop()
    go = asyncio.Event()

    def write(_: Any) -> int:
        task = current_task()
        with task.transaction() as connection:
            connection.execute(insert, [task.fence])
        if task.fence == 1:
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
        return task.fence

    async def write_async(_: Any) -> int:
        task = current_task()
        async with task.transaction() as connection:
            await connection.execute(insert, [task.fence])
        if task.fence == 1:
            await go.wait()
        return task.fence

    flow.step(name="task")(write if kind == "sync" else write_async)
    run_id = await start(db, flow)
    # With one slot, which is taken, it cannot be the worker itself that finds the lease over and goes on.
    worker = Worker(db, flow, lease=2, concurrency=1)
    work = await begun(worker)
    await eventually(lambda: len(worker) == 1)
    other = Worker(db, flow, lease=2, concurrency=1)
    other_work = await begun(other)
    assert await finished(db, run_id) == {"task": 2}
    go.set()
    await eventually(lambda: worker.statistics.stale == 1)
    for one in (worker, other):
        one.stop()
    await work
    await other_work
    assert await booked(db) == [2]


async def test_using_the_wrong_form_says_which_is_right(db: Database) -> None:
    flow: Flow[Any] = Flow("wrong", max_attempts=1)

    async def wrong(_: Any) -> None:
        with current_task().transaction():
            pass

    flow.step(name="task")(wrong)
    run_id = await start(db, flow)
    await Worker(db, flow).run_until(run_id)
    run = await db.run(run_id)
    assert run is not None
    assert "`async with current_task().transaction()`" in (run.error_message or "")

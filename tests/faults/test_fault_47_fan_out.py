"""Faults 47, 54 and 59: a fan-out that outlasts its parent's lease, workers with older code, few notifications."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg

from pgflow import Flow, Worker
from tests.support.worker_processes import begun, eventually, finished, start

if TYPE_CHECKING:
    from uuid import UUID

    from pgflow.database import Database

LEASE = 1


async def test_fault_47_a_fan_out_that_outlasts_the_lease_is_not_begun_twice(
    db: Database, database_url: str
) -> None:
    flow: Flow[Any] = Flow("fanning", max_attempts=3, base_delay=0)
    calls: list[int] = []

    @flow.step()
    async def parent(count: int) -> list[int]:
        calls.append(count)
        return list(range(count))

    @flow.map(over=parent, queue="children")
    async def child(number: int) -> int:
        return number

    run_id = await start(db, flow, 500)
    worker = Worker(db, flow, lease=LEASE)
    rival = Worker(database_url, flow, queues=["fanning"], lease=LEASE)
    async with await psycopg.AsyncConnection.connect(database_url) as gate:
        # No task can be created; the messages of the parent are free for the rival.
        await gate.execute("lock table pgmq.q_children in share mode")
        works = [await begun(worker), await begun(rival)]

        async def waits() -> bool:
            async with db.connection() as connection:
                cursor = await connection.execute(
                    "select count(*) from pg_stat_activity where datname = current_database()"
                    " and wait_event_type = 'Lock' and query like '%complete%'"
                )
                return await cursor.fetchone() == (1,)

        await eventually(waits)
        began = await _now(db)
        await eventually(lambda: _is_past(db, began, 4 * LEASE))
        await gate.rollback()
    assert await finished(db, run_id) == {"child": list(range(500))}
    assert calls == [500]
    assert [one.outcome for one in await db.attempts(run_id, "parent")] == ["completed"]
    assert {task.attempts_count for task in await db.tasks(run_id, "child")} == {1}
    for one in (worker, rival):
        one.stop()
    await asyncio.gather(*works)


async def test_fault_54_a_worker_with_older_code_leaves_what_it_does_not_know(
    db: Database, database_url: str
) -> None:
    def version(last: str) -> Flow[Any]:
        flow: Flow[Any] = Flow("evolving")

        @flow.step()
        async def first(_: Any) -> str:
            return last

        @flow.step(name=last, depends_on=(first,))
        async def end(by: str) -> str:
            return f"{by} then {last}"

        return flow

    old = Worker(database_url, version("before"))
    old_work = await begun(old)
    assert await finished(db, await _start(db, version("before"))) == {
        "before": "before then before"
    }
    run_id = await _start(db, version("after"))

    async def first_is_done() -> bool:
        return [step.status for step in await db.steps(run_id)] == ["completed", "started"]

    await eventually(first_is_done)
    await asyncio.sleep(1)  # the old worker's chances to take what is not its own
    (task,) = await db.tasks(run_id, "after")
    assert (task.status, task.attempts_count) == ("queued", 0)
    new = Worker(database_url, version("after"))
    new_work = await begun(new)
    assert await finished(db, run_id) == {"after": "before then after"}
    assert (old.statistics.failed, old.statistics.released) == (0, 0)
    assert new.statistics.completed == 1
    for one in (old, new):
        one.stop()
    await asyncio.gather(old_work, new_work)


async def test_fault_59_notifications_are_a_few_each_call_and_never_one_a_task(
    db: Database, database_url: str
) -> None:
    flow: Flow[Any] = Flow("noisy")

    @flow.map()
    async def item(number: int) -> int:
        return number

    @flow.map(over=item)
    async def again(number: int) -> int:
        return number

    tasks = 2_000
    heard: list[str] = []
    listener = await psycopg.AsyncConnection.connect(database_url, autocommit=True)
    await listener.execute("listen pgflow_wake")

    async def hear() -> None:
        async for notification in listener.notifies():
            heard.append(notification.payload)  # noqa: PERF401 - as they come

    hearing = asyncio.create_task(hear())
    run_id = await start(db, flow, list(range(tasks)))
    worker = Worker(database_url, flow)
    work = await begun(worker)
    assert await finished(db, run_id) == {"again": list(range(tasks))}
    worker.stop()
    await work
    assert 2 <= len(heard) < 20, "one for each map that became ready, a few for slices"

    heard.clear()
    writers = 100
    await db.define_flow("quiet", '{"steps": [{"slug": "task"}]}')

    async def write() -> None:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as own:
            for _ in range(2):
                await own.execute(
                    "select count(*) from pgflow.start_many('quiet', array_fill('{}'::jsonb, array[20]))"
                )

    for _ in range(5):
        await asyncio.gather(*(write() for _ in range(writers // 5)))
    async with db.connection() as connection:
        await connection.execute("select pg_notify('pgflow_wake', 'the end')")
    await eventually(lambda: "the end" in heard)
    assert len(heard) <= 2 * writers + 1, "one a transaction, which starts 20 runs"
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)
    await listener.close()


async def _start(db: Database, flow: Flow[Any]) -> UUID:
    return await start(db, flow, {})


async def _now(db: Database) -> Any:
    async with db.connection() as connection:
        row = await (await connection.execute("select clock_timestamp()")).fetchone()
    assert row is not None
    return row[0]


async def _is_past(db: Database, began: Any, seconds: float) -> bool:
    return bool((await _now(db) - began).total_seconds() > seconds)

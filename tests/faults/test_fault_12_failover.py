"""Fault 12: a failover to a server that has lost acknowledged commits, here one that is set back to an older copy."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pgflow import Flow, Worker
from pgflow.database import Database
from tests.support.private_server import PrivateServer
from tests.support.worker_processes import begun, eventually, finished, start

if TYPE_CHECKING:
    import pytest

COUNT = 150


async def test_fault_12_what_a_failover_loses_is_done_again_and_nothing_else_is_lost() -> None:
    flow: Flow[Any] = Flow("failing_over")
    calls: list[int] = []

    @flow.map()
    async def task(number: int) -> int:
        calls.append(number)
        await asyncio.sleep(0.02)
        return number

    @flow.step(depends_on=(task,))
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    with PrivateServer.running() as server:
        async with Database.connect(server.dsn) as db:
            run_id = await start(db, flow, list(range(COUNT)))
        server.copy_to("behind")  # before any worker was registered
        worker = Worker(server.dsn, flow, lease=3, concurrency=10)
        work = await begun(worker)
        await eventually(lambda: worker.statistics.completed > COUNT / 2)
        acknowledged = worker.statistics.completed
        await asyncio.to_thread(server.set_back_to, "behind")
        async with Database.connect(server.dsn) as db:
            assert await finished(db, run_id) == {"total": sum(range(COUNT))}
            (record,) = await db.workers()
            assert record.worker_id == worker.worker_id, "it has registered anew"
            assert {task.status for task in await db.tasks(run_id, "task")} == {"completed"}
            assert [queue.total for queue in await db.queues()] == [0]
            assert await db.failed_tasks(run_id) == []
        assert set(calls) == set(range(COUNT))
        assert len(calls) >= COUNT + acknowledged, "what was lost has run again"
        worker.stop()
        await work


async def test_fault_12_a_worker_whose_row_was_pruned_registers_again(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for heartbeat in ("HEARTBEAT", "IDLE_HEARTBEAT"):
        monkeypatch.setattr(f"pgflow._leases.{heartbeat}", 600)
    flow: Flow[Any] = Flow("pruned", base_delay=0)
    flow.step(name="task")(lambda _: 1)
    worker = Worker(db, flow)
    work = await begun(worker)
    async with db.connection() as connection:
        await connection.execute("select pgflow.prune_data_older_than('0 seconds')")
    assert await db.workers() == []
    assert await finished(db, await start(db, flow)) == {"task": 1}
    assert [record.worker_id for record in await db.workers()] == [worker.worker_id]
    worker.stop()
    await work


async def test_fault_12_an_idle_worker_notices_by_its_heartbeat(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow._leases.IDLE_HEARTBEAT", 0.1)
    flow: Flow[Any] = Flow("idle")
    flow.step(name="task")(lambda _: 1)
    worker = Worker(db, flow)
    work = await begun(worker)
    async with db.connection() as connection:
        await connection.execute("select pgflow.prune_data_older_than('0 seconds')")

    async def is_back() -> bool:
        return [record.worker_id for record in await db.workers()] == [worker.worker_id]

    await eventually(is_back)
    worker.stop()
    await work

"""Fault 4: the reply to a commit is lost; the same fence asks again and learns that it was accepted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pgflow import Flow, Worker, current_task
from tests.support.proxy import COMMITS, Fault, Proxy
from tests.support.worker_processes import start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow.database import Database


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    with Proxy(database_url) as proxy:
        yield proxy


async def test_fault_04_lost_reply_to_a_completion_counts_once(db: Database, proxy: Proxy) -> None:
    flow: Flow[Any] = Flow("doubtful", max_attempts=1)
    calls: list[int] = []

    @flow.step()
    def task(_: Any) -> int:
        calls.append(1)
        proxy.arm(Fault.DROP_REPLY, (b"complete_and_claim",))
        return current_task().fence

    run_id = await start(db, flow)
    worker = Worker(proxy.dsn, flow, lease=3)
    async with asyncio.timeout(60):
        await worker.run_until(run_id)
    run = await db.run(run_id)
    assert run is not None
    assert (run.status, run.output and run.output.parse()) == ("completed", {"task": 1})
    assert proxy.counts["in_doubt"] == 1
    assert calls == [1]
    assert (worker.statistics.completed, worker.statistics.stale) == (1, 0)
    assert worker.statistics.repeated >= 1


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_fault_04_lost_reply_to_a_transaction_counts_once(
    db: Database, proxy: Proxy, kind: str
) -> None:
    flow: Flow[Any] = Flow("doubtful", max_attempts=1)
    async with db.connection() as connection:
        await connection.execute("create table public.ledger (number int)")
    insert = "insert into public.ledger values (1)"

    async def write_async(_: Any) -> None:
        async with current_task().transaction() as connection:
            await connection.execute(insert)
        proxy.arm(Fault.DROP_REPLY, COMMITS)

    def write(_: Any) -> None:
        with current_task().transaction() as connection:
            connection.execute(insert)
        proxy.arm(Fault.DROP_REPLY, COMMITS)

    flow.step(name="task")(write_async if kind == "async" else write)
    run_id = await start(db, flow)
    worker = Worker(proxy.dsn, flow, lease=3)
    async with asyncio.timeout(60):
        await worker.run_until(run_id)
    assert await db.run_status(run_id) == "completed"
    assert proxy.counts["in_doubt"] == 1
    assert worker.statistics.completed == 1
    assert worker.statistics.stale == worker.statistics.failed == worker.statistics.released == 0
    async with db.connection() as connection:
        rows = await (await connection.execute("select number from public.ledger")).fetchall()
    assert rows == [(1,)]

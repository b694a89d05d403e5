"""Faults 10 and 25: many workers lose their server, and come back to it one by one; a notification wakes no herd."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from pgflow import Flow, Worker
from pgflow._backoff import Backoff
from tests.support.cut import Cut
from tests.support.worker_processes import begun, eventually, finished, start

if TYPE_CHECKING:
    import pytest

    from pgflow.database import Database

WORKERS = 6
CONNECTIONS = 8
"""Connections that one worker may have: three for claims and reports, a spare one, one to listen, two for leases, one to start."""


def test_fault_10_pauses_are_spread_from_zero_to_a_ceiling_that_doubles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    monkeypatch.setattr("random.uniform", uniform)
    backoff = Backoff(0.5, 3)
    pauses = [backoff.next() for _ in range(5)]
    assert pauses == [0.5, 1, 2, 3, 3]
    assert {low for low, _ in asked} == {0}
    backoff.reset()
    assert backoff.next() == 0.5


async def test_fault_25_workers_come_back_with_few_connections_and_wait_without_haste(
    db: Database, database_url: str
) -> None:
    flow: Flow[Any] = Flow("herded")

    @flow.map()
    async def task(number: int) -> int:
        await asyncio.sleep(0.01)
        return number

    way = Cut(database_url)
    async with way.running() as dsn:
        workers = [Worker(dsn, flow, concurrency=10, lease=30) for _ in range(WORKERS)]
        work = [await begun(worker) for worker in workers]
        assert await finished(db, await start(db, flow, list(range(200)))) is not None
        assert way.open <= WORKERS * CONNECTIONS

        way.cut()
        before, cpu, begin = way.attempts, time.process_time(), time.monotonic()
        await asyncio.sleep(4)
        elapsed = time.monotonic() - begin
        tried = (way.attempts - before) / WORKERS / elapsed
        assert 0 < tried < 12, f"{tried:.1f} attempts to connect a second and worker"
        assert time.process_time() - cpu < 0.6 * elapsed, "waiting takes no processor"

        way.heal()
        most = 0
        run_id = await start(db, flow, list(range(200)))

        async def is_over() -> bool:
            nonlocal most
            most = max(most, way.open)
            return await db.run_status(run_id) == "completed"

        await eventually(is_over)
        assert 0 < most <= WORKERS * CONNECTIONS
        assert not any(one.done() for one in work), "every worker lives"
        for worker in workers:
            worker.stop()
        await asyncio.gather(*work)

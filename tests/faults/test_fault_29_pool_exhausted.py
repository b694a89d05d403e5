"""Fault 29: handlers take every connection there is; leases, heartbeats and completions have their own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pgflow import Flow, Worker, current_task
from tests.support.worker_processes import begun, eventually, finished, start

if TYPE_CHECKING:
    import pytest

    from pgflow.database import Database

LEASE = 2


async def test_fault_29_handlers_that_take_all_connections_starve_neither_leases_nor_reports(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow._leases.HEARTBEAT", 0.2)
    flow: Flow[Any] = Flow("greedy", max_attempts=1, timeout=60)
    release = asyncio.Event()
    taken = 0

    @flow.map(name="grab")
    async def grab(number: int) -> int:
        nonlocal taken
        place = db.connection() if number % 2 else current_task().transaction()
        async with place:
            taken += 1
            await release.wait()
        return number

    other: Flow[Any] = Flow("modest", max_attempts=1)
    first = other.step(name="first")(lambda _: 1)
    other.step(name="second", depends_on=(first,))(lambda value: value + 1)

    count = 60  # 16 connections for transactions, 4 in the pool
    run_id = await start(db, flow, list(range(count)))
    worker = Worker(db, [flow, other], lease=LEASE)
    work = await begun(worker)
    await eventually(lambda: taken == 20)
    begin = await _clock(db, "now()")
    for _ in range(3):
        assert await _finished_apart(db.dsn, other) == {"second": 2}
    await eventually(lambda: _has_passed(db, f"timestamptz '{begin}' + interval '{2 * LEASE} s'"))
    assert await _clock(
        db, "(select last_heartbeat_at > now() - interval '3 s' from pgflow.workers)"
    )
    assert await _clock(db, "(select min(vt) > now() from pgmq.q_greedy)"), "all leases hold"
    release.set()
    assert await finished(db, run_id) == {"grab": list(range(count))}
    assert {attempt.outcome for attempt in await db.attempts(run_id)} == {"completed"}
    worker.stop()
    await work


async def _finished_apart(dsn: str, flow: Flow[Any]) -> Any:
    """Start and await a run over connections of its own."""
    from pgflow.database import Database

    async with Database.connect(dsn) as own:
        return await finished(own, await start(own, flow))


async def _clock(db: Database, expression: str) -> Any:
    """Ask the server over a connection of its own."""
    connection = await db.connect_listener()
    try:
        row = await (await connection.execute(f"select {expression}".encode())).fetchone()
    finally:
        await connection.close()
    assert row is not None
    return row[0]


async def _has_passed(db: Database, moment: str) -> bool:
    return bool(await _clock(db, f"now() > {moment}"))

"""The injected failure: a worker process is killed while its upsert stands half written in the database."""

import asyncio
import os
import signal
from dataclasses import dataclass
from uuid import UUID

import psycopg

PATIENCE = 90.0
"""Seconds until the upsert must have come to the row that is held."""

HOLD = """
insert into etl_example.orders values (%s, '2026-01-01', 'nobody', 'DE', 1, 1, 'EUR', 1, null)
"""

LOADER = """
select worker.pid
from pgflow.task_attempts as attempt
inner join pgflow.worker_summary as worker on attempt.worker_id = worker.worker_id
where attempt.run_id = %s and attempt.step_slug = 'load' and attempt.outcome = 'started'
"""

BLOCKED = "select pid from pg_stat_activity where %s = any(pg_blocking_pids(pid))"

WRITTEN = "select pg_relation_size('etl_example.orders'), count(*) from etl_example.orders"


@dataclass(frozen=True)
class Killed:
    """What was found at the moment of the kill."""

    pid: int
    """The worker process."""
    bytes_written: int
    """What the upsert had put into the table by then."""
    rows_visible: int
    """What anybody else saw of it."""


async def kill_in_the_middle_of_the_upsert(dsn: str, run_id: UUID, order_id: str) -> Killed:
    """Hold one order id, so that the upsert waits when it comes to it; then kill the worker that waits.

    No code of the flow knows of it: PostgreSQL itself says who is blocked by this transaction.
    """
    async with (
        await psycopg.AsyncConnection.connect(dsn) as holder,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as observer,
    ):
        await holder.execute(HOLD, (order_id,))
        own = await (await observer.execute(WRITTEN)).fetchone()
        try:
            async with asyncio.timeout(PATIENCE):
                await _blocked_by(holder.info.backend_pid, observer)
            found = await (await observer.execute(LOADER, (run_id,))).fetchone()
            written = await (await observer.execute(WRITTEN)).fetchone()
            assert found is not None
            assert own is not None
            assert written is not None
            os.kill(found[0], signal.SIGKILL)
        finally:
            await holder.rollback()
    return Killed(found[0], bytes_written=written[0] - own[0], rows_visible=written[1])


async def _blocked_by(pid: int, observer: psycopg.AsyncConnection) -> None:
    while (await (await observer.execute(BLOCKED, (pid,))).fetchone()) is None:  # noqa: ASYNC110 - PostgreSQL tells nobody when a session blocks
        await asyncio.sleep(0.02)

"""procrastinate, by its guides "Launch a worker" and "Concurrency".

From the guides: the psycopg connector, asynchronous tasks and a worker with `concurrency` above 1, LISTEN/NOTIFY on
(the default), `batch_defer` for many jobs. A notification that comes while a fetch is under way is missed; then the
polling interval counts, so it is 0.5 s instead of the default 5 s, in favour of its latencies. The fan-in is by hand: a job's result is not stored.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import procrastinate
from psycopg_pool import AsyncConnectionPool

from benchmarks.peers.tally import KINDS, SCHEMA, TallyEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CONCURRENCY = 20
POLLING = 0.5
POOL = 10


class ProcrastinateEngine(TallyEngine):
    """A task for each kind of job."""

    name = "procrastinate"
    package = "procrastinate"
    notes = (
        f"psycopg connector, asynchronous tasks, concurrency={CONCURRENCY}, LISTEN/NOTIFY on, "
        f"fetch_job_polling_interval={POLLING} (default 5), batch_defer; "
        "fan-in by hand (a counter row)"
    )

    async def _open(self) -> None:
        connector = procrastinate.PsycopgConnector(
            conninfo=self.url, min_size=2, max_size=CONCURRENCY
        )
        self._app = procrastinate.App(connector=connector)
        self._tasks = {kind: self._task(kind) for kind in KINDS}
        await self._app.open_async()
        self._pool = AsyncConnectionPool(
            self.url, min_size=2, max_size=POOL, open=False, kwargs={"autocommit": True}
        )
        await self._pool.open()

    def _task(self, kind: str) -> Any:
        @self._app.task(name=kind)
        async def perform(**job: Any) -> None:
            await self.perform(kind, job)

        return perform

    async def prepare(self) -> None:
        """Install both schemas."""
        await self._open()
        await self._app.schema_manager.apply_schema_async()
        async with self._pool.connection() as connection:
            await connection.execute(SCHEMA)

    async def enqueue(self, kind: str, payloads: Sequence[dict[str, Any]]) -> None:
        """Add jobs with one statement."""
        await self._tasks[kind].batch_defer_async(*payloads)

    async def fetch(self, function: str, arguments: Sequence[Any]) -> Any:
        """Call a function on a connection of the pool."""
        places = ", ".join(["%s"] * len(arguments))
        async with self._pool.connection() as connection:
            found = await connection.execute(f"select tally.{function}({places})", list(arguments))
            return (await found.fetchall())[0][0]

    async def work(self, ready: Callable[[], None]) -> None:
        """Run a worker for all queues."""
        logging.disable(logging.WARNING)
        await self._open()
        options = {"concurrency": CONCURRENCY, "fetch_job_polling_interval": POLLING}
        worker = asyncio.create_task(self._app.run_worker_async(**options))
        ready()
        await worker


ENGINE = ProcrastinateEngine

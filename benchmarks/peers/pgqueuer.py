"""PgQueuer, tuned by its guide "Performance Tuning".

From the guide: a direct asyncpg connection for the queue manager and a pool for producers; a larger `batch_size` for
short jobs; `pgq autovac` after the installation. `balanced` and `volatile` tables would lose what was acknowledged,
so the default, `durable`, stays. The fan-in is by hand: a job's outcome cannot be read by another job.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.queries import Queries

from benchmarks.peers.tally import KINDS, SCHEMA, TallyEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BATCH = 100


class PgQueuerEngine(TallyEngine):
    """Jobs by entrypoint, payloads as JSON."""

    name = "pgqueuer"
    package = "pgqueuer"
    notes = (
        f"asyncpg; durable tables; batch_size={BATCH} and the autovacuum settings that its guide recommends for short jobs; "
        "fan-in by hand (a counter row)"
    )

    async def _open(self) -> None:
        self._pool = await asyncpg.create_pool(self.url, min_size=2, max_size=10)
        self._queries = Queries(AsyncpgPoolDriver(self._pool))

    async def prepare(self) -> None:
        """Install both schemas, and the recommended autovacuum settings."""
        await self._open()
        await self._queries.install()
        await self._queries.optimize_autovacuum()
        await self._pool.execute(SCHEMA)

    async def enqueue(self, kind: str, payloads: Sequence[dict[str, Any]]) -> None:
        """Add jobs with one statement."""
        count = len(payloads)
        encoded = [json.dumps(payload).encode() for payload in payloads]
        await self._queries.enqueue([kind] * count, encoded, [0] * count)

    async def fetch(self, function: str, arguments: Sequence[Any]) -> Any:
        """Call a function on a connection of the pool."""
        places = ", ".join(f"${place}" for place in range(1, len(arguments) + 1))
        return await self._pool.fetchval(f"select tally.{function}({places})", *arguments)

    async def work(self, ready: Callable[[], None]) -> None:
        """Consume every entrypoint."""
        await self._open()
        pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect(self.url)))
        for kind in KINDS:
            self._register(pgq, kind)
        ready()
        await pgq.run(batch_size=BATCH)

    def _register(self, pgq: Any, kind: str) -> None:
        @pgq.entrypoint(kind)
        async def perform(job: Any) -> None:
            await self.perform(kind, json.loads(job.payload))


ENGINE = PgQueuerEngine

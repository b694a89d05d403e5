"""Oban for Python, by its README and the docstrings of `Oban`.

From there: a pool by `Oban.create_pool`, a queue with a limit, `enqueue_many` for many jobs; uvloop runs the worker, as
`oban start` does. Workflows, batches of acknowledgements and more processes belong to Oban Pro, which is not free, so
the fan-in is by hand.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import uvloop
from oban import Oban, job
from oban.schema import install_sql

from benchmarks.peers.tally import SCHEMA, TallyEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LIMIT = 10
POOL = 20

run = uvloop.run

_opened: list[ObanEngine] = []
"""The engine of this process; Oban finds a worker by its name, so it stands in the module."""


@job(queue="default")
async def perform(kind: str, payload: dict[str, Any]) -> None:
    """Do the work of a job."""
    await _opened[0].perform(kind, payload)


class ObanEngine(TallyEngine):
    """One function for every kind of job."""

    name = "oban"
    package = "oban"
    notes = (
        f"a queue with limit={LIMIT} as in its README (best of 10, 20, 50, 100), uvloop as its command line does, enqueue_many; "
        "workflows are in Oban Pro, so fan-in by hand (a counter row)"
    )

    async def _open(self, queues: dict[str, int]) -> None:
        self._pool = await Oban.create_pool(self.url, min_size=2, max_size=POOL)
        self._oban = Oban(pool=self._pool, queues=queues)
        _opened.append(self)

    async def prepare(self) -> None:
        """Install both schemas."""
        await self._open({})
        async with self._pool.connection() as connection:
            await connection.execute(install_sql())
            await connection.execute(SCHEMA)

    async def enqueue(self, kind: str, payloads: Sequence[dict[str, Any]]) -> None:
        """Add jobs with one statement."""
        await self._oban.enqueue_many([perform.new(kind, payload) for payload in payloads])

    async def fetch(self, function: str, arguments: Sequence[Any]) -> Any:
        """Call a function on a connection of the pool."""
        places = ", ".join(["%s"] * len(arguments))
        async with self._pool.connection() as connection:
            found = await connection.execute(f"select tally.{function}({places})", list(arguments))
            return (await found.fetchone())[0]

    async def work(self, ready: Callable[[], None]) -> None:
        """Process the queue."""
        await self._open({"default": LIMIT})
        async with self._oban:
            ready()
            await asyncio.Event().wait()


ENGINE = ObanEngine

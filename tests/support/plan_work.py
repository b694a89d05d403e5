"""Workers of registered handlers in this process, and the results of plans."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pgflow import Client, Worker
from tests.support.plan_handlers import handlers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgflow.database import Database
    from pgflow.plan import Handlers

PATIENCE = 60


@asynccontextmanager
async def working(db: Database, registry: Handlers = handlers) -> AsyncIterator[Worker]:
    """Run a worker of the handlers in this process."""
    worker = Worker(db, registry)
    task = asyncio.create_task(worker.run())
    await worker.started.wait()
    try:
        yield worker
    finally:
        worker.stop()
        await task


async def released(worker: Worker) -> None:
    async with asyncio.timeout(PATIENCE):
        while not worker.statistics.released:  # noqa: ASYNC110 - the worker tells nobody
            await asyncio.sleep(0.05)


async def result_of(db: Database, slug: str, value: object = None) -> dict[str, Any]:
    run = await Client(db).start(slug, value)
    result = await run.result(timeout=PATIENCE)
    return {slug: result[slug] for slug in result}

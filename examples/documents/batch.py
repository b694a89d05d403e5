"""Gives uploads to the flow, each as a run of its own, and tells how each ended."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from pgflow import Client, Database, Run, RunFailed, Worker

from .flow import Indexed, Upload, documents, index

CONCURRENCY = max(2, os.cpu_count() or 2)
"""Tasks at a time: what takes long here is work for a core."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an upload ended."""

    name: str
    run_id: UUID
    seconds: float
    indexed: Indexed | None
    error: str | None
    """Why it was refused, or failed."""


async def process(dsn: str, uploads: Sequence[Upload], *, live: bool) -> list[Outcome]:
    """Start a run for each upload, work until all have ended, and show the first one meanwhile if `live`.

    If it is interrupted, or the worker fails, it cancels the runs.
    """
    async with Database.connect(dsn) as database:
        runs = await Client(database).start_many(documents, uploads)
        worker = Worker(database, [documents], concurrency=CONCURRENCY)
        working = asyncio.create_task(worker.run())
        waiting = asyncio.create_task(_outcomes(uploads, runs, live=live))
        try:
            await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()  # a worker that could not work leaves nothing to wait for
            return await waiting
        except BaseException:
            worker.stop(now=True)
            for run in runs:
                await run.cancel("the example was interrupted")
            raise
        finally:
            waiting.cancel()
            worker.stop()
            await asyncio.gather(working, waiting, return_exceptions=True)


async def _outcomes(uploads: Sequence[Upload], runs: Sequence[Run], *, live: bool) -> list[Outcome]:
    outcomes = []
    for position, (upload, run) in enumerate(zip(uploads, runs, strict=True)):
        indexed, error = None, None
        try:
            summary = await (run.watch() if live and position == 0 else run.wait())
            indexed = (await run.result())[index]
        except RunFailed as failure:
            summary, error = await run.summary(), failure.error
        name = Path(upload.path).name
        took = summary.duration.total_seconds() if summary.duration else 0.0
        outcomes.append(Outcome(name, run.id, took, indexed, error))
    return outcomes

"""A map whose tasks carry a batch of items each: what items cost that are cheaper than a task."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.checks import check_attempts, check_fan
from benchmarks.flows import BATCH_SIZE, batched
from benchmarks.measures import PATIENCE, WARM_UP
from benchmarks.stage import Gauges, workers
from pgflow.client import Client
from pgflow.database import Database

if TYPE_CHECKING:
    from benchmarks.stage import Usage


@dataclass(frozen=True, slots=True)
class BatchFigures:
    """The median of some maps with `batch_size`."""

    items: int
    batch_size: int
    workers: int
    usage: Usage

    @property
    def rate(self) -> float:
        """Return items a second, from the start of the run to its end."""
        return self.items / self.usage.seconds


async def measure_batches(dsn: str, items: int, processes: int, repetitions: int) -> BatchFigures:
    """Run maps in batches on so many worker processes; raises WrongResult where an output is wrong."""
    figures = []
    async with workers(dsn, "batched", processes) as pids, Database.connect(dsn) as database:
        await _run(database, min(items, WARM_UP))
        for _ in range(repetitions):
            gauges = Gauges(dsn, pids)
            await _run(database, items)
            figures.append(BatchFigures(items, BATCH_SIZE, processes, gauges.usage()))
    return sorted(figures, key=lambda found: found.rate)[(len(figures) - 1) // 2]


async def _run(database: Database, items: int) -> None:
    run = await Client(database).start(batched, items)
    await run.wait(PATIENCE)
    check_fan(await run.output(), items)
    check_attempts(database.dsn, batched.slug, math.ceil(items / BATCH_SIZE) + 2, run.id)

"""`python -m benchmarks.million [--items N] [--write]`: a very large map, and small runs beside it."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.checks import WrongResult, check_attempts, check_diamonds
from benchmarks.curve import Curve
from benchmarks.flows import diamond
from benchmarks.large_flows import million
from benchmarks.measures import Delays
from benchmarks.memory import Memory, MemoryWatch
from benchmarks.million_report import PIECES, as_markdown, show, write_page
from benchmarks.stage import Gauges, Server, Usage, observing
from pgflow.client import Client
from pgflow.database import Database
from pgflow.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

ITEMS = 1_000_000
WORKERS = 2
WARM_UP = 300
"""Items of a first map, not measured: every session has then prepared its statements."""
IDLE_RUNS = 30
EVERY = 1.0
"""Seconds from the start of a small run to the start of the next."""
PATIENCE = 1800.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of the database with its indexes."""

    before: int
    after: int
    pruned: int
    """After the prune and a plain vacuum, which gives back what is free at the ends of the tables."""
    prune_seconds: float


@dataclass(frozen=True, slots=True)
class MillionFigures:
    """What a very large map has cost."""

    items: int
    workers: int
    curve: Curve
    first_task: float
    """Seconds from the end of the parent's handler to the begin of the first item's."""
    reading: float
    """Seconds that the step behind the map took to go through the stream."""
    usage: Usage
    idle: Delays
    """Start to end of a diamond on an idle system, seen by the client."""
    beside: Delays
    """The same while the map was on."""
    memories: list[Memory]
    tenth_costs: tuple[float, float]
    """Seconds of CPU a task, of workers and backends, in the first and the last tenth of the tasks."""
    costs: list[float]
    """The same in each of the curve's parts."""
    sizes: Sizes
    updates: int
    hot_updates: int
    """Updates of step_tasks, and those of them that touched no index."""

    def largest(self, kind: str) -> Memory:
        """Return the largest process of a kind."""
        return max(
            (memory for memory in self.memories if memory.kind == kind),
            key=lambda memory: memory.resident,
        )

    @property
    def slowdown(self) -> float:
        """Return how many times longer a small run takes beside the map."""
        return self.beside.p50 / self.idle.p50


async def measure_million(
    dsn: str, items: int, processes: int, *, idle_runs: int = IDLE_RUNS, every: float = EVERY
) -> MillionFigures:
    """Measure a map of so many items, verified, and small runs before and, one in `every` s, beside it."""
    async with _workers(dsn, processes) as pids, Database.connect(dsn) as database:
        await _run_map(database, min(items, WARM_UP))
        stopwatch = Stopwatch(database)
        await stopwatch.warm_up()
        idle = [await stopwatch.run() for _ in range(idle_runs)]
        before = _size(dsn)
        gauges = Gauges(dsn, pids)
        with MemoryWatch(dsn, pids) as watch:
            beside = asyncio.create_task(stopwatch.run_regularly(every))
            try:
                run_id, found = await _run_map(database, items)
            finally:
                beside.cancel()
            usage = gauges.usage()
        latencies = await beside
    check_attempts(dsn, million.slug, items + 2, run_id)
    check_diamonds(dsn, stopwatch.runs)
    check_attempts(dsn, diamond.slug, 4 * stopwatch.runs)
    updates, hot_updates = _updates(dsn)
    curve = _curve(dsn, run_id)
    return MillionFigures(
        items=items,
        workers=processes,
        curve=curve,
        first_task=found["delay"] / 1e9,
        reading=found["reading"] / 1e9,
        usage=usage,
        idle=Delays.of(idle),
        beside=Delays.of(latencies),
        memories=watch.all(),
        tenth_costs=_tenth_costs(curve, watch),
        costs=_costs(curve, watch),
        sizes=_prune(dsn, before),
        updates=updates,
        hot_updates=hot_updates,
    )


@asynccontextmanager
async def _workers(dsn: str, processes: int) -> AsyncIterator[list[int]]:
    targets = ["benchmarks.large_flows:million", "benchmarks.flows:diamond"]
    supervisor = Supervisor(targets, processes=processes, dsn=dsn, log_level="ERROR")
    async with supervisor:
        await supervisor.ready()
        yield list(supervisor.pids.values())


async def _run_map(database: Database, items: int) -> tuple[UUID, dict[str, Any]]:
    run = await Client(database).start(million, items)
    await run.wait(PATIENCE)
    found = (await run.output())["tally"]
    check_tally(found, items)
    return run.id, found


def check_tally(found: dict[str, Any], items: int) -> None:
    """Demand that the step behind the map has seen every item once, in its place."""
    expected = {"count": items, "total": items * (items - 1) // 2, "in_order": True}
    if {name: found.get(name) for name in expected} != expected:
        raise WrongResult(f"a map of {items} items gave {found}")


class Stopwatch:
    """Runs diamonds one after the other and takes their times."""

    def __init__(self, database: Database) -> None:
        self._client = Client(database)
        self.runs = 0
        """Those that were started; all have ended when none is under way."""

    async def warm_up(self, runs: int = 20) -> None:
        """Run some whose times do not count."""
        for _ in range(runs):
            await self.run()

    async def run(self) -> float:
        """Return the seconds of one run, from the start to the end that the client sees."""
        begin = time.monotonic()
        number, self.runs = self.runs, self.runs + 1
        await (await self._client.start(diamond, number)).wait(PATIENCE)
        return time.monotonic() - begin

    async def run_regularly(self, every: float) -> list[float]:
        """Start one in so many seconds until cancelled, then end the last one; return their seconds."""
        latencies: list[float] = []
        with suppress(asyncio.CancelledError):
            while True:
                running = asyncio.create_task(self.run())
                try:
                    latencies.append(await asyncio.shield(running))
                except asyncio.CancelledError:
                    await running
                    raise
                await asyncio.sleep(max(0.0, every - latencies[-1]))
        return latencies


def _curve(dsn: str, run_id: UUID) -> Curve:
    with observing(dsn) as connection:
        begin = connection.execute(
            """select extract(epoch from min(started_at))::float8 from pgflow.step_tasks
               where run_id = %s and step_slug = 'each'""",
            [run_id],
        ).fetchall()[0][0]
        batches = connection.execute(
            """select extract(epoch from completed_at)::float8, count(*) from pgflow.step_tasks
               where run_id = %s and step_slug = 'each' group by 1 order by 1""",
            [run_id],
        ).fetchall()
    return Curve(begin, tuple((moment, count) for moment, count in batches))


def _tenth_costs(curve: Curve, watch: MemoryWatch) -> tuple[float, float]:
    first, last = (watch.cpu(span.begin, span.end) / span.tasks for span in curve.spans())
    return first, last


def _costs(curve: Curve, watch: MemoryWatch) -> list[float]:
    width = curve.seconds / PIECES
    begins = [curve.begin + number * width for number in range(PIECES)]
    spent = [watch.cpu(begin, begin + width) for begin in begins]
    return [
        cpu / (rate * width) for cpu, rate in zip(spent, curve.buckets(PIECES), strict=True) if rate
    ]


def _updates(dsn: str) -> tuple[int, int]:
    """Return updates of step_tasks, and the heap-only ones; the sessions that made them have ended."""
    with observing(dsn) as connection:
        updates, hot = connection.execute(
            """select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables
               where schemaname = 'pgflow' and relname = 'step_tasks'"""
        ).fetchall()[0]
    return updates, hot


def _size(dsn: str) -> int:
    with observing(dsn) as connection:
        return int(
            connection.execute("select pg_database_size(current_database())").fetchall()[0][0]
        )


def _prune(dsn: str, before: int) -> Sizes:
    after = _size(dsn)
    begin = time.monotonic()
    with observing(dsn) as connection:
        connection.execute("select pgflow.prune_data_older_than('0 s')")
        seconds = time.monotonic() - begin
        connection.execute("vacuum")
    return Sizes(before, after, _size(dsn), seconds)


def main() -> None:
    """Measure, show, and write the page if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.million", description=__doc__)
    parser.add_argument("--items", type=int, default=ITEMS, help="size of the map (%(default)s)")
    parser.add_argument(
        "--workers", type=int, default=WORKERS, help="worker processes (%(default)s)"
    )
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks-million.md")
    options = parser.parse_args()
    begin, load = time.monotonic(), os.getloadavg()[0]
    with Server() as server, server.database() as dsn:
        settings = server.settings()
        figures = asyncio.run(measure_million(dsn, options.items, options.workers))
    show(figures)
    loads = (load, os.getloadavg()[0])
    print(
        f"{time.monotonic() - begin:.0f} s; load average {loads[0]:.1f} before, {loads[1]:.1f} after"
    )
    if options.write:
        command = "python -m benchmarks.million --write"
        if options.items != ITEMS:
            command += f" --items {options.items}"
        write_page(figures, as_markdown(figures, settings, command, loads))


if __name__ == "__main__":
    main()

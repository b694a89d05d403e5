"""The measurements: each starts runs on workers of its own, waits, verifies, and returns figures."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.checks import check_attempts, check_chain, check_diamonds, check_fan
from benchmarks.flows import CHAIN_LENGTH, chain, diamond, fan
from benchmarks.stage import Gauges, Usage, observing, workers
from pgflow.client import Client
from pgflow.database import Database

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE = 120.0
WARM_UP = 300
"""Items of a first map, not measured: every session has then prepared its statements."""
STARTERS = 8
"""Runs that are started at once."""
POLL = 0.02


@dataclass(frozen=True, slots=True)
class MapFigures:
    """A map of no-op tasks between two single steps: the median of its repetitions."""

    items: int
    workers: int
    usage: Usage
    first_task: float
    """Seconds from the end of the parent's handler to the begin of the first item's."""

    @property
    def rate(self) -> float:
        """Return tasks a second, from the start of the run to its end."""
        return self.items / self.usage.seconds


@dataclass(frozen=True, slots=True)
class Delays:
    """A distribution of delays, in seconds."""

    count: int
    p50: float
    p95: float

    @classmethod
    def of(cls, delays: Sequence[float]) -> Delays:
        """Summarise delays."""
        cuts = statistics.quantiles(delays, n=20, method="inclusive")
        return cls(len(delays), statistics.median(delays), cuts[18])


@dataclass(frozen=True, slots=True)
class DiamondFigures:
    """Many runs of a diamond of four steps."""

    runs: int
    workers: int
    usage: Usage

    @property
    def rate(self) -> float:
        """Return runs a second, from the first start to the last end."""
        return self.runs / self.usage.seconds


async def measure_map(dsn: str, items: int, processes: int, repetitions: int) -> MapFigures:
    """Run maps of one size on so many worker processes."""
    figures = []
    async with workers(dsn, "fan", processes) as pids, Database.connect(dsn) as database:
        await _run_map(database, min(items, WARM_UP))
        for _ in range(repetitions):
            gauges = Gauges(dsn, pids)
            first_task = await _run_map(database, items)
            figures.append(MapFigures(items, processes, gauges.usage(), first_task))
    return sorted(figures, key=lambda found: found.usage.seconds)[len(figures) // 2]


async def _run_map(database: Database, items: int) -> float:
    run = await Client(database).start(fan, items)
    await run.wait(PATIENCE)
    first_task = check_fan(await run.output(), items)
    check_attempts(database.dsn, fan.slug, items + 2, run.id)
    return first_task


async def measure_diamonds(
    dsn: str, runs: int, processes: int, *, warm_up: int = 40, at_once: bool = False
) -> DiamondFigures:
    """Start many small runs, by one call each or all `at_once`, and wait for all; `warm_up` runs before do not count."""
    async with workers(dsn, "diamond", processes) as pids, Database.connect(dsn) as database:
        client = Client(database)
        for number in range(runs, runs + warm_up):
            await (await client.start(diamond, number)).wait(PATIENCE)
        numbers = iter(range(runs))

        async def start_some() -> None:
            for number in numbers:
                await client.start(diamond, number)

        gauges = Gauges(dsn, pids)
        if at_once:
            await client.start_many(diamond, list(range(runs)))
        else:
            await asyncio.gather(*(start_some() for _ in range(STARTERS)))
        await _all_ended(dsn)
        figures = DiamondFigures(runs, processes, gauges.usage())
    check_diamonds(dsn, runs + warm_up)
    check_attempts(dsn, diamond.slug, 4 * (runs + warm_up))
    return figures


async def _all_ended(dsn: str) -> None:
    with observing(dsn) as connection:
        async with asyncio.timeout(PATIENCE):
            query = "select 1 from pgflow.runs where status = 'started' limit 1"
            while connection.execute(query).fetchall():  # noqa: ASYNC110 - the server has no events
                await asyncio.sleep(POLL)


async def measure_chain(dsn: str, runs: int, *, warm_up: int = 3) -> tuple[Delays, Delays]:
    """Run a chain now and then on one idle worker.

    Returns the delays from the end of a handler to the begin of the next, and from a start to the first handler.
    """
    transitions: list[float] = []
    starts: list[float] = []
    async with workers(dsn, "chain", 1), Database.connect(dsn) as database:
        client = Client(database)
        for number in range(runs + warm_up):
            await asyncio.sleep(random.uniform(0.05, 0.15))
            begin = time.monotonic_ns()
            run = await client.start(chain)
            await run.wait(PATIENCE)
            links = check_chain(await run.output(), CHAIN_LENGTH)
            check_attempts(dsn, chain.slug, CHAIN_LENGTH, run.id)
            if number >= warm_up:
                starts.append((links[0][0] - begin) / 1e9)
                transitions += [(after[0] - before[1]) / 1e9 for before, after in pairwise(links)]
    return Delays.of(transitions), Delays.of(starts)


@dataclass(frozen=True, slots=True)
class IdleFigures:
    """What a worker costs that has nothing to do."""

    seconds: float
    statements: int
    cpu_seconds: float

    @property
    def statements_a_minute(self) -> float:
        """Return statements a minute."""
        return 60 * self.statements / self.seconds

    @property
    def cpu_percent(self) -> float:
        """Return the share of one processor."""
        return 100 * self.cpu_seconds / self.seconds


async def measure_idle(dsn: str, *, seconds: float = 60, settle: float = 3) -> IdleFigures:
    """Watch an idle worker for so long, after its start has settled.

    The server has to count statements: `shared_preload_libraries = 'pg_stat_statements'`.
    """
    async with workers(dsn, "chain", 1) as (pid,):
        await asyncio.sleep(settle)
        begin, statements, cpu = time.monotonic(), _statements(dsn), _cpu_of_threads(pid)
        await asyncio.sleep(seconds)
        return IdleFigures(
            time.monotonic() - begin,
            _statements(dsn) - statements,
            _cpu_of_threads(pid) - cpu,
        )


def _statements(dsn: str) -> int:
    """Return the statements that clients have sent to a database so far, without those of observers."""
    with observing(dsn) as connection:
        connection.execute("set pg_stat_statements.track = 'none'")
        connection.execute("create extension if not exists pg_stat_statements")
        query = """select coalesce(sum(calls), 0) from pg_stat_statements
          where dbid = (select oid from pg_database where datname = current_database())"""
        return int(connection.execute(query).fetchall()[0][0])


def _cpu_of_threads(pid: int) -> float:
    """Return seconds of CPU of a process's threads, to the nanosecond; 0 where the system does not tell."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9

"""`python -m benchmarks.scaling [--write]`: throughput over the number of workers, waits, and what a large server carries."""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.checks import check_attempts, check_fan
from benchmarks.flows import fan
from benchmarks.measures import PATIENCE, WARM_UP, measure_diamonds
from benchmarks.scaling_report import (
    Cost,
    LargeServer,
    as_lines,
    commit_lines,
    projection,
    write_page,
)
from benchmarks.stage import Gauges, Server, Usage, workers
from benchmarks.waits import Wait, WaitSampler, measure_commits
from pgflow.client import Client
from pgflow.database import Database

if TYPE_CHECKING:
    from collections.abc import Sequence

ITEMS = 20_000
RUNS = 1_000
PROCESSES = (1, 2, 4, 8)
ROUNDS = 3
CLIENTS = 16
LATENCY = 0.001
"""Seconds that a commit takes longer on a network disk."""


@dataclass(slots=True)
class ScalingFigures:
    """What was measured with one number of worker processes."""

    processes: int
    maps: list[Usage] = field(default_factory=list)
    diamonds: list[Usage] = field(default_factory=list)
    map_waits: Counter[Wait] = field(default_factory=Counter)
    diamond_waits: Counter[Wait] = field(default_factory=Counter)

    def map_rate(self, items: int) -> float:
        """Return tasks a second, the median."""
        return statistics.median(items / usage.seconds for usage in self.maps)

    def diamond_rate(self, runs: int) -> float:
        """Return runs a second, the median."""
        return statistics.median(runs / usage.seconds for usage in self.diamonds)


@dataclass(frozen=True, slots=True)
class Commits:
    """Commits a second of many clients."""

    plain: float
    notifying: float


async def measure_scaling(
    server: Server,
    processes: Sequence[int] = PROCESSES,
    *,
    items: int = ITEMS,
    runs: int = RUNS,
    rounds: int = ROUNDS,
) -> list[ScalingFigures]:
    """Measure maps and diamonds with each number of workers, in turns."""
    found = {number: ScalingFigures(number) for number in processes}
    for _ in range(rounds):
        for number, figures in found.items():
            with server.database() as dsn:
                await _measure_map(dsn, figures, items)
            with server.database() as dsn, WaitSampler(dsn) as sampler:
                measured = await measure_diamonds(dsn, runs, number)
            figures.diamonds.append(measured.usage)
            figures.diamond_waits += sampler.counts
    return list(found.values())


async def _measure_map(dsn: str, figures: ScalingFigures, items: int) -> None:
    async with workers(dsn, "fan", figures.processes) as pids, Database.connect(dsn) as database:
        await _run_map(database, min(items, WARM_UP))
        gauges = Gauges(dsn, pids)
        with WaitSampler(dsn) as sampler:
            await _run_map(database, items)
        figures.maps.append(gauges.usage())
        figures.map_waits += sampler.counts


async def _run_map(database: Database, items: int) -> None:
    run = await Client(database).start(fan, items)
    await run.wait(PATIENCE)
    check_fan(await run.output(), items)
    check_attempts(database.dsn, fan.slug, items + 2, run.id)


def main() -> None:
    """Measure, show, and write the page if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="of each measurement (%(default)s)"
    )
    parser.add_argument("--write", action="store_true", help="put the figures into docs/scaling.md")
    options = parser.parse_args()
    begin, load = time.monotonic(), os.getloadavg()[0]
    with Server() as server:
        found = asyncio.run(measure_scaling(server, rounds=options.rounds))
        with server.database() as dsn:
            commits = {
                latency: Commits(
                    measure_commits(dsn, CLIENTS, 2, latency, notify=False),
                    measure_commits(dsn, CLIENTS, 2, latency, notify=True),
                )
                for latency in (0.0, LATENCY)
            }
    two = next(one for one in found if one.processes == PROCESSES[1])
    lines = [
        *as_lines(found, ITEMS, RUNS),
        "",
        *commit_lines(commits, CLIENTS),
        "",
        f"Load average {load:.1f} before and {os.getloadavg()[0]:.1f} after.",
        "",
        "### One large server, on paper",
        "",
        *projection(Cost.of(two.maps, ITEMS), Cost.of(two.diamonds, RUNS), LargeServer()),
    ]
    print("\n".join(lines))
    print(f"{time.monotonic() - begin:.0f} s")
    if options.write:
        write_page(lines)


if __name__ == "__main__":
    main()

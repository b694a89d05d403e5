"""Our own engine: which sizes and how often, and what comes out of it."""

from __future__ import annotations

import platform
import statistics
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from benchmarks import measures
from benchmarks.batches import BatchFigures, measure_batches
from benchmarks.limit import DESCRIPTIONS, Variant, measure_limit
from benchmarks.measures import (
    Delays,
    DiamondFigures,
    MapFigures,
    measure_chain,
    measure_diamonds,
    measure_map,
)
from benchmarks.sql_alone import measure_sql
from benchmarks.stage import Server
from benchmarks.yardstick import StartRatios, measure_inserts, measure_starts

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = 10_000
"""Items of the map that all ratios refer to."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    rounds: int
    """How often the map of 10,000 on two workers and the limits take turns."""
    maps: tuple[tuple[int, int, int], ...]
    """Other maps: items, worker processes, repetitions."""
    batches: tuple[int, int]
    """The map in batches: items, repetitions."""
    diamonds: int
    chains: int
    idle_seconds: float


FULL = Plan(
    rounds=5,
    maps=(
        (1_000, 1, 5),
        (1_000, 2, 5),
        (BASE, 1, 3),
        (2 * BASE, 2, 3),
        (100_000, 1, 1),
        (100_000, 2, 3),
    ),
    batches=(100_000, 3),
    diamonds=1_000,
    chains=40,
    idle_seconds=30.0,
)
QUICK = Plan(
    rounds=1,
    maps=((1_000, 1, 1), (2 * BASE, 2, 1)),
    batches=(100_000, 1),
    diamonds=200,
    chains=8,
    idle_seconds=10.0,
)


@dataclass(frozen=True, slots=True)
class IdleFigures:
    """What a worker costs that has nothing to do."""

    statements_per_second: float
    cpu_percent: float
    """Of one processor."""


@dataclass(slots=True)
class Results:
    """The figures of one run of the suite."""

    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    maps: list[MapFigures] = field(default_factory=list)
    limits: dict[Variant, list[float]] = field(default_factory=dict)
    """Tasks a second of bare SQL for a map of 10,000, one for each round."""
    sql_alone: list[float] = field(default_factory=list)
    """The same of our own functions without a worker."""
    inserts: dict[str, float] = field(default_factory=dict)
    """Committed one-row inserts a second by number of clients, of pgbench."""
    diamonds: DiamondFigures | None = None
    """Started by one call for all."""
    single_diamonds: DiamondFigures | None = None
    """Started by a call each."""
    transitions: Delays | None = None
    starts: Delays | None = None
    batches: BatchFigures | None = None
    idle: IdleFigures | None = None
    start_ratios: StartRatios | None = None

    def map_of(self, items: int, workers: int) -> MapFigures | None:
        """Return the figures of a map, if it was measured."""
        found = (m for m in self.maps if (m.items, m.workers) == (items, workers))
        return next(found, None)

    def ratios(self) -> dict[str, float]:
        """Return what can be compared between machines: figures of this run divided by each other."""
        base, double, large = (self.map_of(items, 2) for items in (BASE, 2 * BASE, 100_000))
        ratios = {}
        if base and (limit := self.limits.get("fused")):
            ratios["rate of 10,000 items / set-based limit"] = base.rate / statistics.median(limit)
        if base and self.sql_alone:
            ratios["rate of 10,000 items / our SQL alone"] = base.rate / statistics.median(
                self.sql_alone
            )
        if base and double:
            ratios["time of 20,000 items / time of 10,000"] = (
                double.usage.seconds / base.usage.seconds
            )
        if base and large:
            ratios["rate of 100,000 items / rate of 10,000"] = large.rate / base.rate
        return ratios

    def as_json(self) -> dict[str, Any]:
        """Return everything measured, with the derived figures."""
        maps = [asdict(m) | {"tasks_per_second": m.rate} for m in self.maps]
        diamonds, singles, batches = self.diamonds, self.single_diamonds, self.batches
        return asdict(self) | {
            "maps": maps,
            "diamonds": diamonds and asdict(diamonds) | {"runs_per_second": diamonds.rate},
            "single_diamonds": singles and asdict(singles) | {"runs_per_second": singles.rate},
            "batches": batches and asdict(batches) | {"items_per_second": batches.rate},
            "ratios": self.ratios(),
        }


async def run_suite(plan: Plan, tell: Callable[[str], None]) -> Results:
    """Measure everything on a private server; raise WrongResult where an output is wrong."""
    results = Results(versions=_versions())
    with Server() as server:
        results.settings = server.settings()
        await _run_rounds(server, plan.rounds, results, tell)
        for items, processes, repetitions in plan.maps:
            tell(f"a map of {items:,} items, {processes} worker(s)")
            with server.database() as dsn:
                results.maps.append(await measure_map(dsn, items, processes, repetitions))
        results.maps.sort(key=lambda found: (found.items, found.workers))
        items, repetitions = plan.batches
        with server.database() as dsn:
            tell(f"a map of {items:,} items in batches")
            results.batches = await measure_batches(dsn, items, 2, repetitions)
        with server.database() as dsn:
            tell(f"{plan.diamonds:,} diamonds")
            results.diamonds = await measure_diamonds(dsn, plan.diamonds, 2, at_once=True)
        with server.database() as dsn:
            tell(f"{plan.diamonds:,} diamonds, one by one")
            results.single_diamonds = await measure_diamonds(dsn, plan.diamonds, 2)
        with server.database() as dsn:
            tell("a chain on an idle worker")
            results.transitions, results.starts = await measure_chain(dsn, plan.chains)
        with server.database(schema=False) as dsn:
            tell("pgbench")
            results.inserts = measure_inserts(dsn, (1, 16))
    tell("the start of the interpreter")
    results.start_ratios = measure_starts()
    tell("an idle worker")
    results.idle = await _measure_idle(plan.idle_seconds)
    return results


async def _run_rounds(
    server: Server, rounds: int, results: Results, tell: Callable[[str], None]
) -> None:
    maps = []
    for number in range(rounds):
        tell(f"round {number + 1}: a map of {BASE:,} items and its limits, in turns")
        with server.database() as dsn:
            maps.append(await measure_map(dsn, BASE, 2, 1))
        for variant in DESCRIPTIONS:
            with server.database() as dsn:
                results.limits.setdefault(variant, []).append(measure_limit(dsn, variant, BASE))
        with server.database() as dsn:
            results.sql_alone.append(measure_sql(dsn, BASE, 1))
    results.maps.append(sorted(maps, key=lambda found: found.rate)[len(maps) // 2])


async def _measure_idle(seconds: float) -> IdleFigures | None:
    measure = getattr(measures, "measure_idle", None)
    if measure is None:
        return None
    # A server of its own: to count statements costs all others.
    with (
        Server(shared_preload_libraries="pg_stat_statements") as server,
        server.database() as dsn,
    ):
        found = await measure(dsn, seconds=seconds)
    return IdleFigures(found.statements_a_minute / 60, found.cpu_percent)


def _versions() -> dict[str, str]:
    return {
        "pgflow": version("py-pgflow"),
        "psycopg": version("psycopg"),
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }

"""The whole suite: which sizes and how often, and what comes out of it."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

from benchmarks.limit import measure_limit
from benchmarks.measures import (
    Delays,
    DiamondFigures,
    MapFigures,
    measure_chain,
    measure_diamonds,
    measure_map,
)
from benchmarks.stage import Server

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = 10_000
"""Items of the map that all ratios refer to."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    maps: tuple[tuple[int, int, int], ...]
    """Items, worker processes, repetitions."""
    limit_repetitions: int
    diamonds: int
    chains: int


FULL = Plan(
    maps=(
        (1_000, 1, 5),
        (1_000, 2, 5),
        (BASE, 1, 3),
        (BASE, 2, 5),
        (2 * BASE, 2, 3),
        (100_000, 1, 1),
        (100_000, 2, 1),
    ),
    limit_repetitions=5,
    diamonds=1_000,
    chains=40,
)
QUICK = Plan(
    maps=((1_000, 1, 1), (BASE, 2, 1), (2 * BASE, 2, 1)),
    limit_repetitions=1,
    diamonds=200,
    chains=8,
)


@dataclass(slots=True)
class Results:
    """The figures of one run of the suite."""

    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    maps: list[MapFigures] = field(default_factory=list)
    limit: float = 0.0
    """Tasks a second of the bare SQL for a map of 10,000."""
    diamonds: DiamondFigures | None = None
    transitions: Delays | None = None
    starts: Delays | None = None

    def map_of(self, items: int, workers: int) -> MapFigures | None:
        """Return the figures of a map, if it was measured."""
        found = (m for m in self.maps if (m.items, m.workers) == (items, workers))
        return next(found, None)

    def ratios(self) -> dict[str, float]:
        """Return what can be compared between machines: figures of this run divided by each other."""
        base, double, large = (self.map_of(items, 2) for items in (BASE, 2 * BASE, 100_000))
        ratios = {}
        if base and self.limit:
            ratios["rate of 10,000 items / limit of the SQL"] = base.rate / self.limit
        if base and double:
            ratios["time of 20,000 items / time of 10,000"] = (
                double.usage.seconds / base.usage.seconds
            )
        if base and large:
            ratios["rate of 100,000 items / rate of 10,000"] = large.rate / base.rate
        return ratios


async def run_suite(plan: Plan, tell: Callable[[str], None]) -> Results:
    """Measure everything on a private server; raise WrongResult where an output is wrong."""
    results = Results(versions=_versions())
    with Server() as server:
        results.settings = server.settings()
        with server.database() as dsn:
            tell("the limit of the SQL")
            results.limit = measure_limit(dsn, BASE, plan.limit_repetitions)
        for items, processes, repetitions in plan.maps:
            tell(f"a map of {items:,} items, {processes} worker(s)")
            with server.database() as dsn:
                results.maps.append(await measure_map(dsn, items, processes, repetitions))
        with server.database() as dsn:
            tell(f"{plan.diamonds:,} diamonds")
            results.diamonds = await measure_diamonds(dsn, plan.diamonds, 2)
        with server.database() as dsn:
            tell("a chain on an idle worker")
            results.transitions, results.starts = await measure_chain(dsn, plan.chains)
    return results


def _versions() -> dict[str, str]:
    return {
        "pgflow": version("py-pgflow"),
        "psycopg": version("psycopg"),
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }

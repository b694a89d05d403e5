"""The goals and whether they are met: computed from the raw figures, and rounded against us."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

Figures = dict[str, Any]
"""What a run left behind, as in benchmarks/figures/*.json."""

OURS = "ours"
DIAMONDS = 1_000
BATCH = 100


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that shall be at least, or at most, a bound."""

    name: str
    sense: Literal["≥", "≤", "<"]
    bound: float
    unit: str
    figure: Callable[[Figures, Figures], float | None]
    """Takes our own figures and the comparison's; None where they do not tell."""
    digits: int = 1

    def row(self, own: Figures, peers: Figures) -> tuple[str, str, str, str]:
        """Return name, goal, figure, and whether it is met."""
        found = self.figure(own, peers)
        goal = f"{self.sense} {self.bound:,g}{self.unit}"
        if found is None:
            return self.name, goal, "–", "not measured"
        met = self.is_met_by(found)
        return (
            self.name,
            goal,
            f"{self._rounded(found)}{self.unit}",
            "met" if met else "**not met**",
        )

    def is_met_by(self, figure: float) -> bool:
        """Compare a figure, as it was measured, with the bound."""
        match self.sense:
            case "≥":
                return figure >= self.bound
            case "≤":
                return figure <= self.bound
            case "<":
                return figure < self.bound

    def _rounded(self, value: float) -> str:
        # Never in our favour: down what shall be large, up what shall be small.
        towards = ROUND_FLOOR if self.sense == "≥" else ROUND_CEILING
        unit = Decimal(1).scaleb(-self.digits)
        return f"{Decimal(repr(float(value))).quantize(unit, towards):,}"


def fan_rate(standing: Figures, size: int) -> float | None:
    """Return the median tasks a second of an engine of the comparison for a fan of exactly this size."""
    fan = standing.get("fans", {}).get(str(size))
    if not fan or not fan["rates"] or fan["size"] != size or fan["too_slow"]:
        return None
    return float(median(fan["rates"]))


def base_rate(standing: Figures) -> float | None:
    """Return the median tasks a second at 10,000 items, or at what an engine that is too slow for that was given."""
    fan = standing.get("fans", {}).get("10000")
    return float(median(fan["rates"])) if fan and fan["rates"] else None


def _map(own: Figures, items: int) -> Figures | None:
    found = (m for m in own.get("maps", []) if (m["items"], m["workers"]) == (items, 2))
    return next(found, None)


def _per_item(own: Figures, name: str) -> float | None:
    found = _map(own, 100_000)
    return float(found["usage"][name]) / found["items"] if found else None


def _micros(name: str) -> Callable[[Figures, Figures], float | None]:
    def figure(own: Figures, _: Figures) -> float | None:
        seconds = _per_item(own, name)
        return None if seconds is None else 1e6 * seconds

    return figure


def _over(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _limit_share(own: Figures, _: Figures) -> float | None:
    found, limit = _map(own, 10_000), own.get("limits", {}).get("fused")
    return found["tasks_per_second"] / median(limit) if found and limit else None


def _over_best_postgres(_: Figures, peers: Figures) -> float | None:
    engines = peers.get("engines", {})
    rates = [
        rate
        for name, standing in engines.items()
        if name != OURS and standing["store"] == "PostgreSQL" and (rate := base_rate(standing))
    ]
    return _over(fan_rate(engines.get(OURS, {}), 10_000), max(rates, default=None))


def _over_bullmq(_: Figures, peers: Figures) -> float | None:
    engines = peers.get("engines", {})
    ours, theirs = engines.get(OURS, {}), engines.get("bullmq", {})
    return _over(fan_rate(ours, 10_000), base_rate(theirs))


def _large_share(own: Figures, _: Figures) -> float | None:
    base, large = _map(own, 10_000), _map(own, 100_000)
    return large["tasks_per_second"] / base["tasks_per_second"] if base and large else None


def _diamonds(own: Figures, _: Figures) -> float | None:
    found = own.get("diamonds")
    return float(found["runs_per_second"]) if found and found["runs"] == DIAMONDS else None


def _batches(own: Figures, _: Figures) -> float | None:
    found = own.get("batches")
    return float(found["items_per_second"]) if found and found["batch_size"] == BATCH else None


def _delay(name: str) -> Callable[[Figures, Figures], float | None]:
    def figure(own: Figures, _: Figures) -> float | None:
        found = own.get(name)
        return 1e3 * float(found["p50"]) if found else None

    return figure


def _against_bullmq(name: str) -> Callable[[Figures, Figures], float | None]:
    def figure(_: Figures, peers: Figures) -> float | None:
        engines = peers.get("engines", {})
        ours = engines.get(OURS, {}).get(name)
        theirs = engines.get("bullmq", {}).get(name)
        return median(ours) / median(theirs) if ours and theirs else None

    return figure


def _of(name: str, part: str) -> Callable[[Figures, Figures], float | None]:
    def figure(own: Figures, _: Figures) -> float | None:
        found = own.get(name)
        return float(found[part]) if found else None

    return figure


GOALS = (
    Goal("map of 10,000 / set-based limit, in turns", "≥", 0.7, "", _limit_share, 2),
    Goal("map of 10,000 / best PostgreSQL peer, in turns", "≥", 4, "", _over_best_postgres, 2),
    Goal("map of 10,000 / BullMQ, in turns", "≥", 2.5, "", _over_bullmq, 2),
    Goal("rate of 100,000 / rate of 10,000", "≥", 0.9, "", _large_share, 2),
    Goal("items in batches of 100, two workers", "≥", 50_000, " items/s", _batches, 0),
    Goal("1,000 diamonds", "≥", 600, " runs/s", _diamonds, 0),
    Goal("chain, one transition, p50", "≤", 1.2, " ms", _delay("transitions"), 2),
    Goal(
        "chain, one transition / BullMQ's, in turns",
        "<",
        1,
        "",
        _against_bullmq("transition_p50"),
        2,
    ),
    Goal("start to the first handler, p50", "≤", 2.5, " ms", _delay("starts"), 2),
    Goal(
        "start to the first handler / BullMQ's, in turns",
        "<",
        1,
        "",
        _against_bullmq("start_p50"),
        2,
    ),
    Goal("CPU a task of a map of 100,000, workers", "≤", 70, " µs", _micros("worker_cpu")),
    Goal("CPU a task of it, the whole server", "≤", 120, " µs", _micros("server_cpu")),
    Goal("commits a task of it", "≤", 0.02, "", lambda own, _: _per_item(own, "transactions"), 4),
    Goal("WAL a task of it", "≤", 2_000, " B", lambda own, _: _per_item(own, "wal_bytes"), 0),
    Goal("idle worker, statements a second", "≤", 0.2, "", _of("idle", "statements_per_second"), 2),
    Goal("idle worker, share of a processor", "≤", 0.1, " %", _of("idle", "cpu_percent"), 2),
    Goal(
        "`import pgflow` / a bare interpreter", "≤", 3, "", _of("start_ratios", "import_pgflow"), 2
    ),
    Goal("`pgflow --help` / `import typer`", "≤", 1.25, "", _of("start_ratios", "pgflow_help"), 2),
)

"""Shows how throughput grows with the workers, and reckons what one large server carries, for docs/scaling.md."""

from __future__ import annotations

import os
import re
import statistics
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.waits import Wait, shares

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.scaling import Commits, ScalingFigures
    from benchmarks.stage import Usage

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
"""What is between these in the page is written by this module."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one unit, a task or a run, costs."""

    server_cpu: float
    """Seconds."""
    worker_cpu: float
    wal_bytes: float
    commits: float

    @classmethod
    def of(cls, usages: Sequence[Usage], units: int) -> Cost:
        """Return the medians of some measurements of so many units each."""

        def median(name: str) -> float:
            return statistics.median(float(getattr(usage, name)) / units for usage in usages)

        return cls(
            median("server_cpu"), median("worker_cpu"), median("wal_bytes"), median("transactions")
        )


@dataclass(frozen=True, slots=True)
class LargeServer:
    """A server as it is thought of."""

    cores: int = 32
    share: float = 0.7
    """Of the cores, for backends; the rest is for vacuum, checkpoints, the system."""
    wal_rate: float = 500e6
    """Bytes a second that its disk takes."""
    commit_seconds: float = 0.001
    worker_cores: int = 16
    """Cores of one machine with workers."""

    def units(self, cost: Cost) -> dict[str, float]:
        """Return for each resource how many units a second it carries, were it the only limit."""
        return {
            "CPU of the server": self.cores * self.share / cost.server_cpu,
            "WAL of the disk": self.wal_rate / cost.wal_bytes,
        }

    def batches(self, batch: int, held: float) -> float:
        """Return units a second through one locked row: `batch` a commit, locked `held` s before the commit."""
        return batch / (self.commit_seconds + held)

    def worker_machines(self, cost: Cost, rate: float) -> float:
        """Return how many machines with workers spend what so many units a second cost them."""
        return rate * cost.worker_cpu / self.worker_cores


def as_lines(found: Sequence[ScalingFigures], items: int, runs: int) -> list[str]:
    """Return the tables of the page."""
    base = found[0]
    lines = [
        f"A map of {items:,} no-op tasks and {runs:,} runs of a diamond (4 steps), with worker processes on the server's own {os.cpu_count()} cores;",
        f"medians of {len(base.maps)} rounds in turns, measured on {datetime.now(UTC):%Y-%m-%d}.",
        "",
        "| workers | tasks/s | to 1 worker | server µs/task | worker µs/task | WAL B/task | commits/task | diamonds/s | server ms/run | worker ms/run | WAL kB/run | commits/run |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for one in found:
        task, run = Cost.of(one.maps, items), Cost.of(one.diamonds, runs)
        cells = [
            f"{one.processes}",
            f"{one.map_rate(items):,.0f}",
            f"{one.map_rate(items) / base.map_rate(items):.2f}",
            f"{1e6 * task.server_cpu:.0f}",
            f"{1e6 * task.worker_cpu:.0f}",
            f"{task.wal_bytes:,.0f}",
            f"{task.commits:.3f}",
            f"{one.diamond_rate(runs):,.0f}",
            f"{1e3 * run.server_cpu:.2f}",
            f"{1e3 * run.worker_cpu:.2f}",
            f"{run.wal_bytes / 1e3:.1f}",
            f"{run.commits:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    for title, counters in (
        ("a map", [one.map_waits for one in found]),
        ("diamonds", [one.diamond_waits for one in found]),
    ):
        lines += ["", f"What active backends were at, {title}, in % of their samples:", ""]
        lines += _wait_table([one.processes for one in found], counters)
    return lines


def commit_lines(commits: Mapping[float, Commits], clients: int) -> list[str]:
    """Return the table of commits with and without NOTIFY, by the seconds that a commit takes longer."""
    lines = [
        f"Commits a second of {clients} clients that insert one row each, alone and with a `pg_notify`:",
        "",
        "| commit | without NOTIFY | with NOTIFY |",
        "|---|--:|--:|",
    ]
    for latency, both in commits.items():
        name = f"{1e3 * latency:g} ms slower" if latency else "on this disk"
        lines.append(f"| {name} | {both.plain:,.0f} | {both.notifying:,.0f} |")
    return lines


def _wait_table(processes: Sequence[int], counters: Sequence[Counter[Wait]]) -> list[str]:
    found = [dict(shares(_by_wait(counter))) for counter in counters]
    waits = sorted(
        {w for one in found for w in one}, key=lambda w: -max(o.get(w, 0) for o in found)
    )
    lines = [
        "| wait | in | " + " | ".join(f"{number} workers" for number in processes) + " |",
        "|---|---|" + "--:|" * len(processes),
    ]
    for wait in waits:
        cells = [f"{100 * one[wait]:.1f}" if wait in one else "" for one in found]
        name = f"{wait.type} {wait.event}".strip()
        lines.append(f"| {name} | {wait.doing} | {' | '.join(cells)} |")
    return lines


def _by_wait(counter: Counter[Wait]) -> Counter[Wait]:
    """Keep running backends apart by what they do, and waiting ones only by what they wait for and do."""
    return Counter({Wait(w.type, w.event, f"`{w.doing}`"): n for w, n in counter.items()})


def projection(task: Cost, run: Cost, server: LargeServer) -> list[str]:
    """Return what a large server carries, on paper."""
    lines = [
        f"{server.cores} cores, of which backends get {100 * server.share:.0f} %, and a disk that takes {server.wal_rate / 1e6:.0f} MB of WAL a second and commits in",
        f"{1e3 * server.commit_seconds:g} ms; costs as measured above with two workers:",
        "",
        "| limit | map tasks/s | diamonds/s |",
        "|---|--:|--:|",
    ]
    tasks, runs = server.units(task), server.units(run)
    lines += [f"| {name} | {tasks[name]:,.0f} | {runs[name]:,.0f} |" for name in tasks]
    lines += [
        f"| the counter of one map's step, batches of {batch} | {server.batches(batch, 0.0001):,.0f} | |"
        for batch in (100, 300)
    ]
    lines.append(
        f"| commits with NOTIFY, one after the other (a start each) | | {1 / server.commit_seconds:,.0f} |"
    )
    rate = min(tasks.values())
    lines += [
        "",
        f"At {rate:,.0f} tasks a second the workers need {server.worker_machines(task, rate):.1f} machines of {server.worker_cores} cores for no-op",
        f"handlers, and the server makes {rate * task.commits:,.0f} commits a second.",
    ]
    return lines


def write_page(lines: Sequence[str]) -> None:
    """Put the figures between the marks of the page."""
    page = PAGE.read_text(encoding="utf-8")
    if BEGIN not in page or END not in page:
        raise SystemExit(f"{PAGE} has no marks {BEGIN} and {END}")
    block = "\n".join([BEGIN, "", *lines, "", END])
    PAGE.write_text(
        re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: block, page, flags=re.DOTALL),
        encoding="utf-8",
    )

"""Shows what a very large map has cost: on the terminal, and as docs/benchmarks-million.md with its curve."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.curve import Goal, as_svg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measures import Delays
    from benchmarks.memory import Memory
    from benchmarks.million import MillionFigures

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "benchmarks-million.md"
DRAWING = DOCS / "images" / "million.svg"
PIECES = 24
"""Parts of the curve."""
MB = 1e6


def goals(figures: MillionFigures) -> list[Goal]:
    """Return what was measured against what it has to reach."""
    used, items = figures.usage, figures.items
    backend = figures.largest("client backend")
    return [
        Goal(
            "rate of the last tenth / of the first",
            figures.curve.flatness(),
            0.85,
            "times",
            at_least=True,
        ),
        Goal("first task after the parent's end", figures.first_task, 1, "s"),
        Goal("peak RSS of the largest worker", used.peak_rss / MB, 200, "MB"),
        Goal("largest backend's own memory", backend.own / MB, 500, "MB"),
        Goal(
            "largest backend, with the shared buffers that it touched",
            backend.resident / MB,
            500,
            "MB",
        ),
        Goal("a diamond beside the map / on the idle system", figures.slowdown, 10, "times"),
        Goal("WAL a task", used.wal_bytes / items, 2000, "B"),
        Goal("commits a task", used.transactions / items, 0.02),
    ]


def rows(figures: MillionFigures) -> list[tuple[str, str]]:
    """Return the further figures."""
    used, items, sizes = figures.usage, figures.items, figures.sizes
    first, last = figures.curve.spans()
    autovacuum = sum(
        memory.cpu for memory in figures.memories if memory.kind == "autovacuum worker"
    )
    return [
        ("from start to end", f"{used.seconds:.1f} s, {items / used.seconds:,.0f} tasks/s"),
        ("the map alone", f"{figures.curve.seconds:.1f} s"),
        ("first tenth, last tenth", f"{first.rate:,.0f}, {last.rate:,.0f} tasks/s"),
        (
            "first tenth, last tenth, CPU a task of workers and server",
            ", ".join(f"{1e6 * cost:.0f}" for cost in figures.tenth_costs) + " µs",
        ),
        (
            f"CPU a task of workers and server, smallest and largest of the {PIECES} parts of the curve",
            f"{1e6 * min(figures.costs):.0f}, {1e6 * max(figures.costs):.0f} µs",
        ),
        ("reading all outputs as a stream", f"{figures.reading:.1f} s"),
        ("CPU a task, workers", f"{1e6 * used.worker_cpu / items:.0f} µs"),
        ("CPU a task, server", f"{1e6 * used.server_cpu / items:.0f} µs"),
        ("CPU a task, autovacuum", f"{1e6 * autovacuum / items:.0f} µs"),
        (
            "updates of tasks that touched no index",
            f"{100 * figures.hot_updates / max(figures.updates, 1):.2f} % of {figures.updates:,}",
        ),
        ("database before", f"{sizes.before / MB:,.0f} MB"),
        ("database after", f"{sizes.after / MB:,.0f} MB"),
        (
            f"database after prune ({sizes.prune_seconds:.0f} s) and vacuum",
            f"{sizes.pruned / MB:,.0f} MB",
        ),
        ("a diamond on the idle system, p50 / p95", _delays(figures.idle)),
        ("a diamond beside the map, p50 / p95", _delays(figures.beside)),
    ]


def show(figures: MillionFigures) -> None:
    """Print the curve, the goals and the rest."""
    console = Console(width=max(120, Console().width))
    rates = figures.curve.buckets(PIECES)
    peak, width = max(rates), figures.curve.seconds / PIECES
    for number, rate in enumerate(rates):
        console.print(
            f"{number * width:7.1f} s {rate:9,.0f} tasks/s  {'█' * round(60 * rate / peak)}",
            highlight=False,
        )
    table = Table("goal", "figure", "limit", "")
    for goal in goals(figures):
        table.add_row(*goal.row())
    console.print(table)
    table = Table("measure", "figure")
    for row in rows(figures):
        table.add_row(*row)
    console.print(table)
    table = Table("process", "peak RSS MB", "own MB", "proportional MB", "seen at")
    for memory in figures.memories:
        table.add_row(*_memory_row(memory))
    console.print(table)


def as_markdown(
    figures: MillionFigures, settings: Mapping[str, str], command: str, loads: tuple[float, float]
) -> str:
    """Return the page docs/benchmarks-million.md."""
    shown = ", ".join(f"`{name}={value}`" for name, value in settings.items())
    return "\n".join(
        [
            f"# A map of {figures.items:,} items",
            "",
            f"Written by `{command}` on {datetime.now(UTC):%Y-%m-%d}: one step returns {figures.items:,} integers, a map of no-op tasks goes over",
            "them, and a step behind it reads all outputs as a stream (`Iterator[int]`) and checks count, order and sum. The result was right and each",
            f"task was granted once. {figures.workers} worker processes; {os.cpu_count()} cores, shared with the server and the client; load average",
            f"{loads[0]:.1f} before and {loads[1]:.1f} after, of which this benchmark alone makes about 3. PostgreSQL: {shown}.",
            "",
            "Where other programs take the processors the rate falls and the CPU time a task stays.",
            "",
            f"![tasks a second over time](images/{DRAWING.name})",
            "",
            *_table(
                ("goal", "figure", "limit", "verdict"), [goal.row() for goal in goals(figures)]
            ),
            "",
            *_table(("measure", "figure"), rows(figures)),
            "",
            "A diamond is a run of four steps (one, two beside each other, one), started each second by a client beside the map, served by the",
            "same workers, timed from the start to the end that the client sees.",
            "",
            "## Memory",
            "",
            *_table(
                ("process", "peak RSS MB", "own MB", "proportional MB", "seen at"),
                [_memory_row(memory) for memory in figures.memories],
            ),
            "",
            "Peak RSS is the kernel's (`VmHWM`). That of a backend has in it the part of the shared buffers that it has touched, which all backends",
            "share; `own` is the largest anonymous memory seen (`RssAnon`), `proportional` the largest `Pss`, in which a shared page counts once for",
            "all its users.",
            "",
        ]
    )


def write_page(figures: MillionFigures, page: str) -> None:
    """Write the page and its drawing."""
    PAGE.write_text(page, encoding="utf-8")
    title = f"Tasks a second over time: a map of {figures.items:,} items, {figures.workers} worker processes"
    DRAWING.write_text(as_svg(figures.curve, PIECES, title), encoding="utf-8")


def _memory_row(memory: Memory) -> tuple[str, ...]:
    sizes = (memory.resident, memory.own, memory.proportional)
    calls = sorted(call for call in memory.calls if not call.startswith("_"))
    return (memory.kind, *(f"{size / MB:.0f}" for size in sizes), ", ".join(calls))


def _delays(delays: Delays) -> str:
    return f"{1e3 * delays.p50:.1f} / {1e3 * delays.p95:.1f} ms, {delays.count} runs"


def _table(head: tuple[str, ...], body: Sequence[tuple[str, ...]]) -> list[str]:
    line = "|" + "|".join(["---", *["--:"] * (len(head) - 1)]) + "|"
    return (
        [f"| {' | '.join(row)} |" for row in [head]]
        + [line]
        + [f"| {' | '.join(row)} |" for row in body]
    )

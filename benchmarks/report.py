"""Shows results: tables for the terminal, JSON, and docs/benchmarks.md."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.measures import Delays
    from benchmarks.suite import Results

MAP_COLUMNS = (
    "items",
    "workers",
    "tasks/s",
    "first task ms",
    "worker RSS MB",
    "database B/task",
    "worker µs/task",
    "server µs/task",
    "WAL B/task",
    "commits/task",
)


def show(results: Results, console: Console) -> None:
    """Print tables."""
    table = Table(*MAP_COLUMNS, title="No-op map between two single steps")
    for column in table.columns:
        column.justify = "right"
    for row in _map_rows(results):
        table.add_row(*row)
    console.print(table)
    table = Table("measure", "figure", title="Small runs, delays, ratios")
    table.columns[1].justify = "right"
    for row in _other_rows(results):
        table.add_row(*row)
    console.print(table)


def as_json(results: Results) -> dict[str, Any]:
    """Return everything measured, with the derived figures."""
    maps = [asdict(m) | {"tasks_per_second": m.rate} for m in results.maps]
    diamonds = results.diamonds
    return asdict(results) | {
        "maps": maps,
        "diamonds": diamonds and asdict(diamonds) | {"runs_per_second": diamonds.rate},
        "ratios": results.ratios(),
        "cores": os.cpu_count(),
    }


def as_markdown(results: Results, command: str, seconds: float) -> str:
    """Return the page docs/benchmarks.md."""
    date = datetime.now(UTC).date().isoformat()
    versions = [f"{name} {value}" for name, value in results.versions.items()]
    settings = [f"`{name}={value}`" for name, value in results.settings.items()]
    return "\n".join(
        [
            "# Benchmarks",
            "",
            f"Written by `{command}` on {date}, in {seconds:.0f} s. Every output was verified: right, complete, and each task granted once.",
            "",
            f"{', '.join(versions)}, {os.cpu_count()} cores. PostgreSQL, on the same machine: {', '.join(settings)}.",
            "",
            "Absolute figures depend on the machine and on what else it does; compare the ratios, the CPU time and the counts.",
            "`chrt -r 1`, where it stands in the command, keeps the machine's other programs off the processors meanwhile.",
            "",
            "## One step → a map of no-op tasks → one step that gets all results",
            "",
            *_markdown_table(MAP_COLUMNS, _map_rows(results)),
            "",
            "tasks/s: from the start of the run to its end, seen by the client. First task: from the end of the parent's handler to the begin of",
            "the first item's. RSS: the peak of the largest worker. Server: the CPU time of the backends. Commits: transactions that write.",
            "",
            "## Small runs, delays, ratios",
            "",
            *_markdown_table(("measure", "figure"), _other_rows(results)),
            "",
            "The limit of the SQL is two bare connections that call `claim_tasks` and `complete_tasks` with batches of 100 and do nothing else.",
            "",
        ]
    )


def _map_rows(results: Results) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for figures in results.maps:
        used, items = figures.usage, figures.items
        rows.append(
            (
                f"{items:,}",
                str(figures.workers),
                f"{figures.rate:,.0f}",
                f"{1e3 * figures.first_task:.1f}",
                f"{used.peak_rss / 1e6:.0f}",
                f"{used.database_bytes / items:,.0f}",
                f"{1e6 * used.worker_cpu / items:.0f}",
                f"{1e6 * used.server_cpu / items:.0f}",
                f"{used.wal_bytes / items:,.0f}",
                f"{used.transactions / items:.3f}",
            )
        )
    return rows


def _other_rows(results: Results) -> list[tuple[str, str]]:
    rows = [("limit of the SQL, a map of 10,000", f"{results.limit:,.0f} tasks/s")]
    if results.diamonds:
        used, runs = results.diamonds.usage, results.diamonds.runs
        name = f"{runs:,} runs of a diamond, {results.diamonds.workers} workers"
        rows += [
            (name, f"{results.diamonds.rate:,.0f} runs/s"),
            ("  CPU a run, workers", f"{1e3 * used.worker_cpu / runs:.2f} ms"),
            ("  CPU a run, server, the start included", f"{1e3 * used.server_cpu / runs:.2f} ms"),
            ("  commits a run", f"{used.transactions / runs:.1f}"),
        ]
    if results.transitions:
        rows.append(("chain of 20, one transition, p50 / p95", _delays(results.transitions)))
    if results.starts:
        rows.append(("start to the first handler, p50 / p95", _delays(results.starts)))
    rows += [(name, f"{ratio:.2f}") for name, ratio in results.ratios().items()]
    return rows


def _delays(delays: Delays) -> str:
    return f"{1e3 * delays.p50:.1f} / {1e3 * delays.p95:.1f} ms"


def _markdown_table(head: tuple[str, ...], rows: list[Any]) -> list[str]:
    line = "|" + "|".join("---" if name == "measure" else "--:" for name in head) + "|"
    return (
        [f"| {' | '.join(row)} |" for row in [head]]
        + [line]
        + [f"| {' | '.join(cell.strip() for cell in row)} |" for row in rows]
    )

"""Writes docs/benchmarks.md and its chart from the figures of the last runs, which are kept beside them.

`make bench` and `make bench-peers` each renew their own figures; the page shows both, each with its date.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.chart import draw
from benchmarks.tables import (
    diamond_table,
    failures,
    fan_table,
    goal_table,
    limit_table,
    map_table,
    notes,
    other_table,
)

if TYPE_CHECKING:
    from benchmarks.goals import Figures

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "benchmarks" / "figures"
OWN, PEERS = "own", "peers"


def stamped(found: dict[str, Any], command: str, seconds: float) -> Figures:
    """Return figures with date, command, duration and machine, as JSON would give them back."""
    stamp = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": command,
        "seconds": seconds,
        "cores": os.cpu_count(),
    }
    whole: Figures = json.loads(json.dumps(stamp | found))
    return whole


def keep(name: str, figures: Figures, folder: Path = FIGURES) -> None:
    """Keep figures for later pages."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def kept(name: str, folder: Path = FIGURES) -> Figures:
    """Return the figures of the last run; empty if there was none."""
    try:
        found: Figures = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def write(folder: Path = ROOT / "docs", figures: Path = FIGURES) -> None:
    """Write page and chart into a folder from what is kept in another."""
    own, peers = kept(OWN, figures), kept(PEERS, figures)
    (folder / "images").mkdir(exist_ok=True)
    (folder / "benchmarks.md").write_text(as_markdown(own, peers), encoding="utf-8")
    (folder / "images" / "benchmarks.svg").write_text(draw(own, peers), encoding="utf-8")


def as_markdown(own: Figures, peers: Figures) -> str:
    """Return the page."""
    lines = [
        "# Benchmarks",
        "",
        "Written by the harness in `benchmarks/` (`make bench`, `make bench-peers`), never by hand. Every result was verified: right, complete,",
        "and in our own runs each task granted once. PostgreSQL keeps every acknowledged commit in all of them.",
        "Absolute figures depend on the machine and on what else it does; compare the ratios, the CPU time and the counts.",
        "",
        "![Bars: items and runs a second, delays](images/benchmarks.svg)",
        "",
    ]
    if peers:
        lines += _peers_part(peers)
    if own:
        lines += _own_part(own)
    lines += ["## Goals", "", *goal_table(own, peers).markdown(), "", *GOALS_TEXT, ""]
    return "\n".join(lines)


GOALS_TEXT = [
    "Computed from the raw figures; what is shown is rounded against us. *In turns*: both were measured in one run, round by round. The goals",
    "for a map of 1,000,000 and for a small run beside a large one are measured by benchmarks of their own.",
]


def _peers_part(peers: Figures) -> list[str]:
    plan = peers["plan"]
    return [
        "## Beside its peers",
        "",
        _stamp(peers),
        f"{plan['repetitions']} round(s), in each of which all engines take their turn; medians. An engine has {plan['cap']:.0f} s for a fan: one that would need more",
        "for 10,000 items is given fewer, and the number stands beside its rate.",
        "",
        *fan_table(peers).markdown(),
        "",
        "×: how many times py-pgflow's rate is the other's. From the call that starts the run to the end of the last handler; two worker",
        "processes. CPU and commits at 10,000 items; server: all processes of PostgreSQL, or Redis. Commits: transactions that write.",
        "",
        *diamond_table(peers).markdown(),
        "",
        f"{plan['diamonds']:,} diamonds of four steps, all started at once, two worker processes. Delays: a chain of 20 steps, now and then, on one worker",
        "process: from the end of a handler to the begin of the next, and from the call that starts it to the first handler.",
        "",
        *failures(peers),
        "",
        "How each engine was set up, by its own documentation (`benchmarks/peers/`):",
        "",
        *notes(peers),
        "",
    ]


def _own_part(own: Figures) -> list[str]:
    return [
        "## py-pgflow alone",
        "",
        _stamp(own),
        "",
        *limit_table(own).markdown(),
        "",
        "The set-based limit is bare SQL that writes no more than any durable engine must: messages, task rows, batches of 100 claimed and",
        "completed with outputs, messages archived, one counter, one aggregate. Our SQL alone: `claim_tasks` and `complete_tasks`, no worker.",
        "",
        *map_table(own).markdown(),
        "",
        "tasks/s: from the start of the run to its end, seen by the client. First task: from the end of the parent's handler to the begin of",
        "the first item's. RSS: the peak of the largest worker. Server: the CPU time of all its processes. Commits: transactions that write.",
        "",
        *other_table(own).markdown(),
        "",
    ]


def _stamp(figures: Figures) -> str:
    versions = [f"{name} {value}" for name, value in figures.get("versions", {}).items()]
    settings = [f"`{name}={value}`" for name, value in figures["settings"].items()]
    about = [*versions, f"{figures['cores']} cores"]
    return (
        f"Measured by `{figures['command']}` on {figures['date']}, in {figures['seconds']:.0f} s. {', '.join(about)}. "
        f"Servers, on the same machine: {', '.join(settings)}."
    )

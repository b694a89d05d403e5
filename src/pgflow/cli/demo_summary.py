"""How the demo's summary is shown, and the SVG picture for the documentation."""

import os
import re
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from pgflow.demo.audit import Summary
from pgflow.live.text import count
from pgflow.live.tree import RunTree, Snapshot

PICTURE_WIDTH = 96
_FONT_FACES = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


class Picture:
    """One moment of the run and its summary as an SVG file."""

    def __init__(self) -> None:
        self._moment: RenderableType | None = None

    def take(self, snapshot: Snapshot, notes: list[str]) -> None:
        """Keep this moment, unless an earlier one is kept."""
        if self._moment is None:
            self._moment = Group(RunTree(snapshot), *(Text(note, style="yellow") for note in notes))

    def save(self, path: Path, summary: RenderableType) -> None:
        """Write the file; it refers to nothing on the web."""
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            console = Console(
                record=True,
                width=PICTURE_WIDTH,
                file=nowhere,
                force_terminal=True,
                color_system="truecolor",
                no_color=False,
            )
            console.print(
                Text("$ pgflow demo", style="bold"), self._moment or "", Rule(style="dim"), summary
            )
            path.write_text(
                _FONT_FACES.sub("", console.export_svg(title="pgflow demo")), encoding="utf-8"
            )


def render_summary(summary: Summary, snapshot: Snapshot) -> RenderableType:
    """Lay out what was done, by whom, and what it was checked against."""
    wall = snapshot.run.duration.total_seconds() if snapshot.run.duration else 0.0
    facts = Table.grid(padding=(0, 3, 0, 0))
    for label, value in (
        ("Sent", f"{summary.sent:,} of {count(summary.subscribers, 'message')}"),
        ("Retried", _retried(summary)),
        ("Failed", f"{len(summary.failed):,}: {', '.join(summary.failed)}"),
        ("Sent twice", _twice(summary.duplicates)),
        ("Time", f"{wall:.1f} s, {snapshot.run.done_tasks / wall:,.0f} tasks a second"),
    ):
        facts.add_row(Text(label, style="bold"), value)
    for worker in summary.workers:
        share = f"{worker.delivered:,} messages, {worker.delivered / summary.sent:.0%}"
        fate = Text("  killed in the middle", style="red") if worker.killed else Text()
        facts.add_row(Text(f"Worker {worker.pid}", style="bold"), Text(share).append(fate))
    checks = [
        Text("  ✓ " if check.holds else "  ✗ ", style="green" if check.holds else "red")
        .append(check.claim, style="default")
        .append(f" ({check.detail})" if check.detail else "", style="dim")
        for check in summary.checks
    ]
    verdict = (
        Text("The SMTP server agrees: nothing was lost.", style="bold green")
        if summary.agrees
        else Text("The SMTP server does NOT agree.", style="bold red")
    )
    return Group("", facts, "", "Checked against the SMTP server's inbox:", *checks, verdict)


def _retried(summary: Summary) -> str:
    return (
        f"{summary.retried:,}: {summary.deferred:,} refused at first by the server,"
        f" {summary.lost_attempts:,} begun by the worker that was killed"
    )


def _twice(duplicates: int) -> str:
    if not duplicates:
        return "0"
    return (
        f"{duplicates}: their worker died after the server had them and before pgflow heard of it;"
        " by their Message-ID the server kept one copy"
    )

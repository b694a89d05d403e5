"""Shows who found what, and the decisions; in the terminal and as a picture."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pathlib import Path

    from .checks import Case, Evidence

WIDTH = 126
STYLES = {"renew": "green", "do not renew": "red"}

FONT_FACES = re.compile(r"@font-face \{.*?\}", re.DOTALL)


def render(cases: list[Case], evidence: Evidence, claims: dict[str, bool]) -> RenderableType:
    """Draw all of it."""
    return Group(*(_case(case, evidence) for case in cases), _claims(claims))


def save(picture: Path, drawn: RenderableType) -> None:
    """Write as SVG what the terminal shows."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False)
    console.print(drawn)
    # The fonts would be fetched from elsewhere.
    svg = FONT_FACES.sub("", console.export_svg(title=f"python -m {__package__}"))
    picture.write_text(svg, encoding="utf-8")


def _case(case: Case, evidence: Evidence) -> RenderableType:
    table = Table(box=None, padding=(0, 1), expand=True)
    for heading, ratio in (("queue", None), ("worker", None), ("said", 1), ("so", None)):
        table.add_column(heading, ratio=ratio, no_wrap=ratio is None, header_style="dim")
    dossier = case.dossier
    for index, finding in enumerate(dossier.findings):
        who = _who(case, evidence, "research", index)
        said = f"{finding.source}: {finding.statement}"
        table.add_row(*who, Text(said), Text(finding.supports, style=STYLES[finding.supports]))
    analysis = dossier.analysis
    who = _who(case, evidence, "analyze", 0)
    recommended = Text(analysis.recommendation, style=STYLES[analysis.recommendation])
    table.add_row(*who, Text("; ".join(analysis.reasons)), recommended)
    for index, verdict in enumerate(dossier.verdicts):
        who = _who(case, evidence, "validate", index)
        outcome = (
            Text("holds", style="green") if verdict.holds else Text("dissent", style="bold red")
        )
        table.add_row(*who, Text(verdict.reason), outcome)
    style = STYLES[case.decision.recommendation]
    decision = Text("Decision: ").append(case.decision.recommendation, style=f"bold {style}")
    if case.decision.dissent:
        decision.append(f"\nbecause {'; '.join(case.decision.dissent)}")
    title = Text(case.assignment.question, style="bold")
    return Panel(Group(title, Text(), table, Text(), decision), border_style=style)


def _who(case: Case, evidence: Evidence, step: str, index: int) -> tuple[str, Text]:
    """Return the queue, and the processes that tried: the killed one struck out."""
    rows = [
        row
        for row in evidence.attempts
        if (row["run_id"], row["step_slug"], row["task_index"]) == (case.run_id, step, index)
    ]
    processes = Text()
    for row in rows:
        lost = row["outcome"] != "completed"
        processes.append(str(row["pid"]), style="red strike" if lost else "")
        processes.append(" " if row is not rows[-1] else "")
    return rows[0]["queue"], processes


def _claims(claims: dict[str, bool]) -> RenderableType:
    text = Text("\n")
    for claim, holds in claims.items():
        text.append("✓ " if holds else "✗ ", style="green" if holds else "bold red")
        text.append(f"{claim}\n")
    return text

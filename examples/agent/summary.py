"""Shows questions, calls, answers and tokens; in the terminal and as a picture."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pathlib import Path

    from .checks import Evidence, Exchange
    from .messages import ToolResult

WIDTH = 118
MOST_LETTERS = 240
COLUMNS = {"source": None, "tool": None, "arguments": 9, "output": 10, "attempt": None}
"""Headings of the calls, with the share of the width that is left by those that wrap nothing."""

FONT_FACES = re.compile(r"@font-face \{.*?\}", re.DOTALL)


def render(
    exchanges: list[Exchange], evidence: Evidence, claims: dict[str, bool]
) -> RenderableType:
    """Draw all of it."""
    return Group(
        *(_exchange(exchange) for exchange in exchanges),
        _tokens(exchanges, evidence),
        _claims(claims),
    )


def save(picture: Path, drawn: RenderableType) -> None:
    """Write as SVG what the terminal shows."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False)
    console.print(drawn)
    # The fonts would be fetched from elsewhere.
    svg = FONT_FACES.sub("", console.export_svg(title=f"python -m {__package__}"))
    picture.write_text(svg, encoding="utf-8")


def _exchange(exchange: Exchange) -> RenderableType:
    calls = Table(box=None, padding=(0, 1), expand=True)
    for heading, ratio in COLUMNS.items():
        calls.add_column(
            heading, ratio=ratio, no_wrap=ratio is None, header_style="dim", overflow="fold"
        )
    for result in exchange.answer.results:
        calls.add_row(
            Text(result.call.source, style="cyan"),
            Text(result.call.name),
            Text(_shortened(_arguments(result))),
            Text(_shortened(result.error or json.dumps(result.output))),
            Text(str(result.attempt), style="bold yellow" if result.attempt > 1 else ""),
        )
    answer = Text(exchange.answer.text)
    answer.highlight_regex(r"\[call_\d+\]", "cyan")
    title = Text(exchange.question, style="bold")
    return Panel(Group(title, Text(), calls, Text(), answer), border_style="blue")


def _arguments(result: ToolResult) -> str:
    """Return the values of the arguments, or what the model wrote in their place."""
    try:
        arguments = json.loads(result.call.arguments)
    except json.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        return result.call.arguments
    return ", ".join(map(str, arguments.values()))


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…"


def _tokens(exchanges: list[Exchange], evidence: Evidence) -> RenderableType:
    table = Table(title="Tokens of each step: token_account.sql", title_justify="left", box=None)
    numbers = {exchange.run_id: str(number) for number, exchange in enumerate(exchanges, 1)}
    figures = ("answers", "prompt_tokens", "completion_tokens", "wasted_tokens")
    for heading in ("question", "step_slug", *figures):
        table.add_column(
            heading, header_style="dim", justify="right" if heading in figures else "left"
        )
    for row in sorted(evidence.account, key=lambda row: (numbers[row["run_id"]], row["step_slug"])):
        table.add_row(
            numbers[row["run_id"]],
            row["step_slug"],
            # An endpoint may send no usage.
            *("unknown" if row[name] is None else f"{row[name]:,}" for name in figures),
        )
    return table


def _claims(claims: dict[str, bool]) -> RenderableType:
    text = Text("\n")
    for claim, holds in claims.items():
        text.append("✓ " if holds else "✗ ", style="green" if holds else "bold red")
        text.append(f"{claim}\n")
    return text

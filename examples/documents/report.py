"""Prints what came out: the fate of each file, what a search found, and the checks."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .batch import Outcome
from .checks import MEANING, PHRASE, Facts
from .store import Hit

# Pipes get whole lines, however long.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def show_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Print a line for each file."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for outcome in outcomes:
        if outcome.indexed is None:
            reason = str(outcome.error).removeprefix("NonRetryable: ")
            table.add_row(Text("✗", "red"), outcome.name, Text(reason))
            continue
        done = outcome.indexed
        table.add_row(
            Text("✓", "green"),
            outcome.name,
            f"{_count(done.pages, 'page')} ({done.recognised} recognised), {done.entities} entities,"
            f" {done.chunks} chunks in {outcome.seconds:.1f} s",
        )
    console.print(table)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def show_hits(query: str, hits: Sequence[Hit]) -> None:
    """Print the best hits of a search."""
    table = Table(title=query, title_justify="left", title_style="bold", show_edge=False)
    for heading in ("page", "words", "meaning", "text"):
        table.add_column(heading, justify="left" if heading in {"page", "text"} else "right")
    for hit in hits:
        scan = " (scan)" if hit.source == "ocr" else ""
        table.add_row(
            f"{hit.name}, {hit.page}{scan}",
            "" if hit.word_rank is None else f"#{hit.word_rank}",
            "" if hit.meaning_rank is None else f"#{hit.meaning_rank} {hit.similarity:.2f}",
            Text(hit.headline, overflow="ellipsis", no_wrap=True),
        )
    console.print(table)


def show_summary(outcomes: Sequence[Outcome], facts: Facts, out: Path) -> None:
    """Print what was done, what the two searches found, and what was checked."""
    console.print()
    show_outcomes(outcomes)
    if facts.by_words:
        console.print()
        show_hits(f'"{PHRASE}"', facts.by_words[:3])
        console.print()
        show_hits(MEANING, facts.by_meaning[:3])
    console.print("\nChecked against what was written on the pages:")
    for claim, holds in facts.checks.items():
        line = Text("  ✓ " if holds else "  ✗ ", style="green" if holds else "red")
        line.append(claim, style="default")
        if detail := facts.details.get(claim):
            line.append(f" ({detail})", style="dim")
        console.print(line)
    console.print(f"\nWritten to {out}: archive.pdf, locked.pdf, torn.pdf, facts.json, picture.png")

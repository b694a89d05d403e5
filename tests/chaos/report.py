"""What a hunt did and found, for people and for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from tests.chaos.plan import CRASHES, Deed

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from tests.chaos.hunt import Outcome

BEGIN, END = "<!-- chaos:begin -->", "<!-- chaos:end -->"
SHOWN = 20


def command(outcome: Outcome) -> str:
    """Return the command that repeats the hunt."""
    quarry = asdict(outcome.quarry)
    wanted = " ".join(f"--{name} {value:g}" for name, value in quarry.items() if value)
    return f"python -m tests.chaos --seed {outcome.seed} {wanted} --pace {outcome.pace:g} --workers {outcome.workers}"


def figures(outcome: Outcome) -> dict[str, Any]:
    """Return the figures of the summary in the order in which they are shown."""
    deeds = outcome.deeds
    return {
        "seconds": round(outcome.seconds),
        "workers killed": deeds.get(Deed.KILL_WORKER.name, 0),
        "workers stopped past their lease": deeds.get(Deed.STOP_WORKER.name, 0),
        "database crashes": sum(deeds.get(deed.name, 0) for deed in CRASHES),
        "commits in doubt": outcome.network.get("in_doubt", 0),
        "connections": outcome.network.get("connections", 0),
        "statements": outcome.network.get("statements", 0),
        **outcome.counts,
        "healed after": f"{outcome.healing_seconds:.1f} s (bound {outcome.healing_bound:.0f} s)",
        "violations": len(outcome.violations),
    }


def show(outcome: Outcome, console: Console) -> None:
    """Print the summary, and the violations with the way to have them again."""
    table = Table(title=f"chaos, seed {outcome.seed}")
    table.add_column("")
    table.add_column("", justify="right")
    for name, value in figures(outcome).items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    console.print(table)
    console.print({Deed[name].value: times for name, times in outcome.deeds.items()})
    if outcome.violations:
        for violation in outcome.violations[:SHOWN]:
            console.print(f"{violation.invariant}: {violation.detail}", style="red", markup=False)
        console.print(
            f"{len(outcome.violations)} violations. The same faults again: {command(outcome)}"
        )
        console.print(f"Journals and logs: {outcome.directory}")


def as_json(outcome: Outcome) -> str:
    """Return everything as JSON."""
    return json.dumps(asdict(outcome) | {"command": command(outcome)}, indent=2, default=str)


def write(outcome: Outcome, path: Path) -> None:
    """Put the figures into a document, between its marks if it has them, else at its end."""
    rows = "\n".join(
        f"| {name} | {value:,} |" if isinstance(value, int) else f"| {name} | {value} |"
        for name, value in figures(outcome).items()
    )
    faults = "\n".join(
        f"| {Deed[name].value} | {times:,} |" for name, times in outcome.deeds.items()
    )
    text = (
        f"{BEGIN}\n\n`{command(outcome)}`\n\n| | |\n|---|--:|\n{rows}\n\n"
        f"| Fault | Times |\n|---|--:|\n{faults}\n\n{END}"
    )
    old = path.read_text() if path.exists() else ""
    if BEGIN in old and END in old:
        head, _, rest = old.partition(BEGIN)
        path.write_text(head + text + rest.partition(END)[2])
    else:
        path.write_text(f"{old.rstrip()}\n\n{text}\n".lstrip())

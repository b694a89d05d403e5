"""`pgflow prune`."""

import re
from typing import Annotated, Final

import typer

from pgflow.cli.common import AsJson, Dsn, complete, open_database
from pgflow.cli.output import emit_json
from pgflow.errors import UsageError
from pgflow.live.text import count, say

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def prune(
    *,
    older_than: Annotated[
        str,
        typer.Option(metavar="AGE", help="Time since the end of a run: 90s, 30m, 12h, 30d, 4w."),
    ],
    flow: Annotated[str | None, typer.Option(help="Only runs of this flow.")] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(help="Only completed, failed or cancelled runs; may be repeated."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Runs per transaction.")] = 1000,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Delete runs that ended long ago, with all that belongs to them, in batches.

    Without --flow and --status, archived messages and workers that have been silent for that long go, too.
    """
    complete(_prune(_duration(older_than), flow, status or None, batch_size, dsn, as_json=as_json))


async def _prune(
    older_than: float,
    flow: str | None,
    statuses: list[str] | None,
    batch_size: int,
    dsn: str | None,
    *,
    as_json: bool,
) -> None:
    from pgflow.client import Client  # noqa: PLC0415 - see app.py

    async with open_database(dsn) as database:
        pruned = await Client(database).prune(
            older_than, flow=flow, statuses=statuses, batch_size=batch_size
        )
    if as_json:
        emit_json(pruned)
        return
    parts = [
        count(pruned.runs, "run"),
        count(pruned.messages, "message"),
        count(pruned.workers, "worker"),
    ]
    say(f"Deleted {', '.join(parts[:2])} and {parts[2]}.")


def _duration(text: str) -> float:
    """Read an age such as 30d as seconds."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([smhdw])", text.strip())
    if found is None:
        raise UsageError(
            f"{text!r} is not an age", hint="Write a number and a unit: 90s, 30m, 12h, 30d, 4w."
        )
    return float(found[1]) * _UNITS[found[2]]

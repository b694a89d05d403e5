"""`pgflow runs`."""

from typing import Annotated

import typer

from pgflow.cli.common import AsJson, Dsn, Limit, complete, open_database
from pgflow.cli.output import emit_json, table
from pgflow.live.text import say, seconds
from pgflow.records import RunStatus


def runs(
    *,
    flow: Annotated[str | None, typer.Option(help="Only runs of this flow.")] = None,
    status: Annotated[RunStatus | None, typer.Option(help="Only runs of this status.")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """List the runs, the latest first."""
    complete(_runs(dsn, flow, status, limit, as_json=as_json))


async def _runs(
    dsn: str | None, flow: str | None, status: RunStatus | None, limit: int, *, as_json: bool
) -> None:
    async with open_database(dsn) as database:
        found = await database.runs(flow, status, limit)
    if as_json:
        emit_json(found)
        return
    if not found:
        say("No runs. Start one: pgflow run module:flow")
        return
    table(
        ("RUN", "FLOW", "STATUS", "PROGRESS", "FAILED", "STARTED", "TIME"),
        (
            (
                run.run_id,
                run.flow_slug,
                run.status,
                f"{run.progress:.0f} %",
                run.failed_tasks or "-",
                run.started_at.astimezone(),
                seconds(run.duration.total_seconds()) if run.duration is not None else None,
            )
            for run in found
        ),
        optional=("TIME", "FAILED", "STARTED"),
    )

"""`pgflow cancel` and `pgflow retry`."""

from typing import Annotated
from uuid import UUID

import typer

from pgflow.cli.common import Dsn, RunId, complete, open_database, parse_run_id
from pgflow.live.text import say


def cancel(
    run: RunId,
    *,
    reason: Annotated[str | None, typer.Option(help="Why; kept with the run.")] = None,
    dsn: Dsn = None,
) -> None:
    """Cancel a run: what is queued never starts, what runs is told to stop."""
    complete(_cancel(parse_run_id(run), reason, dsn))


async def _cancel(run_id: UUID, reason: str | None, dsn: str | None) -> None:
    from pgflow.client import Client  # noqa: PLC0415 - see app.py

    async with open_database(dsn) as database:
        record = await Client(database).cancel(run_id, reason)
    say(f"Run {record.run_id} of {record.flow_slug} is {record.status}.")


def retry(
    run: RunId,
    *,
    step: Annotated[str | None, typer.Option(help="Only this step.")] = None,
    dsn: Dsn = None,
) -> None:
    """Retry what failed in a run: the steps behind what failed run again, everything else stays."""
    complete(_retry(parse_run_id(run), step, dsn))


async def _retry(run_id: UUID, step: str | None, dsn: str | None) -> None:
    from pgflow.client import Client  # noqa: PLC0415 - see app.py

    async with open_database(dsn) as database:
        record = await Client(database).retry(run_id, step)
    say(f"Run {record.run_id} of {record.flow_slug} is {record.status}.")

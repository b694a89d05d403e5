"""`pgflow worker`: processes that perform the tasks of flows until they are stopped."""

import os
from typing import Annotated

import typer

from pgflow.cli.common import VALUE_CODEC, Dsn, LogLevel, complete, open_database


def worker(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="FLOW...", help="module:flow or file.py:flow; or module:handlers, for plans."
        ),
    ],
    *,
    processes: Annotated[
        int, typer.Option("--processes", "-p", min=1, help="Worker processes.")
    ] = 1,
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", min=1, help="Tasks at a time in each process.")
    ] = 100,
    queue: Annotated[
        list[str] | None,
        typer.Option(help="Only this queue; may be repeated. Default: the flows' own."),
    ] = None,
    lease: Annotated[
        int, typer.Option(min=1, help="Seconds until the tasks of a process that died start again.")
    ] = 30,
    drain_timeout: Annotated[
        int, typer.Option(min=0, help="Seconds that running tasks have to end after SIGTERM.")
    ] = 30,
    log_level: LogLevel = "INFO",
    dsn: Dsn = None,
) -> None:
    """Perform the tasks of flows; restart processes that die; drain on SIGTERM, stop at the second."""
    from pgflow.supervisor import Supervisor  # noqa: PLC0415 - see app.py
    from pgflow.worker import load_work  # noqa: PLC0415

    load_work(targets)
    # A wrong address or schema must end the command, not each of its processes again and again.
    complete(_check(dsn))
    supervisor = Supervisor(
        targets,
        processes=processes,
        dsn=dsn,
        queues=queue or None,
        concurrency=concurrency,
        lease=lease,
        drain_timeout=drain_timeout,
        log_level=log_level,
        value_codec=os.environ.get(VALUE_CODEC),
    )
    raise typer.Exit(supervisor.run())


async def _check(dsn: str | None) -> None:
    async with open_database(dsn):
        pass

"""`pgflow run`: start a run, work on it, follow it to its end."""

import asyncio
import sys
from contextlib import nullcontext, redirect_stdout
from typing import Annotated, Any
from uuid import UUID

import typer

from pgflow._logs import configure_logging
from pgflow.cli.common import AsJson, Dsn, LogLevel, complete, one_flow, open_database, parse_input
from pgflow.cli.output import emit_json, excerpt
from pgflow.cli.values import Shown
from pgflow.client import Client
from pgflow.database import Database
from pgflow.flow import Flow
from pgflow.live.follow import Display, choose_display, follow, read_record
from pgflow.live.text import one_line, say, seconds
from pgflow.live.tree import Snapshot
from pgflow.records import FailedTask, RunRecord, RunStatus
from pgflow.worker import Worker

EXIT_CODES = {
    RunStatus.COMPLETED: 0,
    RunStatus.FAILED: 1,
    RunStatus.CANCELLED: 3,
    RunStatus.STARTED: 0,
}
FAILURES_SHOWN = 5


def run(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FLOW", help="module:flow, file.py:flow, or with --no-worker a slug."
        ),
    ],
    *,
    given: Annotated[
        str,
        typer.Option(
            "--input", "-i", help="The run's input: JSON, @file, or - for standard input."
        ),
    ] = "{}",
    key: Annotated[
        str | None, typer.Option(help="Idempotency key: the same key gives the same run.")
    ] = None,
    worker: Annotated[
        bool, typer.Option(help="Perform the tasks here, too, while waiting.")
    ] = True,
    wait: Annotated[bool, typer.Option(help="Follow the run to its end.")] = True,
    concurrency: Annotated[int, typer.Option(min=1, help="Tasks at a time.")] = 100,
    log_level: LogLevel = "ERROR",
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Start a run and follow it.

    The exit code is the outcome: 0 completed, 1 failed, 3 cancelled; 2 if it could not be started.
    """
    configure_logging(log_level)
    value = parse_input(given)
    flow = target if not worker and ":" not in target else one_flow(target)
    status = complete(
        _run(
            dsn, flow, value, key=key, concurrency=concurrency if worker and wait else 0, wait=wait,
            as_json=as_json,
        )
    )  # fmt: skip
    raise typer.Exit(EXIT_CODES[status])


async def _run(
    dsn: str | None,
    flow: Flow[Any] | str,
    value: Any,
    *,
    key: str | None,
    concurrency: int,
    wait: bool,
    as_json: bool,
) -> RunStatus:
    async with open_database(dsn) as database:
        started = await Client(database).start(flow, value, key=key)
        if not wait:
            if as_json:
                emit_json({"run_id": started.id})
            else:
                say(str(started.id))
            return RunStatus.STARTED
        try:
            # What handlers print must not get between the lines of the JSON document.
            apart = redirect_stdout(sys.stderr) if as_json else nullcontext()
            with apart, choose_display(as_json=as_json) as display:
                snapshot = await _work_and_follow(database, flow, started.id, concurrency, display)
        except asyncio.CancelledError:
            _explain_interrupt(started.id)
            raise
        view = await Shown.of(database, await read_record(database, started.id), snapshot.steps)
        record = view.record
        failures = [view.failed_task(task) for task in await database.failed_tasks(started.id)]
        if as_json:
            emit_json(document(record, snapshot, failures))
        else:
            _conclude(record, snapshot, failures)
        return record.status


async def _work_and_follow(
    database: Database, flow: Flow[Any] | str, run_id: UUID, concurrency: int, display: Display
) -> Snapshot:
    """Follow the run; with a concurrency, also perform its tasks in this process."""
    if not concurrency or isinstance(flow, str):
        return await follow(database, run_id, display.show)
    worker = Worker(database, [flow], concurrency=concurrency)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run_until(run_id))
            following = group.create_task(follow(database, run_id, display.show))
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    return following.result()


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error inside: it tells more than the group around it."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _explain_interrupt(run_id: UUID) -> None:
    sys.stderr.write(
        f"\npgflow: interrupted; the run {run_id} goes on when a worker serves its flow.\n"
        f"  Look at it: pgflow show {run_id}\n  End it: pgflow cancel {run_id}\n"
    )


def document(
    record: RunRecord, snapshot: Snapshot, failures: list[FailedTask], **more: object
) -> dict[str, object]:
    """Return what --json prints about a run."""
    return {
        "run_id": record.run_id,
        "flow": record.flow_slug,
        "version": record.flow_version,
        "status": record.status,
        "started_at": record.started_at,
        "duration": snapshot.run.duration,
        "input": record.input,
        "output": record.output,
        "error": record.error_message,
        "steps": list(snapshot.steps),
        "failed_tasks": failures,
        **more,
    }


def _conclude(record: RunRecord, snapshot: Snapshot, failures: list[FailedTask]) -> None:
    duration = snapshot.run.duration
    took = f" in {seconds(duration.total_seconds())}" if duration is not None else ""
    say(f"Run {record.run_id} {record.status}{took}.")
    if record.output is not None:
        say(excerpt(record.output))
    for task in failures[:FAILURES_SHOWN]:
        say(
            f"{task.step_slug}[{task.task_index}] failed: {one_line(task.error_message or '', 200)}"
        )
    if len(failures) > FAILURES_SHOWN:
        say(f"… and {len(failures) - FAILURES_SHOWN:,} more")
    if record.status is not RunStatus.COMPLETED:
        say(f"See every attempt: pgflow show {record.run_id}")

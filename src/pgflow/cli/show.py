"""`pgflow show`: all that is known about one run."""

import sys
from typing import Annotated
from uuid import UUID

import typer

from pgflow.cli.common import AsJson, Dsn, Limit, RunId, complete, open_database, parse_run_id
from pgflow.cli.output import emit_json, excerpt, table
from pgflow.cli.run import document
from pgflow.cli.values import Shown
from pgflow.database import Database
from pgflow.errors import UsageError, did_you_mean
from pgflow.live.follow import read_record, read_snapshot
from pgflow.live.text import one_line, say
from pgflow.live.tree import RunTree
from pgflow.records import AttemptOutcome, AttemptRecord, TaskRecord

ATTEMPTS_READ = 10_000
UNREMARKABLE = {AttemptOutcome.RUNNING, AttemptOutcome.COMPLETED}


def show(
    run: RunId,
    *,
    step: Annotated[str | None, typer.Option(help="The tasks and attempts of this step.")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Show a run: its steps, the tasks that failed, the attempts that did not succeed."""
    complete(_show(dsn, parse_run_id(run), step, limit, as_json=as_json))


async def _show(
    dsn: str | None, run_id: UUID, step: str | None, limit: int, *, as_json: bool
) -> None:
    async with open_database(dsn) as database:
        snapshot = await read_snapshot(database, run_id)
        _check_step(step, [each.step_slug for each in snapshot.steps])
        view = await Shown.of(database, await read_record(database, run_id), snapshot.steps)
        record = view.record
        failures = [
            view.failed_task(task)
            for task in await database.failed_tasks(run_id)
            if step in {None, task.step_slug}
        ]
        tasks = (
            [view.task(task) for task in await database.tasks(run_id, step, limit=limit)]
            if step
            else []
        )
        attempts = await _attempts(database, run_id, step, limit)
        if as_json:
            more = {"tasks": tasks} if step else {}
            emit_json(document(record, snapshot, failures, attempts=attempts, **more))
            return
        _print_tree(RunTree(snapshot))
        if step is not None:
            _print_tasks(step, tasks)
    if record.cancel_reason:
        say(f"\nCancelled: {one_line(record.cancel_reason, 200)}")
    if step is None:
        for title, value in (("Input", record.input), ("Output", record.output)):
            if value is not None:
                say(f"\n{title}\n{excerpt(value)}")
    if failures:
        say(f"\nFailed tasks ({len(failures):,})")
        table(
            ("STEP", "TASK", "ATTEMPTS", "INPUT", "ERROR"),
            (
                (
                    task.step_slug,
                    task.task_index,
                    task.attempts_count,
                    one_line(task.input.decode(), 40) if task.input is not None else None,
                    task.error_message,
                )
                for task in failures[:limit]
            ),
            optional=("ATTEMPTS", "INPUT"),
        )
    if attempts:
        say("\nAttempts" if step else "\nAttempts that did not succeed")
        _print_attempts(attempts)
    if step is None:
        say("\nMore: --step SLUG for its tasks, --json for everything, tracebacks included.")


def _check_step(step: str | None, known: list[str]) -> None:
    if step is not None and step not in known:
        message = f"the run has no step {step!r}{did_you_mean(step, known)}"
        raise UsageError(message, hint=f"Its steps: {', '.join(known)}")


async def _attempts(
    database: Database, run_id: UUID, step: str | None, limit: int
) -> list[AttemptRecord]:
    """Return a step's attempts; of a whole run only those that tell something."""
    if step is not None:
        return await database.attempts(run_id, step, limit=limit)
    found = await database.attempts(run_id, limit=ATTEMPTS_READ)
    return [attempt for attempt in found if attempt.outcome not in UNREMARKABLE][:limit]


def _print_tree(tree: RunTree) -> None:
    from rich.console import Console  # noqa: PLC0415 - not for --json

    # Pipes get whole lines, however long.
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(tree)


def _print_tasks(step: str, tasks: list[TaskRecord]) -> None:
    say(f"\nTasks of {step}")
    table(
        ("TASK", "STATUS", "ATTEMPTS", "INPUT", "OUTPUT", "ERROR"),
        (
            (
                _items(task),
                task.status,
                task.attempts_count,
                one_line(task.input.decode(), 30) if task.input is not None else None,
                one_line(task.output.decode(), 30) if task.output is not None else None,
                task.error_message,
            )
            for task in tasks
        ),
        optional=("ATTEMPTS",),
    )


def _items(task: TaskRecord) -> int | str:
    if task.items is None:
        return task.task_index
    return f"{task.task_index}-{task.task_index + task.items - 1}"


def _print_attempts(attempts: list[AttemptRecord]) -> None:
    table(
        ("STEP", "TASK", "ATTEMPT", "OUTCOME", "STARTED", "SECONDS", "WORKER", "ERROR"),
        (
            (
                attempt.step_slug,
                attempt.task_index,
                attempt.attempt,
                attempt.outcome or "running",
                attempt.started_at and attempt.started_at.astimezone(),
                (attempt.ended_at - attempt.started_at).total_seconds()
                if attempt.started_at and attempt.ended_at
                else None,
                str(attempt.worker_id)[:8] if attempt.worker_id else None,
                attempt.error,
            )
            for attempt in attempts
        ),
        optional=("WORKER", "STARTED", "SECONDS"),
    )

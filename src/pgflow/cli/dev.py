"""`pgflow dev`: workers that follow the code while it is written, with a live view of the runs."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from psycopg.conninfo import conninfo_to_dict

from pgflow.cli.common import (
    VALUE_CODEC,
    Dsn,
    LogLevel,
    complete,
    open_database,
    parse_input,
)
from pgflow.cli.values import Shown
from pgflow.database import Database
from pgflow.embedded import resolve_dsn
from pgflow.errors import UsageError
from pgflow.live.follow import read_record
from pgflow.live.text import one_line
from pgflow.records import RunStatus, RunSummary

try:
    from pgflow.dev.board import Ended, Runs
    from pgflow.dev.edition import WorkerOptions
    from pgflow.dev.output import WorkerOutput
    from pgflow.dev.screen import Lines, Screen
    from pgflow.dev.session import Plan, Session
    from pgflow.dev.watching import root_of
except ModuleNotFoundError as missing:
    raise UsageError(
        f"pgflow dev cannot run: {missing}",
        hint="Install what it needs: pip install 'py-pgflow[dev]'",
    ) from missing

LONGEST_ENDING = 300


def dev(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="FLOW...",
            help="file.py or module, or one flow of it: file.py:flow; or file.py:handlers.",
        ),
    ],
    *,
    run: Annotated[
        bool, typer.Option("--run", help="Start a run at once, and another after each reload.")
    ] = False,
    given: Annotated[
        str | None,
        typer.Option(
            "--input",
            "-i",
            help="Input of these runs: JSON, or @file, read again for each. Implies --run.",
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", "-p", min=1, help="Worker processes.")
    ] = 1,
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", min=1, help="Tasks at a time in each process.")
    ] = 100,
    drain_timeout: Annotated[
        int,
        typer.Option(
            min=0, help="Seconds that running tasks have to end at a reload, or at Ctrl-C."
        ),
    ] = 3,
    watch: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Reload for changes below this directory, too; may be repeated.",
        ),
    ] = None,
    log_level: LogLevel = "WARNING",
    dsn: Dsn = None,
) -> None:
    """Work on the runs of flows while they are written: reload at each change of a .py file, show all runs.

    Runs are started by --run or from another terminal. Ctrl-C ends it, a second one at once.
    """
    for target in targets:
        _check(target)
    read_input = _input_reader(given) if run or given is not None else None
    roots = dict.fromkeys([*map(root_of, targets), *(path.resolve() for path in watch or ())])
    options = {
        "targets": targets,
        "processes": processes,
        "concurrency": concurrency,
        "drain_timeout": drain_timeout,
        "log_level": log_level,
        "value_codec": os.environ.get(VALUE_CODEC),
    }
    raise typer.Exit(complete(_dev(dsn, options, list(roots), read_input)))


def _check(target: str) -> None:
    """Refuse a file that is not there; whatever else may be wrong can be mended meanwhile."""
    place = target.rpartition(":")[0] or target
    if (place.endswith(".py") or "/" in place) and not Path(place).is_file():
        raise UsageError(
            f"there is no file {place}", hint="Make a project that works: pgflow new hello"
        )


def _input_reader(given: str | None) -> Callable[[], Any]:
    """Return what gives the input of each run: a file is read again, what is wrong with it now is refused."""
    text = given if given is not None else "{}"
    value = parse_input(text)
    return (lambda: parse_input(text)) if text.startswith("@") else lambda: value


async def _dev(
    dsn: str | None,
    options: dict[str, Any],
    roots: Sequence[Path],
    given: Callable[[], Any] | None,
) -> int:
    async with open_database(dsn) as database:
        with choose_screen() as screen:
            plan = Plan(
                options=WorkerOptions(dsn=database.dsn, **options),
                roots=roots,
                input=given,
                revive=None if dsn else resolve_dsn,
                greet=lambda flows, serves: greet(
                    screen,
                    serves,
                    start_line(options["targets"], flows, dsn),
                    None if dsn else database.dsn,
                ),
            )
            async with WorkerOutput(screen.printed) as output:
                runs = Runs(database, conclude)
                return await Session(plan, database, runs, screen, output.write_end).run()


def choose_screen() -> Screen:
    """Return the screen that fits standard output."""
    if not sys.stdout.isatty():
        return Lines()
    from rich.console import Console  # noqa: PLC0415 - terminals only

    from pgflow.dev.terminal import Terminal  # noqa: PLC0415

    return Terminal(Console(highlight=False))


def start_line(targets: Sequence[str], flows: Sequence[str], dsn: str | None) -> str:
    """Return the command that starts a run from elsewhere; it shows no password.

    >>> start_line(["app.py"], ["hello"], None)
    'pgflow run app.py:hello --no-worker'
    """
    place = targets[0].rpartition(":")[0] or targets[0]
    line = f"pgflow run {f'{place}:{flows[0]}' if flows else 'PLAN'} --no-worker"
    if dsn is None or dsn == os.environ.get("PGFLOW_DSN"):
        return line
    is_open = "password" not in conninfo_to_dict(dsn)
    return f"{line} --dsn {shlex.quote(dsn) if is_open else '…'}"


def greet(screen: Screen, serves: Sequence[str], start: str, embedded: str | None) -> None:
    """Say what is served, and how to start a run from elsewhere; an embedded server also tells its address."""
    screen.tell(f"serving {', '.join(serves)}; any change of a .py file reloads")
    lines = [start]
    where = "In another terminal:"
    if embedded is not None:
        where = "In another terminal of this project, on its own PostgreSQL, which runs as long as this does:"
        lines += ["pgflow runs", f"psql '{embedded}'"]
    screen.printed("\n  ".join([where, *lines]))


async def conclude(database: Database, run: RunSummary) -> Ended:
    """Read how a run ended: its output, less what its flow redacts, or what failed and where."""
    if run.status is RunStatus.FAILED:
        return await _failure(database, run)
    record = await read_record(database, run.run_id)
    shown = (await Shown.of(database, record, await database.steps(run.run_id))).record
    if run.status is RunStatus.CANCELLED:
        return Ended(run, one_line(record.cancel_reason or "", LONGEST_ENDING))
    text = shown.output.decode() if shown.output is not None else ""
    return Ended(run, one_line(text, LONGEST_ENDING))


async def _failure(database: Database, run: RunSummary) -> Ended:
    failure = await database.run_failure(run.run_id)
    if failure is None or failure.step_slug is None:
        return Ended(run, one_line(run.error_message or "", LONGEST_ENDING))
    place, trace = failure.step_slug, None
    if failure.task_index is not None:
        place += f"[{failure.task_index}], attempt {failure.attempt}"
        attempts = await database.attempts(run.run_id, failure.step_slug, failure.task_index)
        details = attempts[-1].details if attempts else None
        trace = details.parse().get("traceback") if details is not None else None
    return Ended(run, one_line(f"{place}: {failure.error or ''}", LONGEST_ENDING), trace)

"""`pgflow demo`: the email campaign, with a live picture, a killed worker and a checked summary."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console

from pgflow.cli.common import VALUE_CODEC, AsJson, Dsn, complete, open_database
from pgflow.cli.demo_summary import Picture, render_summary
from pgflow.cli.output import emit_json
from pgflow.cli.values import Shown
from pgflow.client import Client
from pgflow.codec import Where
from pgflow.database import Database
from pgflow.errors import RunFailed, UsageError
from pgflow.live.follow import Display, choose_display, follow, read_record
from pgflow.live.tree import Snapshot
from pgflow.records import AttemptOutcome
from pgflow.supervisor import Supervisor

try:
    from pgflow.demo.audit import Outcome, audit
    from pgflow.demo.campaign import Campaign, Receipt, Report, email_campaign
    from pgflow.demo.mail_server import LOOPBACK, MailServer
except ImportError as missing:
    hint = "Install what the demo needs: pip install 'py-pgflow[demo]'"
    raise UsageError(f"the demo cannot run: {missing}", hint=hint) from missing

FLOW = "pgflow.demo.campaign:email_campaign"
MAP = "send_email"
PROCESSES = 2
CONCURRENCY = 8
LEASE = 3
"""Seconds; short, so that the killed worker's tasks come back while one watches."""
KILL_AT = 0.35
"""Share of the messages sent when a worker is killed."""
PICTURE_AT = 0.6
MAX_ATTEMPTS_READ = 20_000


def demo(
    *,
    svg: Annotated[
        Path | None, typer.Option(help="Write a picture of the run and its summary to this file.")
    ] = None,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Run the email campaign: 1,000 messages to a real SMTP server, two workers, one of them killed.

    The exit code is 0 if the summary agrees with what the SMTP server received, else 1.
    """
    if svg is not None:
        _check_writable(svg)
    with _quiet():
        raise typer.Exit(complete(_demo(dsn, svg, as_json=as_json)))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the supervisor's warning about the killed worker back: it is the demo's intention."""
    logger = logging.getLogger("pgflow")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check_writable(path: Path) -> None:
    """Refuse before the run what could not be written after it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise UsageError(f"cannot write the picture: {error}", hint="Name another file.") from None


async def _demo(dsn: str | None, svg: Path | None, *, as_json: bool) -> int:
    picture = Picture() if svg is not None else None
    async with open_database(dsn) as database:
        with MailServer() as mail, choose_display(as_json=as_json) as display:
            supervisor = Supervisor(
                FLOW,
                processes=PROCESSES,
                dsn=database.dsn,
                concurrency=CONCURRENCY,
                lease=LEASE,
                log_level="CRITICAL",
                value_codec=os.environ.get(VALUE_CODEC),
            )
            async with supervisor:
                await supervisor.ready()
                campaign = Campaign(campaign_id=123, smtp_host=LOOPBACK, smtp_port=mail.port)
                run = await Client(database).start(email_campaign, campaign)
                saboteur = Saboteur(supervisor, display, picture)
                try:
                    snapshot = await follow(database, run.id, saboteur.show)
                except BaseException:
                    await database.cancel_run(run.id, "the demo was interrupted")
                    sys.stderr.write("\npgflow: interrupted; the run was cancelled.\n")
                    raise
        summary = audit(await _outcome(database, run.id, saboteur.killed_pid), mail.inbox)
    shown = render_summary(summary, snapshot)
    wall = snapshot.run.duration.total_seconds() if snapshot.run.duration else 0.0
    if as_json:
        rate = snapshot.run.done_tasks / wall
        emit_json(
            {
                "run_id": run.id,
                "status": snapshot.run.status,
                "wall_seconds": wall,
                "tasks_per_second": round(rate, 1),
                "agrees": summary.agrees,
                **asdict(summary),
            }
        )
    else:
        # Pipes get whole lines, however long.
        Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(shown)
    if picture is not None and svg is not None:
        picture.save(svg, shown)
    return 0 if summary.agrees else 1


class Saboteur:
    """Passes the snapshots on, and kills one worker when a good part is done."""

    def __init__(self, supervisor: Supervisor, display: Display, picture: Picture | None) -> None:
        self._supervisor = supervisor
        self._display = display
        self._picture = picture
        self.killed_pid: int | None = None

    def show(self, snapshot: Snapshot) -> None:
        """Show the snapshot; act on how far the map is."""
        sent = next(step for step in snapshot.steps if step.step_slug == MAP)
        done = sent.completed_tasks / sent.total_tasks if sent.total_tasks else 0.0
        if self.killed_pid is None and done >= KILL_AT:
            self.killed_pid = self._supervisor.pids[min(self._supervisor.pids)]
            os.kill(self.killed_pid, signal.SIGKILL)
            self._display.note(
                f"Killed worker {self.killed_pid} (SIGKILL); its tasks return when their leases of {LEASE} s end."
            )
        self._display.show(snapshot)
        if self._picture is not None and done >= PICTURE_AT:
            self._picture.take(snapshot, self._display.notes)


async def _outcome(database: Database, run_id: UUID, killed_pid: int | None) -> Outcome:
    """Read what pgflow knows about the run that has ended."""
    stored = await read_record(database, run_id)
    view = await Shown.of(database, stored, await database.steps(run_id))
    record = view.record
    if record.output is None:
        raise RunFailed(run_id, record.flow_slug, error=record.error_message)
    outputs = [task.output for task in await database.step_output(run_id, MAP) if task.output]
    attempts = await database.attempts(run_id, MAP, limit=MAX_ATTEMPTS_READ)
    failed = [view.failed_task(task) for task in await database.failed_tasks(run_id)]
    where = Where(record.flow_slug, MAP)
    return Outcome(
        report=Report(**record.output.parse()["track_results"]),
        receipts=[Receipt(**database.vault.open(output, where).parse()) for output in outputs],
        failed={task.input.parse()["email"] for task in failed if task.input is not None},
        lost_attempts=sum(attempt.outcome == AttemptOutcome.LOST for attempt in attempts),
        killed_pid=killed_pid,
    )

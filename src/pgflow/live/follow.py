"""Watch a run until it ends, in a terminal or a pipe; tables are the truth, so this polls."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from pgflow._run import in_spite_of_outages
from pgflow.errors import RunNotFound
from pgflow.live.text import clock, count, one_line, say, seconds
from pgflow.live.tree import RunTree, Snapshot
from pgflow.records import StepStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Self
    from uuid import UUID

    from rich.console import Console
    from rich.live import Live

    from pgflow.database import Database
    from pgflow.records import RunRecord, StepSummary

INTERVAL = 0.2
"""Seconds between two looks at the database."""
SHARE = 10
"""A look that takes long is followed by a pause this many times as long."""
PACE_WINDOW = 10.0
"""Seconds of the past that an estimate is made from."""
QUARTERS = 4


class Display(Protocol):
    """Shows snapshots as they come; a context manager."""

    notes: list[str]

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, snapshot: Snapshot) -> None:
        """Show the latest state."""

    def note(self, text: str) -> None:
        """Show a remark from now on."""


async def follow(
    database: Database,
    run_id: UUID,
    show: Callable[[Snapshot], None],
    *,
    interval: float = INTERVAL,
) -> Snapshot:
    """Show the run again and again until it has ended; return how it ended. Bears outages as `Run.wait` does."""
    pace = Pace()
    while True:
        began = monotonic()
        snapshot = await in_spite_of_outages(lambda: read_snapshot(database, run_id, pace))
        show(snapshot)
        if snapshot.run.status.is_final:
            return snapshot
        await asyncio.sleep(max(interval, SHARE * (monotonic() - began)))


async def watch(database: Database, run_id: UUID) -> Snapshot:
    """Show the run on standard output until it has ended; return how it ended."""
    with choose_display() as display:
        return await follow(database, run_id, display.show)


async def read_snapshot(database: Database, run_id: UUID, pace: Pace | None = None) -> Snapshot:
    """Read a run and its steps. Raise RunNotFound if there is no such run."""
    # The run first: if it has ended, the steps read after it have ended too.
    run = await database.run_summary(run_id)
    if run is None:
        raise RunNotFound(run_id)
    steps = await database.steps(run_id)
    return Snapshot(run, steps, pace.observe(steps, monotonic()) if pace else {})


async def read_record(database: Database, run_id: UUID) -> RunRecord:
    """Read a run with its input and output. Raise RunNotFound if there is no such run."""
    record = await database.run(run_id)
    if record is None:
        raise RunNotFound(run_id)
    return record


class Pace:
    """Estimates when steps end, from what was done in the last seconds."""

    def __init__(self, window: float = PACE_WINDOW) -> None:
        self._window = window
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def observe(self, steps: Iterable[StepSummary], at: float) -> dict[str, float]:
        """Take note of the steps at a moment (monotonic seconds); return step -> seconds left."""
        remaining = {}
        for step in steps:
            if step.status is not StepStatus.STARTED or not step.total_tasks:
                continue
            done = step.completed_tasks + step.failed_tasks
            seen = self._seen.setdefault(step.step_slug, deque())
            seen.append((at, done))
            while at - seen[0][0] > self._window and len(seen) > 2:  # noqa: PLR2004 - a rate needs two
                seen.popleft()
            elapsed, progress = at - seen[0][0], done - seen[0][1]
            if progress > 0:
                remaining[step.step_slug] = elapsed / progress * (step.total_tasks - done)
        return remaining


class LiveDisplay:
    """Redraws the tree in place."""

    def __init__(self, console: Console) -> None:
        self.notes: list[str] = []
        self._console = console
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Take over the bottom of the terminal."""
        from rich.live import Live  # noqa: PLC0415 - terminals only

        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last picture on the terminal."""
        if self._live is not None:
            self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Replace the picture."""
        if self._live is not None:
            from rich.console import Group  # noqa: PLC0415 - terminals only

            room = max(3, self._console.height - 4 - len(self.notes))
            picture = Group(RunTree(snapshot, max_steps=room), *self.notes)
            self._live.update(picture, refresh=True)

    def note(self, text: str) -> None:
        """Keep the remark below the tree."""
        self.notes.append(text)


class PlainDisplay:
    """Prints a line when a step changes, and at each quarter of a map: for pipes and log files."""

    def __init__(self, label: str = "") -> None:
        """Begin each line with the label: for the lines of several runs."""
        self.notes: list[str] = []
        self._label = label
        self._shown: dict[str, tuple[StepStatus, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def show(self, snapshot: Snapshot) -> None:
        """Print what is new."""
        elapsed = snapshot.run.duration.total_seconds() if snapshot.run.duration else 0.0
        for step in snapshot.steps:
            done = step.completed_tasks + step.failed_tasks
            quarter = QUARTERS * done // step.total_tasks if step.total_tasks else 0
            state = (step.status, 0 if step.status.is_final else quarter)
            if self._shown.get(step.step_slug, (StepStatus.CREATED, 0)) != state:
                self._shown[step.step_slug] = state
                eta = snapshot.remaining.get(step.step_slug)
                say(f"{self._label}{clock(elapsed)}  {_sentence(step, eta)}")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Print the remark."""
        self.notes.append(text)
        say(text)


class SilentDisplay(PlainDisplay):
    """Shows nothing: for --json."""

    def show(self, snapshot: Snapshot) -> None:
        """Ignore the snapshot."""

    def note(self, text: str) -> None:
        """Keep the remark to itself."""
        self.notes.append(text)


def _sentence(step: StepSummary, eta: float | None) -> str:
    done = step.completed_tasks + step.failed_tasks
    parts = [f"{step.step_slug} {step.status}"]
    if step.status.is_final and step.duration is not None:
        parts[0] += f" in {seconds(step.duration.total_seconds())}"
    if step.total_tasks:
        parts.append(f"{done:,} of {count(step.total_tasks, 'task')}")
    if step.failed_tasks:
        parts.append(f"{step.failed_tasks:,} failed")
    if step.retried_tasks:
        parts.append(f"{step.retried_tasks:,} retried")
    if step.status is StepStatus.STARTED and eta is not None:
        parts.append(f"ETA {clock(eta)}")
    if step.status is StepStatus.FAILED and step.error_message:
        parts.append(one_line(step.error_message, 200))
    if step.status is StepStatus.SKIPPED and step.skip_reason:
        parts.append(step.skip_reason)
    return ", ".join(parts)


def choose_display(*, as_json: bool = False) -> Display:
    """Return the display that fits standard output."""
    if as_json:
        return SilentDisplay()
    if not sys.stdout.isatty():
        return PlainDisplay()
    from rich.console import Console  # noqa: PLC0415 - terminals only

    return LiveDisplay(Console(highlight=False))

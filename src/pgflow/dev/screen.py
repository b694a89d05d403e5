"""Where `pgflow dev` shows things: lines for a pipe; `terminal` has the picture."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from pgflow.live.follow import PlainDisplay
from pgflow.live.text import printable, say, seconds

if TYPE_CHECKING:
    from typing import Self
    from uuid import UUID

    from pgflow.dev.board import Board, Ended
    from pgflow.records import RunSummary

SHORT_ID = 8


class Screen(Protocol):
    """Shows what happens, and how things are; a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def tell(self, text: str, *, bad: bool = False) -> None:
        """Show something that happened."""

    def printed(self, line: str) -> None:
        """Show a line that a worker printed."""

    def broken(self, problem: str) -> None:
        """Show that a new state of the code cannot be used; the board says so, too."""

    def ended(self, end: Ended) -> None:
        """Show that a run has ended."""

    def show(self, board: Board) -> None:
        """Show how things are."""


class Lines:
    """Prints a line for everything that happens: for pipes and log files."""

    def __init__(self) -> None:
        self._displays: dict[UUID, PlainDisplay] = {}

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing to do."""

    def tell(self, text: str, *, bad: bool = False) -> None:
        """Print the text behind the time."""
        say(f"{now()}  {text}")
        sys.stdout.flush()

    def printed(self, line: str) -> None:
        """Print the line as it is."""
        say(line)
        sys.stdout.flush()

    def broken(self, problem: str) -> None:
        """Print the problem."""
        self.tell(f"this code does not work: {printable(problem)}")

    def ended(self, end: Ended) -> None:
        """Print how the run ended."""
        self._displays.pop(end.run.run_id, None)
        self.tell(f"{name_of(end.run)} {ending(end)}")
        if end.trace:
            say(printable(end.trace.rstrip()))

    def show(self, board: Board) -> None:
        """Print what is new about the runs."""
        for snapshot in reversed(board.running):
            run = snapshot.run
            if run.run_id not in self._displays:
                self._displays[run.run_id] = PlainDisplay(f"{name_of(run)}  ")
                self.tell(f"{name_of(run)} started")
            self._displays[run.run_id].show(snapshot)
        sys.stdout.flush()


def now() -> str:
    """Return the time of day."""
    return f"{datetime.now().astimezone():%H:%M:%S}"


def name_of(run: RunSummary) -> str:
    """Return a run's flow and the beginning of its id."""
    return f"{run.flow_slug} {str(run.run_id)[:SHORT_ID]}"


def ending(end: Ended) -> str:
    """Say how a run ended, on one line.

    >>> ending(end)
    'completed in 0.42 s: {"letter": "Hello Ada!"}'
    """
    took = end.run.duration
    how = f" in {seconds(took.total_seconds())}" if took is not None else ""
    return f"{end.run.status}{how}{': ' if end.ending else ''}{end.ending}"

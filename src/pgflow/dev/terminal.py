"""The picture of `pgflow dev`: state of the workers, trees of what runs, a line for each run that is over.

What happens, and what handlers print, scrolls above it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.live import Live
from rich.text import Text

from pgflow.dev.screen import SHORT_ID, now
from pgflow.live.text import count, printable, seconds
from pgflow.live.tree import RUN_STYLES, RunTree
from pgflow.records import RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from pgflow.dev.board import Board, Ended
    from pgflow.records import RunSummary

STYLES = {"ready": "green", "broken": "red", "waiting": "red"}
WORDS = {
    "starting": "starting",
    "broken": "the code is broken; the workers go on with what it was",
    "waiting": "the code is broken; no worker yet",
    "stopping": "stopping",
    "stopped": "stopped",
}
MARKS = {
    RunStatus.STARTED: "●",
    RunStatus.COMPLETED: "✓",
    RunStatus.FAILED: "✗",
    RunStatus.CANCELLED: "⊘",
}
ASCII_MARKS = {
    RunStatus.STARTED: ">",
    RunStatus.COMPLETED: "+",
    RunStatus.FAILED: "x",
    RunStatus.CANCELLED: "-",
}
MOST_ENDED, LEAST_ENDED = 8, 3
"""Lines for runs that are over: at most, and however much runs."""
MOST_PROBLEM = 10
LEAST_TREE = 4


class Terminal:
    """Redraws the picture in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        """Take over the bottom of the terminal."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last picture on the terminal."""
        self._live.stop()

    def tell(self, text: str, *, bad: bool = False) -> None:
        """Print the text above the picture."""
        line = Text(f"{now()}  ", style="dim")
        line.append(printable(text), style="not dim red" if bad else "not dim")
        self._console.print(line)

    def printed(self, line: str) -> None:
        """Print the line above the picture, with its colours and nothing else that steers the terminal."""
        self._console.print(Text.from_ansi(line), soft_wrap=True)  # whole, so that it can be copied

    def broken(self, problem: str) -> None:
        """Leave it to the picture, until the code is mended."""

    def ended(self, end: Ended) -> None:
        """Print the traceback of a failure: the picture has one line for it."""
        if end.trace:
            self._console.print(Text(printable(end.trace.rstrip()), style="red"))

    def show(self, board: Board) -> None:
        """Replace the picture."""
        self._live.update(Picture(board), refresh=True)


class Picture:
    """A board, drawn in the height that the console has."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the state, the problem, what runs, and what is over."""
        board = self._board
        marks = ASCII_MARKS if options.ascii_only else MARKS
        yield Text(("-" if options.ascii_only else "─") * options.max_width, style="dim")
        yield state_line(board)
        room = console.height - 3
        if board.problem:
            lines = printable(board.problem).splitlines()[: min(MOST_PROBLEM, console.height // 2)]
            yield Text("\n".join(lines), style="red", no_wrap=True, overflow="ellipsis")
            room -= len(lines)
        kept = min(len(board.ended), LEAST_ENDED)
        for picture, height in _trees(board, room - kept, marks):
            yield picture
            room -= height
        shown = board.ended[: max(0, min(MOST_ENDED, room))]
        for end in shown:
            yield ended_line(end, marks)
        if not board.running and not shown and board.serves:
            yield Text(f"No runs yet of {', '.join(board.serves)}.", style="dim")


def _trees(
    board: Board, room: int, marks: dict[RunStatus, str]
) -> Iterator[tuple[RenderableType, int]]:
    """Draw as many runs as trees as there is room for, the others as lines."""
    for place, snapshot in enumerate(board.running):
        lines_after = len(board.running) - place - 1
        free = room - lines_after
        needed = len(snapshot.steps) + 1
        if free >= min(needed, LEAST_TREE):
            # Two lines more than its steps when it leaves some out: its head and their number.
            most = None if needed <= free else max(1, free - 2)
            yield RunTree(snapshot, max_steps=most), min(needed, free)
            room -= min(needed, free)
        elif room > 0:
            yield running_line(snapshot.run, marks), 1
            room -= 1


def state_line(board: Board) -> Text:
    """Say what is served, by whom, and since when."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(board.targets, style="bold")
    if board.state == "ready":
        text.append(f"  {count(board.workers, 'worker')} ready", style="green")
    else:
        text.append(f"  {WORDS[board.state]}", style=STYLES.get(board.state, "yellow"))
    if board.born is not None:
        text.append(f"  code of {board.born:%H:%M:%S}")
    if board.reloads:
        text.append(f"  {count(board.reloads, 'reload')}", style="dim")
    if board.restarts:
        text.append(f"  {count(board.restarts, 'restart')}", style="yellow")
    return text if board.state == "stopped" else text.append("  Ctrl-C ends", style="dim")


def running_line(run: RunSummary, marks: dict[RunStatus, str]) -> Text:
    """Show a run for whose tree there is no room."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{marks[run.status]} {run.flow_slug}", style=RUN_STYLES[run.status])
    text.append(f" {str(run.run_id)[:SHORT_ID]}", style="dim")
    return text.append(f"  {run.done_tasks:,} of {count(run.total_tasks, 'task')}")


def ended_line(end: Ended, marks: dict[RunStatus, str]) -> Text:
    """Show a run that is over."""
    run = end.run
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{marks[run.status]} {run.flow_slug}", style=RUN_STYLES[run.status])
    text.append(f" {str(run.run_id)[:SHORT_ID]}", style="dim")
    if run.finished_at is not None:
        text.append(f"  {run.finished_at.astimezone():%H:%M:%S}", style="dim")
    if run.duration is not None:
        text.append(f"  {seconds(run.duration.total_seconds())}")
    style = "red" if run.status is RunStatus.FAILED else ""
    return text.append(f"  {end.ending or run.status}", style=style)

"""A run as a tree in the terminal: steps, a bar for each map, retries, failures, time left.

Rendering only: everything shown is in the `Snapshot`, so that the same value always looks the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from pgflow.live.text import clock, printable, seconds
from pgflow.records import RunStatus, StepStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from rich.console import Console, ConsoleOptions, OverflowMethod, RenderResult

    from pgflow.records import RunSummary, StepSummary

    Line = tuple[str, StepSummary]

MAX_DEPTH = 6
"""Deeper steps are not indented further: a chain of twenty would leave no room for its names."""
MIN_NAME, MIN_BAR, MAX_BAR, NOTES, GAP = 20, 8, 40, 30, 2
"""Characters: a narrow terminal shortens the bars first, then the notes, then long names.

What is kept for notes does not depend on them, so that the bars keep their width from one picture to the next.
"""

STYLES = {
    StepStatus.CREATED: "dim",
    StepStatus.STARTED: "cyan",
    StepStatus.COMPLETED: "green",
    StepStatus.FAILED: "red",
    StepStatus.SKIPPED: "yellow",
}
RUN_STYLES = {
    RunStatus.STARTED: "cyan",
    RunStatus.COMPLETED: "green",
    RunStatus.FAILED: "red",
    RunStatus.CANCELLED: "yellow",
}


@dataclass(frozen=True, slots=True)
class Symbols:
    """The characters of the tree."""

    marks: Mapping[StepStatus, str]
    branch: str
    corner: str
    pipe: str
    full: str
    empty: str


UNICODE = Symbols(
    dict(zip(StepStatus, ("○", "●", "✓", "✗", "⊘"), strict=True)), "├─ ", "└─ ", "│  ", "━", "─"
)
ASCII = Symbols(
    dict(zip(StepStatus, (".", ">", "+", "x", "-"), strict=True)), "|- ", "`- ", "|  ", "#", "-"
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at one moment."""

    run: RunSummary
    steps: Sequence[StepSummary]
    """In the order of the plan: a step stands behind its dependencies."""
    remaining: Mapping[str, float] = field(default_factory=dict)
    """Step -> estimated seconds to its end, where there is an estimate."""


@dataclass(frozen=True, slots=True)
class RunTree:
    """The picture of a snapshot; `max_steps` limits its height by leaving out the quiet steps."""

    snapshot: Snapshot
    max_steps: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw for the width and the characters that the console has."""
        symbols = ASCII if options.ascii_only else UNICODE
        lines = _outline(self.snapshot.steps, symbols, self.max_steps)
        names = [_name(branch, step, symbols) for branch, step in lines]
        tasks = [_tasks(step) for _, step in lines]
        done = {step.step_slug for step in self.snapshot.steps if step.status.is_final}
        notes = [_note(step, self.snapshot, done) for _, step in lines]
        space = options.max_width
        name_width = min(_widest(names), max(space * 2 // 5, MIN_NAME))
        task_width = max(1, _widest(tasks))
        space -= name_width + task_width + 2 * GAP
        bar_width = 0
        if space > MIN_BAR + GAP and any(_has_bar(step) for _, step in lines):
            bar_width = max(MIN_BAR, min(MAX_BAR, space - GAP - NOTES))
            space -= bar_width + GAP
        overflow: OverflowMethod = "crop" if options.ascii_only else "ellipsis"
        grid = Table.grid(padding=(0, GAP, 0, 0))
        for width in filter(None, (name_width, bar_width, task_width, max(1, space))):
            grid.add_column(no_wrap=True, overflow=overflow, width=width)
        for (_, step), name, task, note in zip(lines, names, tasks, notes, strict=True):
            bar = [_bar(step, bar_width, symbols)] if bar_width else []
            grid.add_row(name, *bar, task, note)
        yield _header(self.snapshot.run, overflow)
        yield grid
        if hidden := len(self.snapshot.steps) - len(lines):
            yield Text(f"... and {hidden:,} more", style="dim")
        if self.snapshot.run.error_message:
            yield Text(printable(self.snapshot.run.error_message), style="red")


def _header(run: RunSummary, overflow: OverflowMethod) -> Text:
    text = Text(no_wrap=True, overflow=overflow)
    text.append(run.flow_slug, style="bold")
    text.append(f"  {run.status}", style=f"bold {RUN_STYLES[run.status]}")
    if run.duration is not None:
        text.append(f"  {clock(run.duration.total_seconds())}")
    text.append(f"  {run.run_id}", style="dim")
    return text


def _outline(steps: Sequence[StepSummary], symbols: Symbols, limit: int | None) -> list[Line]:
    """Return the steps with the branches left of them; when there are too many, the busiest without."""
    if limit is None or len(steps) <= limit:
        return list(_branches(steps, symbols))
    rank = {StepStatus.STARTED: 0, StepStatus.FAILED: 0, StepStatus.CREATED: 1}
    busiest = sorted(steps, key=lambda step: (rank.get(step.status, 2), step.step_index))[:limit]
    return [("", step) for step in sorted(busiest, key=lambda step: step.step_index)]


def _branches(steps: Sequence[StepSummary], symbols: Symbols) -> Iterator[Line]:
    """Hang each step below the last of its dependencies, without recursion: chains can be long."""
    place = {step.step_slug: index for index, step in enumerate(steps)}
    children: dict[int, list[StepSummary]] = {}
    for step in steps:
        parent = max((place.get(slug, -1) for slug in step.deps), default=-1)
        children.setdefault(parent, []).append(step)
    todo = [(step, "", "", 0) for step in reversed(children.get(-1, []))]
    while todo:
        step, own, below, depth = todo.pop()
        yield own, step
        offspring = children.get(place[step.step_slug], [])
        for child in reversed(offspring):
            last = child is offspring[-1]
            if depth >= MAX_DEPTH:
                todo.append((child, own, below, depth))
            else:
                turn = symbols.corner if last else symbols.branch
                line = "   " if last else symbols.pipe
                todo.append((child, below + turn, below + line, depth + 1))


def _widest(texts: Sequence[Text]) -> int:
    return max((text.cell_len for text in texts), default=0)


def _name(branch: str, step: StepSummary, symbols: Symbols) -> Text:
    text = Text().append(branch, style="dim")
    return text.append(f"{symbols.marks[step.status]} {step.step_slug}", style=STYLES[step.status])


def _has_bar(step: StepSummary) -> bool:
    is_fan_out = step.step_type == "map" or (step.total_tasks or 0) > 1
    return is_fan_out and step.status is not StepStatus.SKIPPED


def _bar(step: StepSummary, width: int, symbols: Symbols) -> Text:
    if not _has_bar(step):
        return Text()
    total = step.total_tasks or 0
    if not total:
        done, failed = (width if step.status.is_final else 0), 0
    else:
        failed = -(-width * step.failed_tasks // total)
        done = min(width * step.completed_tasks // total, width - failed)
    bar = Text().append(symbols.full * done, style="green")
    bar.append(symbols.full * failed, style="red")
    return bar.append(symbols.empty * (width - done - failed), style="dim")


def _tasks(step: StepSummary) -> Text:
    if step.total_tasks is None or step.status is StepStatus.SKIPPED:
        return Text()
    done = step.completed_tasks + step.failed_tasks
    return Text(f"{done:,}/{step.total_tasks:,}", style="" if done else "dim", justify="right")


def _note(step: StepSummary, snapshot: Snapshot, done: Collection[str]) -> Text:
    """Say what is worth knowing about a step, the most important first."""
    notes = Text()
    if step.failed_tasks:
        notes.append(f"{step.failed_tasks:,} failed", style="red")
    if step.retried_tasks:
        notes.append(", " if notes else "").append(
            f"{step.retried_tasks:,} retried", style="yellow"
        )
    remaining = snapshot.remaining.get(step.step_slug)
    if step.status is StepStatus.CREATED and not snapshot.run.status.is_final:
        waits = [slug for slug in step.deps if slug not in done]
        notes.append(f"after {', '.join(waits)}" if waits else "waiting", style="dim")
    elif step.status is StepStatus.STARTED and remaining is not None:
        notes.append(", " if notes else "").append(f"ETA {clock(remaining)}")
    elif step.status is StepStatus.SKIPPED:
        notes.append(", " if notes else "").append(
            f"skipped: {step.skip_reason}" if step.skip_reason else "skipped", style="yellow"
        )
    elif step.duration is not None:
        notes.append(", " if notes else "").append(seconds(step.duration.total_seconds()))
    if step.status is StepStatus.FAILED and step.error_message:
        notes.append(f"  {printable(step.error_message)}", style="red")
    return notes

"""What is known at the end: the journal by kind of event, and the tables as they stand."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.chaos import journal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import psycopg

    from tests.chaos.journal import Line

TERMINAL: Final = frozenset({"completed", "failed", "cancelled"})
"""Statuses of runs that are over."""

Key = tuple[str, str, int]
"""Run, step, index."""
Grant = tuple[str, str, int, int]
"""Run, step, index, fence."""


class Violation(NamedTuple):
    """Something that must never be."""

    invariant: str
    detail: str


class Journal:
    """The journal's lines, sorted into what each is about."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.begins: dict[Grant, list[Line]] = defaultdict(list)
        self.ends: dict[Grant, list[Line]] = defaultdict(list)
        self.grants: dict[Grant, list[Line]] = defaultdict(list)
        """Answers to claims; a grant whose answer was lost is not among them."""
        self.reports: dict[Grant, list[Line]] = defaultdict(list)
        """Answers to reports."""
        self.seen: dict[str, list[Line]] = defaultdict(list)
        """Statuses of each run, in the order of time."""
        self.steps_seen: dict[tuple[str, str], list[Line]] = defaultdict(list)
        self.starts: dict[str, list[Line]] = defaultdict(list)
        """Acknowledged starts of each idempotency key."""
        self.cancels: dict[str, list[Line]] = defaultdict(list)
        self.retries: dict[str, list[Line]] = defaultdict(list)
        """Requests, answered or not, of each run."""
        self.counts: dict[str, int] = defaultdict(int)
        for line in sorted(lines, key=lambda line: line["at"]):
            self._add(line)

    def _add(self, line: Line) -> None:
        self.counts[line["event"]] += 1
        match line["event"]:
            case "begin" | "end" as event:
                kept = self.begins if event == "begin" else self.ends
                kept[line["run"], line["step"], line["index"], line["fence"]].append(line)
            case "granted" | "reported" as event:
                answers = self.grants if event == "granted" else self.reports
                for run, step, index, fence, *_ in line["tasks"]:
                    answers[run, step, index, fence].append(line)
            case "step_seen":
                self.steps_seen[line["run"], line["step"]].append(line)
            case "started":
                self.starts[line["key"]].append(line)
            case "seen" | "cancel" | "retry" as event:
                of_runs = {"seen": self.seen, "cancel": self.cancels, "retry": self.retries}
                of_runs[event][line["run"]].append(line)
            case _:
                pass

    @classmethod
    def of(cls, directory: Path) -> Journal:
        return cls(journal.read(directory))


class Run(NamedTuple):
    """A row of runs."""

    run_id: str
    flow: str
    status: str
    input: Any
    output: Any
    key: str | None


class StepState(NamedTuple):
    """A row of step_states."""

    run_id: str
    step: str
    status: str
    step_type: str
    output: Any


class Item(NamedTuple):
    """A task, or one item of a task that carries several."""

    status: str
    fence: int
    output: Any
    first: int
    """Index of the task that carries it."""


@dataclass
class Tables:
    """The tables that the checks need."""

    runs: dict[str, Run] = field(default_factory=dict)
    steps: dict[str, dict[str, StepState]] = field(default_factory=lambda: defaultdict(dict))
    items: dict[str, dict[str, dict[int, Item]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(dict))
    )
    """By run, step and index."""
    completions: dict[Key, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Fences of recorded completed attempts, which first-time successes are not among."""
    outcomes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Recorded attempts by outcome."""
    ledger: dict[Key, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))
    """Fence and nonce of each row that handlers wrote in their transactions."""

    def add_task(  # noqa: PLR0917 - a row
        self,
        run: str,
        step: str,
        index: int,
        status: str,
        fence: int,
        output: Any,
        items: int | None,
    ) -> None:
        known = self.items[run][step]
        if items is None:
            known[index] = Item(status, fence, output, index)
            return
        for number in range(items):
            part = output[number] if isinstance(output, list) and number < len(output) else None
            known[index + number] = Item(status, fence, part, index)

    def by_status(self, status: str) -> Iterator[tuple[Key, Item]]:
        """Yield the tasks that have a status."""
        for run, steps in self.items.items():
            for step, items in steps.items():
                for index, item in items.items():
                    if item.status == status:
                        yield (run, step, index), item

    @classmethod
    def of(cls, connection: psycopg.Connection[Any]) -> Tables:
        """Read them."""
        tables = cls()
        query = "select run_id::text, flow_slug, status, input, output, idempotency_key from pgflow.runs"
        tables.runs = {row[0]: Run(*row) for row in connection.execute(query)}
        query = "select run_id::text, step_slug, status, step_type, output from pgflow.step_states"
        for row in connection.execute(query):
            tables.steps[row[0]][row[1]] = StepState(*row)
        query = """select run_id::text, step_slug, task_index, status, attempts_count, output, items
          from pgflow.step_tasks"""
        for row in connection.execute(query):
            tables.add_task(*row)
        query = "select run_id::text, step_slug, task_index, attempt, outcome from pgflow.attempts"
        for run, step, index, attempt, outcome in connection.execute(query):
            tables.outcomes[outcome] += 1
            if outcome == "completed":
                tables.completions[run, step, index].append(attempt)
        query = "select run_id::text, step, index, fence, nonce from public.chaos_ledger"
        for run, step, index, fence, nonce in connection.execute(query):
            tables.ledger[run, step, index].append((fence, nonce))
        return tables


def retried_between(journal: Journal, run: str, after: float, before: float) -> bool:
    """Tell whether a retry of a run may have taken effect between two moments."""
    return any(
        line["answered"] > after and line["sent"] < before for line in journal.retries.get(run, [])
    )

"""A run of the reference model: its steps, their tasks and messages, and how it goes on by itself.

Times are seconds of a clock that only stands where it is put.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.model.definitions import SQL_NULL, Json, Step, contains, downstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


@dataclass
class Task:
    """A unit of work; `items` of them if it is a batch. `due` is when its message can be read, None without one."""

    index: int
    input: Json = SQL_NULL
    items: int | None = None
    status: str = "queued"
    attempts: int = 0
    released: int = 0
    requeued: int = 0
    losses: int = 0
    """Grants that ended with their worker since it was queued by a start or a retry."""
    stalled: bool = False
    error: str | None = None
    output: Json = SQL_NULL
    worker: str | None = None
    started_at: int | None = None
    due: int | None = None
    is_sent: bool = True
    """False for an item of a batch that has not had a message of its own."""

    def put_back(self, due: int) -> None:
        """Make its message due at a time; a message that was lost stays so."""
        if self.due is not None or not self.is_sent:
            self.due, self.is_sent = due, True

    @property
    def tries(self) -> int:
        """Attempts that count."""
        return self.attempts - self.released

    @property
    def size(self) -> int:
        """How many items of its step it stands for."""
        return self.items or 1

    @property
    def is_open(self) -> bool:
        """Whether somebody is still to work on it, or does."""
        return self.status in {"queued", "started"} and not self.stalled

    @property
    def outputs(self) -> list[Json]:
        """Output of each item, null for one that failed."""
        done = self.status == "completed"
        if self.items:
            return list(self.output) if done else [None] * self.items
        return [self.output if done and self.output is not SQL_NULL else None]


@dataclass
class StepState:
    """A step of a run."""

    plan: Step
    remaining_deps: int
    initial: int | None
    status: str = "created"
    remaining: int | None = None
    failed: int = 0
    output: Json = SQL_NULL
    error: str | None = None
    skip_reason: str | None = None
    tasks: dict[int, Task] = field(default_factory=dict)
    fence: int = 0
    """The greatest fence that tasks had which are no more; those after them begin behind it."""

    @property
    def is_over(self) -> bool:
        return self.status in {"completed", "failed", "skipped"}


@dataclass
class Run:
    """A run with all that is stored of it; `attempts` and `archive` are entries in no order."""

    id: str
    flow: str
    version: int
    input: Json
    key: str | None
    steps: dict[str, StepState]
    clock: Callable[[], int]
    status: str = "started"
    remaining: int = 0
    output: Json = SQL_NULL
    error: str | None = None
    cancel_reason: str | None = None
    ended_at: int | None = None
    attempts: list[tuple[object, ...]] = field(default_factory=list)
    archive: list[tuple[str, str, int, str, int]] = field(default_factory=list)

    @property
    def is_live(self) -> bool:
        return self.status == "started"

    def states(self, slugs: Iterable[str]) -> Iterator[StepState]:
        return (self.steps[slug] for slug in slugs)

    def children(self, slug: str) -> list[StepState]:
        return [one for one in self.steps.values() if slug in one.plan.depends_on]

    def downstream(self, slugs: set[str]) -> list[str]:
        return list(downstream({slug: one.plan for slug, one in self.steps.items()}, slugs))

    def subject(self, step: StepState) -> Json:
        """What a step sees: the run's input, or the outputs of its completed parents."""
        if not step.plan.depends_on:
            return self.input
        parents = {slug: self.steps[slug] for slug in step.plan.depends_on}
        return {
            slug: None if parent.output is SQL_NULL else parent.output
            for slug, parent in parents.items()
            if parent.status == "completed"
        }

    def note(self, step: StepState, task: Task, outcome: str, error: str | None = None) -> None:
        """Put the current attempt of a task on record."""
        entry = (step.plan.slug, task.index, task.attempts, outcome, error, task.worker)
        self.attempts.append(entry)

    # Messages

    def put_away(self, step: StepState, task: Task) -> None:
        """Archive the message of a task, if it has one."""
        if task.due is not None:
            queue = step.plan.queue or self.flow
            self.archive.append((self.id, step.plan.slug, task.index, queue, self.clock()))
            task.due = None

    def put_all_away(self, steps: Iterable[StepState]) -> None:
        for step in steps:
            for task in step.tasks.values():
                if task.status in {"queued", "started"}:
                    self.put_away(step, task)

    # Ends

    def end(self, status: str, error: str | None = None) -> None:
        self.status, self.error, self.ended_at = status, error, self.clock()

    def fail_step(self, step: StepState, error: str | None) -> None:
        """Fail a step and the run with it; nothing of the run is left in a queue."""
        step.status, step.error = "failed", error
        self.end("failed", error)
        self.put_all_away(self.steps.values())

    def skip(self, step: StepState, reason: str, error: str | None = None) -> None:
        step.status, step.skip_reason, step.error = "skipped", reason, error
        step.remaining = None
        self.put_all_away([step])
        self.remaining -= 1

    def skip_downstream(self, step: StepState) -> None:
        for child in self.states(self.downstream({step.plan.slug})):
            if not child.is_over:
                self.skip(child, "dependency_skipped")

    def complete_step(self, step: StepState) -> None:
        """Complete a step whose tasks are over, and tell its children."""
        step.status, step.remaining = "completed", 0
        if step.plan.step_type == "map":
            tasks = [step.tasks[index] for index in sorted(step.tasks)]
            step.output = [output for task in tasks for output in task.outputs]
        else:
            step.output = step.tasks[0].output if 0 in step.tasks else SQL_NULL
        self.remaining -= 1
        self.resolve(step)

    def resolve(self, parent: StepState) -> None:
        """Take a parent that is over off its children, and tell a map how many items it has."""
        for child in self.children(parent.plan.slug):
            if child.status != "created":
                continue
            child.remaining_deps -= 1
            if child.plan.goes_over_array and child.initial is None:
                if parent.status == "skipped":
                    child.initial = 0
                elif isinstance(parent.output, list):
                    child.initial = len(parent.output)

    # Going on

    def advance(self) -> None:
        """Go as far as it goes without a worker."""
        while self.is_live and (self._look_at_conditions() or self._complete_empty_maps()):
            pass
        if not self.is_live:
            return
        for step in self._ready():
            if step.initial:
                self._start(step)
        if self.remaining == 0:
            self.end("completed")
            leaves = [
                one
                for slug, one in self.steps.items()
                if one.status == "completed" and not self.children(slug)
            ]
            outputs = {one.plan.slug: one.output for one in leaves}
            found = {k: None if v is SQL_NULL else v for k, v in outputs.items()}
            self.output = found or SQL_NULL

    def _ready(self) -> list[StepState]:
        return [
            one
            for one in self.steps.values()
            if one.status == "created" and one.remaining_deps == 0
        ]

    def is_met(self, step: StepState, subject: Json) -> bool:
        required, forbidden = (
            step.plan.required_input_pattern,
            step.plan.forbidden_input_pattern,
        )
        return (required is None or contains(subject, required)) and not (
            forbidden is not None and contains(subject, forbidden)
        )

    def _look_at_conditions(self) -> bool:
        """Skip or fail what is ready and has its condition unmet; say whether anything was."""
        unmet = [
            one
            for one in self._ready()
            if one.plan.has_condition and not self.is_met(one, self.subject(one))
        ]
        for step in unmet:
            if step.plan.when_unmet == "fail":
                self.fail_step(step, "Condition not met")
                return True
        for step in unmet:
            if step.plan.when_unmet == "skip":
                self.skip(step, "condition_unmet")
                self.resolve(step)
        for step in unmet:
            if step.status == "created":
                self.skip(step, "condition_unmet")
                self.skip_downstream(step)
        return bool(unmet)

    def _complete_empty_maps(self) -> bool:
        wave = [one for one in self._ready() if one.initial == 0]
        has_completed = bool(wave)
        while wave:
            for step in wave:
                self.complete_step(step)
            ready = [one for one in self._ready() if one.initial == 0]
            wave = [one for one in ready if not one.plan.has_condition]
        return has_completed

    def _start(self, step: StepState) -> None:
        step.status, step.remaining = "started", step.initial
        for task in self._new_tasks(step):
            task.due = self.clock() + (step.plan.start_delay or 0)
            task.attempts = task.released = step.fence
            step.tasks[task.index] = task

    def _new_tasks(self, step: StepState) -> list[Task]:
        count = step.initial or 0
        if not step.plan.goes_over_array:
            return [Task(index) for index in range(count)]
        items = self.input
        if step.plan.depends_on:
            items = self.steps[step.plan.depends_on[0]].output
        size = step.plan.batch_size or 1
        if size == 1:
            return [Task(index, item) for index, item in enumerate(items)]
        chunks = {first: items[first : first + size] for first in range(0, count, size)}
        return [Task(first, chunk, items=len(chunk)) for first, chunk in chunks.items()]

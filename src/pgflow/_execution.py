"""Execution: one granted task in the hands of this process, and why it may have to end early."""

from __future__ import annotations

import time
from enum import Enum, auto
from typing import TYPE_CHECKING

from pgflow._batches import Batch
from pgflow._context import TaskContext
from pgflow._outcomes import Completed, Released, Settled, Split, timed_out
from pgflow.records import Outcome as Verdict

if TYPE_CHECKING:
    import asyncio

    from pgflow._context import Services
    from pgflow._handler import Handler
    from pgflow._outcomes import Outcome
    from pgflow.records import GrantedTask


class State(Enum):
    """Where an execution is."""

    WAITING = auto()
    RUNNING = auto()
    SETTLING = auto()
    """Its transaction commits: too late to stop it."""
    ENDED = auto()


class Stop(Enum):
    """Why an execution must end before its handler has."""

    TIMEOUT = auto()
    FENCED = auto()
    RELEASED = auto()


class Execution:
    """One granted task in the hands of this process."""

    __slots__ = (
        *("batch", "context", "deadline", "handler", "leased_at", "state", "stop", "task", "work"),
    )

    def __init__(self, task: GrantedTask, handler: Handler | None, services: Services) -> None:
        self.task = task
        self.handler = handler
        self.context = TaskContext(
            task,
            services,
            handler.kind if handler else "async",
            batched=handler is not None and handler.step.batch_size is not None,
            redaction=None if handler is None else handler.redaction,
        )
        self.batch = Batch.of(task, handler)
        """The items of its task, if the handler takes them one by one."""
        self.state = State.WAITING
        self.stop: Stop | None = None
        self.work: asyncio.Task[None] | None = None
        self.leased_at = self.deadline = time.monotonic()

    def resolve(self, outcome: Outcome) -> Outcome:
        """Return what counts, given why the execution was stopped, if it was."""
        match self.stop:
            case None:
                return outcome
            case Stop.TIMEOUT:
                return timed_out(self.task) if self.batch is None else outcome
            case Stop.FENCED:
                return Settled(Verdict.STALE)
            case Stop.RELEASED:
                return outcome if isinstance(outcome, Completed | Split) else Released()

    def next_item(self, patience: float | None = None) -> bool:
        """Give the next item of a batch its time, in seconds; False if none may begin any more."""
        if self.stop is not None or self.state is State.ENDED:
            return False
        self.deadline = time.monotonic() + (self.task.timeout if patience is None else patience)
        return True

    def outlive_timeout(self) -> bool:
        """Tell whether an item of a batch was stopped at its timeout, and let others follow if so."""
        if self.stop is not Stop.TIMEOUT or self.state is State.ENDED:
            return False
        self.stop = None
        return True

    def settling(self, outcome: Outcome) -> Outcome:
        """Return what to do with its transaction, and refuse to be stopped from now on."""
        if self.state is State.ENDED:
            return Released()
        self.state = State.SETTLING
        return outcome

"""What a worker holds, from the grant to the report: who gets each task next, and when it is forgotten."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pgflow.handlers import Execution, Released, Settled, Stop, lost
from pgflow.records import Outcome as Verdict

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator, Sequence

    from pgflow._leases import LeaseKeeper
    from pgflow._repertoire import Repertoire
    from pgflow._reports import Reporter
    from pgflow._sending import Statistics
    from pgflow._slots import Slots
    from pgflow.handlers import Outcome, Performer, Services
    from pgflow.records import GrantedTask

_log = logging.getLogger("pgflow.worker")

UNKNOWN_DELAY = 30
"""Seconds before a task is granted again that this worker turned out to have no handler for."""


class Holdings:
    """The tasks of one worker; every method belongs to its event loop, the lease keeper's thread only iterates."""

    keeper: LeaseKeeper
    performer: Performer
    slots: Slots
    reporter: Reporter

    def __init__(
        self,
        services: Services,
        repertoire: Repertoire,
        statistics: Statistics,
        stopping: asyncio.Event,
    ) -> None:
        """Begin with nothing; the worker sets the parts that these tasks pass through."""
        self._services = services
        self._repertoire = repertoire
        self._statistics = statistics
        self._stopping = stopping
        self._executions: dict[Execution, None] = {}

    def __len__(self) -> int:
        return len(self._executions)

    def __iter__(self) -> Iterator[Execution]:
        return iter(list(self._executions))

    def __contains__(self, execution: object) -> bool:
        return execution in self._executions

    def reserve(self, completed: Sequence[Execution]) -> int:
        """Keep room for what the report of these may bring, and return how many tasks it may."""
        slots = self.slots
        if self._stopping.is_set() or slots.is_trying:
            return 0
        room = slots.room()
        if completed[0].task.step_type == "map":
            # Most items make nothing ready, and claims need the room meanwhile.
            room = min(room, 1)
        else:
            # Half is for claims, lest runs that go on keep new ones waiting; quick handlers leave room for as many again.
            room = max((room + 1) // 2, min(len(completed), slots.ahead()))
        slots.reserve(room)
        return room

    def accept(self, granted: Sequence[GrantedTask], leased_at: float) -> None:
        """Take what was granted at that moment or later; what cannot or must not be performed goes back."""
        self._statistics.claimed += sum(task.items or 1 for task in granted)
        ready = []
        for task in granted:
            if task.losses and self._adopt(task, leased_at):
                continue
            handler = self._repertoire.handler_of(task)
            execution = Execution(task, handler, self._services)
            execution.leased_at = leased_at
            self._executions[execution] = None
            if task.exhausted:
                self.reporter.add(execution, lost(task))
            elif handler is None:
                self.reporter.add(execution, Released(UNKNOWN_DELAY))
            elif self._stopping.is_set():
                self.reporter.add(execution, Released())
            else:
                ready.append(execution)
        if granted:
            self.keeper.rouse()
        if ready:
            self.slots.start(ready)

    def _adopt(self, task: GrantedTask, leased_at: float) -> bool:
        """Go on under the new fence with a task that is still in hand: its lease ended, and this very worker found it."""
        key = (task.run_id, task.step_slug, task.task_index, task.items)
        for held in self._executions:
            own = held.task
            if (own.run_id, own.step_slug, own.task_index, own.items) == key:
                if held.stop is Stop.FENCED:
                    return False
                _log.warning(
                    "the lease of %s had ended; it goes on as grant %d", held.context, task.attempt
                )
                held.task = task
                held.leased_at = leased_at
                return True
        return False

    def end(self, execution: Execution, outcome: Outcome) -> None:
        """Have the outcome of a task reported whose handler has ended."""
        self.reporter.add(execution, outcome)
        self.slots.ended(execution)

    def give_back(self, executions: Sequence[Execution]) -> None:
        """Have tasks released that no handler has begun."""
        for execution in executions:
            self.reporter.add(execution, Released())

    def fence(self, executions: Sequence[Execution]) -> None:
        """Give up tasks that this worker has lost."""
        for execution in executions:
            if self.slots.drop(execution):
                execution.stop = Stop.FENCED
                self.reporter.add(execution, Settled(Verdict.STALE))
        self.performer.stop(executions, Stop.FENCED)

    def step_of(self, work: asyncio.Task[Any]) -> str | None:
        """Name the task that an asyncio task performs; from any thread, while the loop stands still."""
        return self.performer.step_of(work)

    def forget(self, executions: Sequence[Execution]) -> None:
        """Drop tasks that the database knows the outcome of."""
        for execution in executions:
            self._executions.pop(execution, None)
        self.slots.settled()
        self.slots.changed.set()

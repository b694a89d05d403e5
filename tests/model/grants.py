"""Grants of the reference model: whether a grant that the database made was a legal one, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from tests.model.definitions import SQL_NULL
from tests.model.reports import Held, Refused, Report, Reports

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tests.model.definitions import Json
    from tests.model.runs import Run, StepState, Task

STALLED = "The task stalled more than three times."
LOST = "The lease expired: the worker died, hung, or lost its connection."
SLOW = "Started for longer than its timeout."
MOST_REQUEUES = 3
GRACE = 30
"""Seconds by which a task may outlast its timeout before it has stalled."""


class Place(NamedTuple):
    """A task and where it belongs."""

    run: Run
    step: StepState
    task: Task

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.run.id, self.step.plan.slug, self.task.index)

    @property
    def queue(self) -> str:
        return self.step.plan.queue or self.run.flow

    def can_be_run_by(self, handlers: Collection[str] | None) -> bool:
        plan = self.step.plan
        name = f"{self.run.flow}.{plan.slug}"
        exact = f"{name}({plan.step_type}:{','.join(plan.depends_on)})"
        return handlers is None or name in handlers or exact in handlers

    def is_named_by(self, handlers: Collection[str] | None) -> bool:
        """Whether a worker has a handler of that name, for a step of this shape or of another."""
        name = f"{self.run.flow}.{self.step.plan.slug}"
        return handlers is None or name in {one.partition("(")[0] for one in handlers}


@dataclass(frozen=True)
class Grant:
    """A task as it was granted."""

    run: str
    step: str
    index: int
    fence: int
    input: Json
    flow_input: Json
    items: int | None
    tries: int
    max_attempts: int
    exhausted: bool
    recovered: bool

    @property
    def report(self) -> Report:
        return Report(self.run, self.step, self.index, self.fence)


@dataclass(frozen=True)
class Claim:
    """A worker's wish for tasks; the lease is in seconds."""

    worker: str
    queues: Sequence[str]
    qty: int
    lease: int
    handlers: Collection[str] | None = None


class PutRight(NamedTuple):
    """What a claim has done to messages that it could not grant: put them off by seconds, or quarantined them."""

    delayed: set[tuple[str, str, int]]
    quarantined: set[str]
    delay: int


class Grants(Reports):
    """Workers and what they hold."""

    def __init__(self) -> None:
        super().__init__()
        self.workers: dict[str, int] = {}
        """When each was last seen."""
        self.issued: dict[tuple[str, str, int], int] = {}
        """The greatest fence that was ever issued for a task."""
        self.orphans: list[tuple[str, str, int]] = []
        """Queue, run and due time of messages without a task."""
        self.quarantine: list[tuple[str, str, int]] = []

    def places(self) -> list[Place]:
        return [
            Place(run, step, task)
            for run in self.runs.values()
            for step in run.steps.values()
            for task in step.tasks.values()
        ]

    def due(self, queue: str) -> list[Place]:
        """Give the tasks of a queue whose messages can be read."""
        return [
            place
            for place in self.places()
            if place.queue == queue and place.task.due is not None and place.task.due <= self.now
        ]

    # Claims

    def claim(self, claim: Claim, granted: Sequence[Grant], put_right: PutRight) -> None:
        """Follow a claim; raise if a grant was not legal, or too little was granted."""
        (queue,) = claim.queues
        due = {place.key: place for place in self.due(queue)}
        free = {key: one for key, one in due.items() if one.can_be_run_by(claim.handlers)}
        chosen = [free[grant.report[:3]] for grant in granted]
        assert len({place.key for place in chosen}) == len(granted), "a task was granted twice"
        for grant, place in zip(granted, chosen, strict=True):
            expected = self._grant(place, claim, recovers=True)
            assert grant == expected, f"granted {grant}, expected {expected}"
        orphans = [one for one in self.orphans if one[0] == queue and one[2] <= self.now]
        read = {key for key, one in due.items() if one.is_named_by(claim.handlers)}
        assert put_right.delayed <= read - set(free), "a message was put off for nothing"
        for key in put_right.delayed:
            due[key].task.due = self.now + put_right.delay
        quarantined = [one for one in orphans if one[1] in put_right.quarantined]
        self.orphans = [one for one in self.orphans if one not in quarantined]
        self.quarantine += [(queue, run, self.now) for _, run, _ in quarantined]
        readable = len(read) + (len(orphans) if claim.handlers is None else 0)
        taken = len(granted) + len(put_right.delayed) + len(quarantined)
        assert taken == min(claim.qty, readable), f"a claim took {taken} of {readable}"

    def _grant(self, place: Place, claim: Claim, *, recovers: bool) -> Grant:
        run, step, task = place
        was_lost = task.status == "started"
        most = max(step.plan.max_attempts or 0, 1)
        is_used_up = was_lost and task.tries >= most
        assert run.is_live, "a task of a run that is over was granted"
        assert recovers or not was_lost
        if was_lost:
            run.note(step, task, "lost", LOST)
            task.losses += 1
        if was_lost and task.items and not is_used_up:
            self._split_lost(place)
        task.attempts += 1
        task.released += is_used_up
        task.status, task.worker, task.started_at = "started", claim.worker, self.now
        task.due = self.now + claim.lease
        is_suspect = was_lost or (task.losses > 0 and task.items is None)
        return self._describe(place, exhausted=is_used_up, recovered=is_suspect)

    def _split_lost(self, place: Place) -> None:
        """Make tasks of the items of a batch whose worker was lost; all but the first wait for a worker."""
        run, step, task = place
        for item in self.unfold([Held(0, run, step, task)])[1:]:
            run.note(step, item.task, "lost", LOST)
            self._wait(item.task)

    def _wait(self, task: Task) -> None:
        task.status, task.worker, task.started_at = "queued", None, None
        task.put_back(self.now)

    def _describe(self, place: Place, *, exhausted: bool = False, recovered: bool = False) -> Grant:
        run, step, task = place
        fence = task.attempts
        assert fence > self.issued.get(place.key, 0), f"fence {fence} of {place.key} came back"
        self.issued[place.key] = fence
        is_root, has_item = not step.plan.depends_on, task.input is not SQL_NULL
        own_input = {} if is_root else run.subject(step)
        return Grant(
            run=run.id,
            step=step.plan.slug,
            index=task.index,
            fence=fence,
            input=task.input if has_item else own_input,
            flow_input=run.input if is_root and not has_item else None,
            items=task.items,
            tries=task.tries,
            max_attempts=max(step.plan.max_attempts or 0, 1),
            exhausted=exhausted,
            recovered=recovered,
        )

    def take(self, claim: Claim, known: set[int], granted: Sequence[Grant]) -> None:
        """Follow the grants of a completion: of tasks that it has made ready, which are not among those known."""
        fresh = {
            place.key: place
            for place in self.places()
            if id(place.task) not in known
            and place.queue in claim.queues
            and place.can_be_run_by(claim.handlers)
            and not place.step.plan.start_delay
            and place.run.is_live
        }
        found = [grant.report[:3] for grant in granted]
        assert len(found) <= claim.qty, f"took {len(found)} tasks instead of {claim.qty}"
        assert bool(found) == bool(fresh), f"took {found} of {list(fresh)}"
        for grant in granted:
            expected = self._grant(fresh.pop(grant.report[:3]), claim, recovers=False)
            assert grant == expected, f"took {grant}, expected {expected}"

    def start_tasks(self, keys: Sequence[tuple[str, str, int]], worker: str) -> list[Grant]:
        """Start tasks by their messages, the contract's way; its callers know no batches."""
        if worker not in self.workers:
            raise Refused
        found: list[Grant] = []
        for place in self.places():
            run, step, task = place
            if place.key not in keys or task.status != "queued" or task.due is None:
                continue
            for item in self.unfold([Held(0, run, step, task)])[1:]:
                self._wait(item.task)
            claim = Claim(worker, [], 0, (step.plan.timeout or 0) + 2)
            grant = replace(self._grant(place, claim, recovers=False), recovered=False)
            is_single = step.plan.step_type == "single"
            found.append(grant if is_single else replace(grant, flow_input=None))
        return found

    # Repairs

    def requeue_stalled(self) -> int:
        """Queue tasks again that have been started for too long; give up on those that stalled too often."""
        requeued = 0
        for place in sorted(self.places(), key=lambda one: one.key):
            run, step, task = place
            limit = max(step.plan.timeout or 0, self.flow_timeout(run.flow)) + GRACE
            is_running = (
                task.status == "started" and not task.stalled and task.started_at is not None
            )
            is_live = run.is_live and step.status == "started"
            if not (is_live and is_running) or (task.started_at or 0) >= self.now - limit:
                continue
            if task.requeued >= MOST_REQUEUES:
                task.stalled, task.error = True, STALLED
                run.put_away(step, task)
                self.exhaust([Held(0, run, step, task)])
                continue
            for item in self.unfold([Held(0, run, step, task)]):
                run.note(step, item.task, "requeued", SLOW)
                item.task.requeued += 1
                self._wait(item.task)
                requeued += 1
        return requeued

    def flow_timeout(self, flow: str) -> int:
        """Give the timeout that a flow has now, which tells whether old workers' tasks have stalled."""
        raise NotImplementedError

    def resend(self, lease: int) -> int:
        """Give a message to every task that needs one and has none; behind a lease where somebody may hold it."""
        lost = [
            place
            for place in self.places()
            if place.run.is_live
            and place.step.status == "started"
            and place.task.is_open
            and place.task.due is None
        ]
        for place in lost:
            place.task.due = self.now + (lease if place.task.status == "started" else 0)
        return len(lost)

"""The whole state machine: beside what clients and workers do, time passes, messages get lost, and repairs are made."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.claim_rules import STRETCH
from tests.model.database import QUEUES
from tests.model.driver import small, workers
from tests.model.grants import Claim, Place
from tests.model.report_rules import ReportRules
from tests.model.strategies import SECONDS

ACTS = ("complete", "complete_one", "complete_and_claim", "fail", "extend", "release")


class Schedules(ReportRules):
    """All rules."""

    @rule(units=st.sampled_from((1, 2, 5)))
    def forward(self, units: int) -> None:
        """Put the clock forward, and never to just before something is due."""
        self.counts["forward"] += 1
        seconds = units * SECONDS
        times = [p.task.due for p in self.model.places() if p.task.due is not None]
        times += [
            p.task.started_at + t + 30
            for p in self.model.places()
            if p.task.started_at is not None
            for t in (SECONDS, 2 * SECONDS, 3 * SECONDS)
        ]
        while any(-100 < time - self.model.now - seconds < 100 for time in times):
            seconds += 100
        self.model.now += seconds
        self.engine.forward(seconds)

    @precondition(lambda self: self._with_message())
    @rule(pick=small)
    def expire(self, pick: int) -> None:
        places = self._with_message()
        held = [place for place in places if place.task.status == "started"]
        chosen = held if held and pick % 4 else places
        place = chosen[pick % len(chosen)]
        self.counts["expire"] += 1
        place.task.due = self.model.now
        self.engine.expire(place.queue, place.key)

    @precondition(lambda self: self._held())
    @rule(pick=small, choice=small, act=st.sampled_from(ACTS), worker=workers)
    def zombie(self, pick: int, choice: int, act: str, worker: str) -> None:
        """Let a lease expire, the task be granted anew, and then the worker report that held it before."""
        held = self._held()
        report = held[pick % len(held)]
        run, step, task = self.model.find(report)
        if run is None or step is None or task is None or task.due is None:
            return
        place = Place(run, step, task)
        task.due = self.model.now
        self.engine.expire(place.queue, place.key)
        self._see(worker)
        self._claim("claim_all", Claim(worker, [place.queue], 50, SECONDS))
        self.counts["zombie"] += 1
        self.report_one(report, act, choice)

    @rule(pick=small, queue=st.sampled_from(QUEUES))
    def disturb(self, pick: int, queue: str) -> None:
        """Take a message from a task, or send one that belongs to none."""
        places = self._with_message()
        if places and pick % 2:
            place = places[pick // 2 % len(places)]
            self.counts["lose"] += 1
            place.task.due = None
            self.engine.lose(place.queue, place.key)
        else:
            self.counts["orphan"] += 1
            self.orphans += 1
            run = f"00000000-0000-0000-0000-0000000b{self.orphans:04d}"
            self.model.orphans.append((queue, run, self.model.now))
            self.engine.send_orphan(queue, run)

    @rule(is_sent=st.booleans())
    def mend(self, is_sent: bool) -> None:
        if is_sent:
            self.both("resend", lambda: self.model.resend(30 + STRETCH), self.engine.resend)
        else:
            self.requeue_stalled()

    def requeue_stalled(self) -> None:
        self.both("requeue_stalled", self.model.requeue_stalled, self.engine.requeue_stalled)

    @precondition(lambda self: self._started())
    @rule(pick=small, is_old=st.booleans())
    def tire(self, pick: int, is_old: bool) -> None:
        """Let a running task have been requeued as often as it may be, and perhaps all have stalled again."""
        started = self._started()
        place = started[pick % len(started)]
        if place.task.items:
            return  # requeued once, it would be no batch any more
        self.counts["tire"] += 1
        place.task.requeued = 3
        self.engine.tire(place.key, 3)
        if is_old:
            self.forward(5)
            self.requeue_stalled()

"""Workers take tasks, by the engine's own way and by that of the contract."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.model.database import QUEUES
from tests.model.driver import FLOWS, Driver, flows, picks, small, workers
from tests.model.grants import Claim, Grant, PutRight
from tests.model.reports import Refused
from tests.model.strategies import SECONDS

STRETCH = 1000
"""Seconds by which short delays are lengthened, see stage.sql."""
quantities = st.sampled_from((1, 2, 5, 20))
leases = st.sampled_from((SECONDS, 5 * SECONDS))


class ClaimRules(Driver):
    """Claims; every grant is kept."""

    @rule(worker=workers, queue=st.sampled_from(QUEUES[::2]), qty=quantities, lease=leases)
    def claim(self, worker: str, queue: str, qty: int, lease: int) -> None:
        self._keep_busy(qty)
        self._claim("claim", Claim(worker, [queue], qty, lease))

    @rule(worker=workers, pick=small, qty=quantities, is_exact=st.booleans())
    def claim_some(self, worker: str, pick: int, qty: int, is_exact: bool) -> None:
        """Claim for a worker that has handlers for every other step, or for other shapes of them."""
        queue = QUEUES[pick % len(QUEUES)]
        shape = "(map:s0)" if is_exact else ""
        handlers = [
            f"{flow}.s{number}{shape}" for flow in FLOWS for number in range(pick % 2, 8, 2)
        ]
        self._claim("claim_some", Claim(worker, [queue], qty, SECONDS, handlers))

    @rule(worker=workers, choice=small)
    def claim_all(self, worker: str, choice: int) -> None:
        self._keep_busy(choice)
        for queue in QUEUES:
            self._claim("claim_all", Claim(worker, [queue], 50, 2 * SECONDS))

    def _claim(self, name: str, claim: Claim) -> list[Grant]:
        if claim.worker not in self.model.workers:
            self.both(name, self._refuse, lambda: self.engine.claim(claim))
            self._see(claim.worker)
        self.counts[name] += 1
        granted = self.engine.claim(claim)
        self.model.claim(claim, granted, self._put_right(claim))
        self._keep(granted)
        return granted

    def _refuse(self) -> list[Grant]:
        raise Refused

    def _put_right(self, claim: Claim) -> PutRight:
        """Find out what a claim has done to messages that it did not grant."""
        delay = 2 + STRETCH
        if claim.handlers is None and not self.model.orphans:
            return PutRight(set(), set(), delay)
        picture = self.engine.picture()
        hidden = {tuple(row[:3]) for row in picture["messages"] if row[4] > STRETCH / 2}
        due = {place.key for place in self.model.due(claim.queues[0])}
        unfit = {p.key for p in self.model.places() if not p.can_be_run_by(claim.handlers)}
        quarantined = {row[1] for row in picture["quarantine"] if row[2] >= 0}
        return PutRight(due & hidden & unfit, quarantined, delay)

    def _keep(self, granted: list[Grant]) -> None:
        self.grants += [grant.report for grant in granted]
        self.counts["grants"] += len(granted)
        self.counts["recovered"] += sum(grant.recovered for grant in granted)
        self.counts["exhausted"] += sum(grant.exhausted for grant in granted)
        self.counts["batches"] += sum(grant.items is not None for grant in granted)

    @rule(flow=flows, worker=workers, picks=picks)
    def start_tasks(self, flow: str, worker: str, picks: list[int]) -> None:
        queued = [
            place.key
            for place in self.model.places()
            if place.run.flow == flow and place.queue == flow and place.task.due is not None
        ]
        chosen = sorted({queued[pick % len(queued)] for pick in picks}) if queued else []
        if not chosen:
            return
        self._see(worker)
        granted = self.model.start_tasks(chosen, worker)
        self.counts["start_tasks"] += 1
        found = self.engine.start_tasks(flow, chosen, worker)
        wanted = [(one.run, one.step, one.index, one.input, one.flow_input) for one in granted]
        assert sorted(map(str, (tuple(row.values()) for row in found))) == sorted(map(str, wanted))
        self._keep(granted)

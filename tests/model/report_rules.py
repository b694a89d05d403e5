"""Workers report: on time, late, again, with a fence of others or none. Reports pick among all grants ever made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.claim_rules import ClaimRules, leases, quantities
from tests.model.database import QUEUES
from tests.model.definitions import SQL_NULL
from tests.model.driver import WORKERS, T, picks, small, workers
from tests.model.grants import Claim, Grant, Place
from tests.model.reports import Report
from tests.model.strategies import SECONDS, output_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.model.definitions import Json

DETAILS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {},
    {"final": True},
    {"retry_after": 2 * SECONDS},
    {"kind": "lost"},
)


class ReportRules(ClaimRules):
    """Reports of every kind."""

    def _pick(self, picks: list[int], how: int = 0) -> list[Report]:
        """Pick grants, half of them among those that hold; some without their fence, or with one to come."""
        held = self._held()
        chosen = [
            held[pick % len(held)]
            if held and pick % 3
            else self.grants[-1 - pick % len(self.grants)]
            for pick in picks
        ]
        if how == 1:
            return [report._replace(fence=None) for report in chosen]
        if how == 2:
            return [report._replace(fence=(report.fence or 0) + 1) for report in chosen]
        return chosen

    def _held(self) -> list[Report]:
        """Give the grants that hold a task of a live run."""
        issued = set(self.grants)
        reports = [Report(*p.key, p.task.attempts) for p in self._started() if p.run.is_live]
        return [report for report in reports if report in issued]

    def report_one(self, report: Report, act: str, choice: int) -> None:
        """Report a single grant in one of several ways."""
        output = self._output(report, choice)
        match act:
            case "complete_and_claim":
                claim = Claim(WORKERS[choice % len(WORKERS)], QUEUES, 5, SECONDS)
                self._complete_and_claim([report], [output], claim)
            case "complete_one":
                self._report(
                    act,
                    lambda: self.model.complete([report], [output]) and None,
                    lambda: self.engine.complete_one(report, output),
                )
            case "complete":
                self._report(
                    act,
                    lambda: self.model.complete([report], [output]),
                    lambda: self.engine.complete([report], [output]),
                )
            case "fail":
                self._report(
                    act,
                    lambda: self.model.fail([report], ["late"], [{}]),
                    lambda: self.engine.fail([report], ["late"], [{}]),
                )
            case "extend":
                self._report(
                    act,
                    lambda: self.model.extend([report], SECONDS),
                    lambda: self.engine.extend([report], SECONDS),
                )
            case _:
                self._report(
                    act,
                    lambda: self.model.release([report], 0),
                    lambda: self.engine.release([report], 0),
                )

    def _output(self, report: Report, choice: int) -> Json:
        run, step, task = self.model.find(report)
        children = [one.plan for one in run.children(report.step)] if run else []
        if task and task.items and choice != 1:
            found = [output_for([], choice + number) for number in range(task.items)]
            return [None if one is SQL_NULL else one for one in found]
        return output_for(children if step and step.plan.step_type == "single" else [], choice)

    def _outputs(self, reports: list[Report], choice: int) -> list[Json]:
        """Choose an output for each report, the same for reports of one task."""
        named = [report[:3] for report in reports]
        return [self._output(report, choice + named.index(report[:3])) for report in reports]

    def _report(self, name: str, ours: Callable[[], T], theirs: Callable[[], T]) -> T | None:
        self.last = lambda: self.both("again", ours, theirs)
        found = self.both(name, ours, theirs)
        if isinstance(found, list):
            self.counts.update(str(outcome) for outcome in found)
        return found

    @precondition(lambda self: self.grants)
    @rule(picks=picks, choice=small, how=st.integers(0, 5))
    def complete(self, picks: list[int], choice: int, how: int) -> None:
        reports = self._pick(picks, how)
        outputs = self._outputs(reports, choice)
        self._report(
            "complete",
            lambda: self.model.complete(reports, outputs),
            lambda: self.engine.complete(reports, outputs),
        )

    @precondition(lambda self: self.grants)
    @rule(picks=picks, choice=small, worker=workers, qty=quantities)
    def complete_and_claim(self, picks: list[int], choice: int, worker: str, qty: int) -> None:
        reports = self._pick(picks)
        outputs = self._outputs(reports, choice)
        self._complete_and_claim(
            reports, outputs, Claim(worker, QUEUES[choice % 2 :], qty, SECONDS)
        )

    def _complete_and_claim(
        self, reports: list[Report], outputs: list[Json], claim: Claim
    ) -> list[Grant]:
        known = {id(place.task) for place in self.model.places()}
        taken: list[Grant] = []

        def theirs() -> list[str]:
            refused, granted = self.engine.complete_and_claim(reports, outputs, claim)
            taken.extend(granted)
            return refused

        self.both(
            "complete_and_claim",
            lambda: [one for one in self.model.complete(reports, outputs) if one != "accepted"],
            theirs,
        )
        if claim.worker in self.model.workers:
            self.model.take(claim, known, taken)
        assert claim.worker in self.model.workers or not taken
        self.counts["taken"] += len(taken)
        self._keep(taken)
        return taken

    @precondition(lambda self: self.grants)
    @rule(pick=small, choice=small, is_fenced=st.booleans())
    def complete_one(self, pick: int, choice: int, is_fenced: bool) -> None:
        (report,) = self._pick([pick], 0 if is_fenced else 1)
        self.report_one(report, "complete_one", choice)

    @precondition(lambda self: self.grants)
    @rule(picks=picks, detail=st.sampled_from(DETAILS), how=st.integers(0, 5))
    def fail(self, picks: list[int], detail: dict[str, Any], how: int) -> None:
        reports = self._pick(picks, how)
        errors = [f"boom {number}" for number in picks]
        details = [detail if number == 0 else {} for number in range(len(reports))]
        self._report(
            "fail",
            lambda: self.model.fail(reports, errors, details),
            lambda: self.engine.fail(reports, errors, details),
        )

    @precondition(lambda self: self.grants)
    @rule(pick=small, is_fenced=st.booleans())
    def fail_one(self, pick: int, is_fenced: bool) -> None:
        (report,) = self._pick([pick], 0 if is_fenced else 1)
        self._report(
            "fail_one",
            lambda: self.model.fail([report], ["bang"], [{}]) and None,
            lambda: self.engine.fail_one(report, "bang"),
        )

    @precondition(lambda self: self.grants)
    @rule(picks=picks, lease=leases, how=st.integers(0, 5))
    def extend(self, picks: list[int], lease: int, how: int) -> None:
        reports = self._pick(picks, how)
        self._report(
            "extend",
            lambda: self.model.extend(reports, lease),
            lambda: self.engine.extend(reports, lease),
        )

    @precondition(lambda self: self.grants)
    @rule(picks=picks, delay=st.sampled_from((0, SECONDS)), how=st.integers(0, 5))
    def release(self, picks: list[int], delay: int, how: int) -> None:
        reports = self._pick(picks, how)
        self._report(
            "release",
            lambda: self.model.release(reports, delay),
            lambda: self.engine.release(reports, delay),
        )

    @precondition(lambda self: self._batches())
    @rule(pick=small, choice=small)
    def split(self, pick: int, choice: int) -> None:
        batches = self._batches()
        run, step, task = batches[pick % len(batches)]
        self._split([Report(run.id, step.plan.slug, task.index, task.attempts)], choice)

    def _split(self, reports: list[Report], choice: int) -> None:
        """Report batches item by item; now and then one result too many, which is refused."""
        sizes = [task.items or 1 for _, _, task in map(self.model.find, reports) if task]
        results = [
            [self._result(choice + first + number) for number in range(size)]
            for first, size in enumerate(sizes)
        ]
        if choice == 1:
            results[0].append({"output": 2})
        self._report(
            "split",
            lambda: self.model.split(reports, results),
            lambda: self.engine.split(reports, results),
        )

    def _batches(self) -> list[Place]:
        return [p for p in self.model.places() if p.task.items and p.task.status == "started"]

    @staticmethod
    def _result(choice: int) -> dict[str, Json]:
        results: tuple[dict[str, Json], ...] = (
            {"output": 7},
            {"error": "bad item"},
            {"released": True},
            {"error": "bad item", "details": {"final": True}},
            {"output": None},
        )
        return results[choice % len(results)]

    @precondition(lambda self: self.last)
    @rule()
    def again(self) -> None:
        """Repeat the last report as it was, as after a reply that was lost."""
        assert self.last
        self.last()

    @rule(worker=workers, choice=small)
    def work(self, worker: str, choice: int) -> None:
        self._work(worker, choice, is_fused=False)

    @rule(worker=workers, choice=small)
    def work_fused(self, worker: str, choice: int) -> None:
        self._work(worker, choice, is_fused=True)

    @rule(worker=workers, pick=small)
    def work_badly(self, worker: str, pick: int) -> None:
        """Fail one of the tasks that are due for good, and complete the others."""
        self._see(worker)
        self._keep_busy(pick)
        self.counts["work"] += 1
        for queue in QUEUES:
            granted = self._claim("claim_all", Claim(worker, [queue], 50, SECONDS))
            reports = sorted(one.report for one in granted if one.items is None)
            if reports:
                bad = [reports.pop(pick % len(reports))]
                outputs = [self._output(one, 4) for one in reports]
                self.model.complete(reports, outputs)
                self.engine.complete(reports, outputs)
                self.model.fail(bad, ["bad luck"], [{"final": True}])
                self.engine.fail(bad, ["bad luck"], [{"final": True}])

    def _work(self, worker: str, choice: int, *, is_fused: bool) -> None:
        """Do what a healthy worker does with all that is due, so that runs come to their ends."""
        self._see(worker)
        self._keep_busy(choice)
        self.counts["work"] += 1
        for queue in QUEUES:
            granted = self._claim("claim_all", Claim(worker, [queue], 50, SECONDS))
            is_split = choice % 3 == 0 and not is_fused
            batches = [one for one in granted if one.items is not None and is_split]
            reports = [one.report for one in granted if one not in batches]
            if batches:
                self._split([one.report for one in batches], choice)
            while reports:
                outputs = [self._output(one, 2 * (choice // 2) % 8) for one in reports]
                if not is_fused:
                    self.model.complete(reports, outputs)
                    self.engine.complete(reports, outputs)
                    break
                claim = Claim(worker, QUEUES, 50, SECONDS)
                reports = [one.report for one in self._complete_and_claim(reports, outputs, claim)]

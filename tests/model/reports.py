"""What workers report of their tasks in the reference model: batches of completions, failures, releases, renewals."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tests.model.definitions import SQL_NULL, Json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.model.runs import Run, StepState, Task

ACCEPTED, AGAIN, STALE, FINISHED = "accepted", "already_accepted", "stale", "finished"


class Report(NamedTuple):
    """A task as its worker names it; without a fence the current attempt is meant."""

    run: str
    step: str
    task_index: int
    fence: int | None


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """The call is refused as a whole and changes nothing."""


@dataclass
class Held:
    """A task that a report is entitled to change; `position` is that of the report."""

    position: int
    run: Run
    step: StepState
    task: Task


def type_of(value: Json) -> str:
    """Name a value's JSON type as PostgreSQL does."""
    names = {dict: "object", list: "array", str: "string", int: "number", float: "number"}
    return names.get(type(value), "null")


class Reports:
    """The runs, and what batches of reports do to them."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.now = 0

    def find(self, report: Report) -> tuple[Run | None, StepState | None, Task | None]:
        run = self.runs.get(report.run)
        step = run.steps.get(report.step) if run else None
        return run, step, step.tasks.get(report.task_index) if step else None

    def held(self, reports: Sequence[Report]) -> list[Held]:
        """Give the tasks that are held by the reported attempts, once each."""
        found: dict[tuple[str, str, int], Held] = {}
        for position, report in enumerate(reports):
            run, step, task = self.find(report)
            if run is None or step is None or task is None or report[:3] in found:
                continue
            is_running = task.status == "started" and not task.stalled
            is_live = run.is_live and step.status == "started"
            if is_live and is_running and report.fence in {None, task.attempts}:
                found[report[:3]] = Held(position, run, step, task)
        return list(found.values())

    def outcomes(
        self, reports: Sequence[Report], accepted: set[Report], ends: Sequence[str]
    ) -> list[str]:
        """Say what became of each report, those with these fences having been accepted."""
        return [
            ACCEPTED
            if report in accepted or any(report == (*one[:3], None) for one in accepted)
            else self._refusal(report, ends)
            for report in reports
        ]

    def _refusal(self, report: Report, ends: Sequence[str]) -> str:
        run, step, task = self.find(report)
        if run is None or step is None:
            return STALE
        if task and report.fence is not None:
            is_current = task.attempts == report.fence
            if "completed" in ends and task.status == "completed" and is_current:
                return AGAIN
            if "failed" in ends and self._has_failed(run, report):
                return AGAIN
            if not is_current:
                return STALE
        return STALE if run.is_live and step.status == "started" else FINISHED

    @staticmethod
    def _has_failed(run: Run, report: Report) -> bool:
        key = (report.step, report.task_index, report.fence, "failed")
        return any(entry[:4] == key for entry in run.attempts)

    # Reports

    def complete(self, reports: Sequence[Report], outputs: Sequence[Json]) -> list[str]:
        held = self.held(reports)
        violations = {
            one.run.id: one for one in reversed(held) if self._violates(one, outputs[one.position])
        }
        for one in held:
            items, output = one.task.items, outputs[one.position]
            fits = items is None or (isinstance(output, list) and len(output) == items)
            if one.run.id not in violations and not fits:
                raise Refused
        for one in violations.values():
            self._fail_type(one, outputs[one.position])
        held = [one for one in held if one.run.id not in violations]
        accepted = {Report(*reports[one.position][:3], one.task.attempts) for one in held}
        for one in held:
            one.task.status, one.task.output = "completed", outputs[one.position]
            if one.task.attempts > 1:
                one.run.note(one.step, one.task, "completed")
            one.run.put_away(one.step, one.task)
            one.step.remaining = (one.step.remaining or 0) - one.task.size
        self._finish(held)
        return self.outcomes(reports, accepted, ["completed"])

    def _violates(self, one: Held, output: Json) -> bool:
        if one.step.plan.step_type != "single" or isinstance(output, list):
            return False
        subject = {one.step.plan.slug: None if output is SQL_NULL else output}
        return any(
            child.plan.goes_over_array and child.initial is None and one.run.is_met(child, subject)
            for child in one.run.children(one.step.plan.slug)
        )

    def _fail_type(self, one: Held, output: Json) -> None:
        kind, slug = type_of(output), one.step.plan.slug
        one.task.status, one.task.output = "failed", output
        one.task.error = f"[TYPE_VIOLATION] Produced {kind} instead of array"
        one.run.note(one.step, one.task, "failed", one.task.error)
        one.run.put_away(one.step, one.task)
        child = next(
            child
            for child in one.run.children(slug)
            if child.plan.goes_over_array and child.initial is None
        )
        error = f"[TYPE_VIOLATION] Map step {child.plan.slug} expects array input but dependency {slug} produced {kind}"
        one.run.fail_step(one.step, error)

    @staticmethod
    def _finish(held: Sequence[Held]) -> None:
        for one in held:
            if one.step.status == "started" and one.step.remaining == 0:
                one.run.complete_step(one.step)
        for one in held:
            one.run.advance()

    def fail(
        self,
        reports: Sequence[Report],
        errors: Sequence[str],
        details: Sequence[Mapping[str, Json]],
    ) -> list[str]:
        held = self.held(reports)
        accepted = {Report(*reports[one.position][:3], one.task.attempts) for one in held}
        ended: dict[tuple[str, str], list[Held]] = {}
        for one in self.unfold(held):
            detail = details[one.position]
            one.task.error = errors[one.position]
            outcome = "lost" if detail.get("kind") == "lost" else "failed"
            one.run.note(one.step, one.task, outcome, one.task.error)
            if one.task.tries < (one.step.plan.max_attempts or 0) and not detail.get("final"):
                one.task.status, one.task.started_at = "queued", None
                one.task.put_back(self.now + self._delay(one, detail.get("retry_after")))
            else:
                one.task.status = "failed"
                one.run.put_away(one.step, one.task)
                ended.setdefault((one.run.id, one.step.plan.slug), []).append(one)
        for key in sorted(ended):
            self.exhaust(ended[key])
        for report, error in zip(reports, errors, strict=True):
            self._fail_leftover(report, error)
        return self.outcomes(reports, accepted, ["failed"])

    @staticmethod
    def _delay(one: Held, retry_after: int | None) -> int:
        if retry_after is not None:
            return retry_after
        delay: int = (one.step.plan.base_delay or 0) * 2**one.task.tries
        cap = one.step.plan.max_delay
        return delay if cap is None else min(delay, cap)

    def exhaust(self, ended: Sequence[Held]) -> None:
        """Apply the policy of a step to tasks of it that have just failed for good."""
        run, step = ended[0].run, ended[0].step
        if not run.is_live or step.status != "started":
            return
        count = sum(one.task.size for one in ended)
        step.failed += count
        if step.failed <= (step.plan.max_failed_tasks or 0):
            step.remaining = (step.remaining or 0) - count
            if step.remaining == 0:
                run.complete_step(step)
        else:
            error = min(ended, key=lambda one: one.task.index).task.error
            if step.plan.when_exhausted == "fail":
                run.fail_step(step, error)
                return
            run.skip(step, "handler_failed", error)
            if step.plan.when_exhausted == "skip":
                run.resolve(step)
            else:
                run.skip_downstream(step)
        run.advance()

    def _fail_leftover(self, report: Report, error: str) -> None:
        """End a task that is still running in a run which is over."""
        run, step, task = self.find(report)
        if run is None or step is None or task is None or run.status not in {"failed", "cancelled"}:
            return
        if task.status == "started" and report.fence in {None, task.attempts}:
            task.status, task.error = "failed", error
            run.put_away(step, task)

    def release(self, reports: Sequence[Report], delay: int = 0) -> list[str]:
        held = self.held(reports)
        accepted = {Report(*reports[one.position][:3], one.task.attempts) for one in held}
        for one in held:
            one.run.note(one.step, one.task, "released")
            one.task.status, one.task.started_at = "queued", None
            one.task.released += 1
            one.task.put_back(self.now + delay)
        return self.outcomes(reports, accepted, [])

    def extend(self, reports: Sequence[Report], lease: int) -> list[str]:
        held = self.held(reports)
        for one in held:
            if one.task.due is not None:
                one.task.due = self.now + lease
        accepted = {Report(*reports[one.position][:3], one.task.attempts) for one in held}
        return self.outcomes(reports, accepted, [])

    def split(self, reports: Sequence[Report], results: Sequence[Sequence[Json]]) -> list[str]:
        held = self.held(reports)
        for one in held:
            if one.task.items is None or len(results[one.position]) != one.task.items:
                raise Refused
        accepted = {Report(*reports[one.position][:3], one.task.attempts) for one in held}
        kinds: dict[str, list[tuple[Report, Mapping[str, Json]]]] = {}
        for item in self.unfold(held):
            report = reports[item.position]
            result = results[item.position][item.task.index - report.task_index]
            kind = next(kind for kind in ("output", "released", "error") if kind in result)
            named = Report(report.run, report.step, item.task.index, item.task.attempts)
            kinds.setdefault(kind, []).append((named, result))
        for kind in ("output", "released", "error"):
            part = kinds.get(kind, [])
            given = [result for _, result in part]
            items = [item for item, _ in part]
            if kind == "output" and part:
                self.complete(items, [one["output"] for one in given])
            elif kind == "released" and part:
                self.release(items)
            elif part:
                details = [one.get("details", {}) for one in given]
                self.fail(items, [one["error"] for one in given], details)
        if len(held) < len(reports):
            for report, result in zip(reports, results, strict=True):
                errors = [one["error"] for one in result if "error" in one]
                self._fail_leftover(report, errors[0] if errors else "The run was over.")
        return self.outcomes(reports, accepted, ["completed", "failed"])

    @staticmethod
    def unfold(held: Sequence[Held]) -> list[Held]:
        """Take batches apart: each item becomes a task in the same state; the first keeps the message."""
        items: list[Held] = []
        for one in held:
            count, inputs = one.task.items or 1, one.task.input
            if one.task.items:
                one.task.items, one.task.input = None, inputs[0]
            items.append(one)
            for number in range(1, count):
                task = copy(one.task)
                task.index, task.input, task.due = one.task.index + number, inputs[number], None
                task.is_sent = False
                one.step.tasks[task.index] = task
                items.append(Held(one.position, one.run, one.step, task))
        return items

"""The reference model: flows, runs, workers and a clock that stands until it is put forward.

It knows what may happen, not what will: which of the due tasks a claim gets is the database's choice, which
`tests.model.grants` judges and follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.definitions import SQL_NULL, Definition, Flow, Json, Step, new_flow
from tests.model.grants import Grants
from tests.model.reports import Refused
from tests.model.runs import Run, StepState, Task

if TYPE_CHECKING:
    from collections.abc import Sequence


class World(Grants):
    """Everything that exists."""

    def __init__(self) -> None:
        super().__init__()
        self.flows: dict[str, Flow] = {}
        self.forgotten: list[tuple[str, str, int, str, int]] = []
        """Archived messages of runs that are no more."""

    # Definitions

    def define(self, slug: str, definition: Definition) -> int:
        if slug in self.flows:
            return self.flows[slug].define(definition)
        self.flows[slug] = new_flow(slug, definition)
        return 1

    def add_step(self, slug: str, step: Step) -> None:
        self.flows[slug].add_step(step)

    def flow_timeout(self, flow: str) -> int:
        return self.flows[flow].current.options.timeout

    # Runs

    def start(
        self,
        slug: str,
        inputs: Sequence[Json],
        keys: Sequence[str | None],
        ids: Sequence[str],
        version: int | None = None,
    ) -> list[str]:
        """Start runs of a flow; give their ids, known ones for known keys."""
        flow = self.flows[slug]
        plan = flow.plan(version)
        goes_over_input = any(one.goes_over_array and not one.depends_on for one in plan)
        if goes_over_input and not all(isinstance(one, list) for one in inputs):
            raise Refused
        found: list[str] = []
        for given, key, run_id in zip(inputs, keys, ids, strict=True):
            known = [
                run.id
                for run in self.runs.values()
                if key is not None and (run.flow, run.key) == (slug, key)
            ]
            if not known:
                number = flow.version if version is None else version
                steps = {one.slug: self._state(one, given) for one in plan}
                run = Run(run_id, slug, number, given, key, steps, lambda: self.now)
                run.remaining = len(steps)
                self.runs[run_id] = run
                run.advance()
            found += known or [run_id]
        return found

    @staticmethod
    def _state(plan: Step, run_input: Json) -> StepState:
        initial = None if plan.goes_over_array else plan.initial_tasks or 1
        if plan.goes_over_array and not plan.depends_on:
            initial = len(run_input)
        return StepState(plan, len(plan.depends_on), initial)

    def cancel(self, run_id: str, reason: str | None) -> None:
        run = self.runs[run_id]
        if run.is_live:
            run.end("cancelled")
            run.cancel_reason = reason
            run.put_all_away(run.steps.values())

    def retry(self, run_id: str, slug: str | None = None) -> None:
        """Take up what failed; what is downstream of that starts from the beginning."""
        run = self.runs[run_id]
        failed = {
            one.plan.slug
            for one in run.steps.values()
            if (one.status == "failed" or (one.status == "completed" and one.failed))
            and slug in {None, one.plan.slug}
        }
        if run.status not in {"failed", "completed"} or not failed:
            raise Refused
        behind = run.downstream(failed)
        again = failed.union(behind)
        if any(one.status == "failed" and one.plan.slug not in again for one in run.steps.values()):
            raise Refused
        failed -= set(behind)
        for name in behind:
            self._reset(run.steps[name])
        for name, step in run.steps.items():
            if name in failed or step.status == "started":
                self._reopen(step)
        for step in run.states(behind):
            parents = run.states(step.plan.depends_on)
            step.remaining_deps = sum(one.status not in {"completed", "skipped"} for one in parents)
        run.remaining = sum(
            one.status not in {"completed", "skipped"} for one in run.steps.values()
        )
        run.status, run.error, run.output, run.ended_at = "started", None, SQL_NULL, None
        run.advance()

    def _reset(self, step: StepState) -> None:
        fence = max([step.fence, *(task.attempts for task in step.tasks.values())])
        initial = None if step.plan.step_type == "map" else 1
        blank = StepState(step.plan, 0, initial, fence=fence)
        step.__dict__.update(blank.__dict__)

    def _reopen(self, step: StepState) -> None:
        step.output, step.error, step.failed = SQL_NULL, None, 0
        step.status = "started" if step.tasks else "created"
        step.remaining = None
        if step.tasks:
            done = [task.size for task in step.tasks.values() if task.status == "completed"]
            step.remaining = (step.initial or 0) - sum(done)
        for task in step.tasks.values():
            if task.status != "completed":
                self._queue_anew(task)

    def _queue_anew(self, task: Task) -> None:
        task.status, task.error, task.output, task.started_at = "queued", None, SQL_NULL, None
        task.released, task.requeued, task.losses = task.attempts, 0, 0
        task.stalled = False
        task.due, task.is_sent = self.now, True

    def prune(self, older_than: int) -> None:
        """Forget runs that ended, archived messages and workers last seen before so many seconds ago."""
        cutoff = self.now - older_than
        for run in list(self.runs.values()):
            if run.ended_at is not None and run.ended_at < cutoff:
                self.forgotten += run.archive
                del self.runs[run.id]
            run.archive = [entry for entry in run.archive if entry[-1] >= cutoff]
        self.forgotten = [one for one in self.forgotten if one[-1] >= cutoff]
        self.quarantine = [one for one in self.quarantine if one[-1] >= cutoff]
        gone = {name for name, seen in self.workers.items() if seen < cutoff}
        for place in self.places():
            if place.task.worker in gone:
                place.task.worker = None
        self.workers = {name: seen for name, seen in self.workers.items() if name not in gone}

"""What the commands show of the values of runs and tasks: opened if this process has the key, less what the flow redacts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgflow._redaction import Redaction
from pgflow._vault import shown
from pgflow.codec import Where

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgflow.database import Database
    from pgflow.records import FailedTask, RawJson, RunRecord, StepSummary, TaskRecord


class Shown:
    """The records of one run, as somebody may see them."""

    def __init__(
        self,
        database: Database,
        record: RunRecord,
        steps: Iterable[StepSummary],
        redact: Redaction | None,
    ) -> None:
        self._vault = database.vault
        self._where = Where(record.flow_slug)
        self._steps = {step.step_slug: step for step in steps}
        self._redaction = redact
        self._record = record

    @classmethod
    async def of(cls, database: Database, record: RunRecord, steps: Iterable[StepSummary]) -> Shown:
        """Read what the flow redacts now; a run keeps what it has redacted when it started."""
        flow = await database.flow(record.flow_slug)
        paths = (record.redact, None if flow is None else flow.redact)
        return cls(database, record, steps, Redaction.of(*paths))

    @property
    def record(self) -> RunRecord:
        """The run's row."""
        record = self._record
        given = self._show(record.input, self._where)
        output = record.output
        if output is not None:
            output = self._hide(shown(self._vault, output, self._where, by_step=True))
        return replace(record, input=given, output=output)

    def failed_task(self, task: FailedTask) -> FailedTask:
        """Return a task that failed for good."""
        return replace(task, input=self._task_input(task.step_slug, task.input))

    def task(self, task: TaskRecord) -> TaskRecord:
        """Return a task."""
        where = self._where._replace(step=task.step_slug)
        return replace(
            task,
            input=self._task_input(task.step_slug, task.input),
            output=self._show(task.output, where, slug=task.step_slug),
        )

    def _task_input(self, slug: str, raw: RawJson | None) -> RawJson | None:
        step = self._steps.get(slug)
        if raw is None or step is None or not step.deps:
            return self._show(raw, self._where)
        if step.step_type == "map":
            return self._show(raw, self._where._replace(step=step.deps[0]))
        return self._hide(shown(self._vault, raw, self._where, by_step=True))

    def _show(self, raw: RawJson | None, where: Where, slug: str | None = None) -> RawJson | None:
        return None if raw is None else self._hide(shown(self._vault, raw, where), slug)

    def _hide(self, raw: RawJson, slug: str | None = None) -> RawJson:
        return raw if self._redaction is None else self._redaction.json(raw, slug)

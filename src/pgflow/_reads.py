"""What can be looked up in the database: the read half of `Database`, over views and tables."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pgflow._calls import Calls
from pgflow._rows import Row
from pgflow.records import (
    AttemptRecord,
    FailedTask,
    FlowRecord,
    QueueRecord,
    RawJson,
    RunRecord,
    RunStatus,
    RunSummary,
    StepRecord,
    StepSummary,
    TaskRecord,
    WorkerRecord,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from typing import LiteralString
    from uuid import UUID

    from psycopg import AsyncConnection


R = TypeVar("R", bound=Row)

CONDITIONAL_STEPS = """select step_slug from pgflow.steps
  where flow_slug = %s and num_nonnulls(required_input_pattern, forbidden_input_pattern) > 0
  order by step_index"""

IN_PROGRESS = "and completed_at is null and failed_at is null and cancelled_at is null"
"""As runs_live_idx has it."""


class StepResult(NamedTuple):
    """A step of a run, with its output."""

    step_slug: str
    step_type: str
    status: str
    output: RawJson | None
    is_deferred: bool


class RunFailure(NamedTuple):
    """Where a run failed."""

    flow_slug: str
    step_slug: str | None
    task_index: int | None
    attempt: int | None
    error: str | None


class Reads(Calls):
    """Reads, each a statement of its own; lists are ordered and limited."""

    async def now(self) -> datetime:
        """Return the server's time, which is that of all records."""
        now: datetime = (await self._fetch("select clock_timestamp()"))[0][0]
        return now

    async def _read(self, kind: type[R], source: LiteralString, *parameters: object) -> list[R]:
        names = _names(kind)
        # Names of our own fields and a literal of ours; values are parameters.
        # ast-grep-ignore: no-sql-from-strings
        rows = await self._fetch(f"select {', '.join(names)} {source}".encode(), *parameters)
        return [kind.from_row(dict(zip(names, row, strict=True))) for row in rows]

    async def _read_one(
        self, kind: type[R], source: LiteralString, *parameters: object
    ) -> R | None:
        found = await self._read(kind, source, *parameters)
        return found[0] if found else None

    # Runs

    async def runs(
        self, flow_slug: str | None = None, status: str | None = None, limit: int = 50
    ) -> list[RunSummary]:
        """Return the latest runs, newest first."""
        # The counts are costly, so the limit comes first.
        source = """from pgflow.run_summary where run_id = any(array(
            select run_id from pgflow.runs
            where (%s::text is null or flow_slug = %s) and (%s::text is null or status = %s)
            order by started_at desc, run_id limit %s
          )) order by started_at desc, run_id"""
        return await self._read(RunSummary, source, flow_slug, flow_slug, status, status, limit)

    async def runs_served(
        self, flows: Sequence[str], queues: Sequence[str], *, is_live: bool = False, limit: int = 50
    ) -> list[RunSummary]:
        """Return the latest runs, or those in progress, of the flows and of all that have a step on one of the queues."""
        source = f"""from pgflow.run_summary where run_id = any(array(
            select run_id from pgflow.runs
            where flow_slug = any(array(
                select unnest(%s::text[])
                union select flow_slug from pgflow.steps where opt_queue = any(%s::text[])
              )) {IN_PROGRESS if is_live else ""}
            order by started_at desc, run_id limit %s
          )) order by started_at desc, run_id"""  # noqa: S608 - our own words
        return await self._read(RunSummary, source, list(flows), list(queues), limit)

    async def run_summary(self, run_id: UUID) -> RunSummary | None:
        """Return a run with its counts."""
        return await self._read_one(RunSummary, "from pgflow.run_summary where run_id = %s", run_id)

    async def run(self, run_id: UUID) -> RunRecord | None:
        """Return a run's row, input and output included."""
        return await self._read_one(RunRecord, "from pgflow.runs where run_id = %s", run_id)

    async def run_status(self, run_id: UUID) -> RunStatus | None:
        """Return a run's status at the least cost."""
        rows = await self._fetch("select status from pgflow.runs where run_id = %s", run_id)
        return RunStatus(rows[0][0]) if rows else None

    async def run_input(self, run_id: UUID) -> RawJson | None:
        """Return a run's input."""
        rows = await self._fetch("select input from pgflow.runs where run_id = %s", run_id)
        return rows[0][0] if rows else None

    async def steps(self, run_id: UUID) -> list[StepSummary]:
        """Return a run's steps with their counts, in the order of the definition."""
        source = "from pgflow.step_summary where run_id = %s order by step_index"
        return await self._read(StepSummary, source, run_id)

    async def step_results(self, run_id: UUID, step_slug: str | None = None) -> list[StepResult]:
        """Return what a run's leaf steps gave, or that one; the output of a large map is in its tasks only."""
        statement = """select step_slug, step_type, status, output,
            status = 'completed' and step_type = 'map' and output is null as is_deferred
          from pgflow.step_states
          where run_id = %s and case when %s::text is null then children = '{}' else step_slug = %s end
          order by step_index"""
        rows = await self._fetch(statement, run_id, step_slug, step_slug)
        return [StepResult(*row) for row in rows]

    async def run_failure(self, run_id: UUID) -> RunFailure | None:
        """Return what decided that a run failed: the step, and its last failed task if there is one."""
        statement = """select run.flow_slug, state.step_slug, task.task_index,
            task.attempts_count - task.released_count,
            coalesce(task.error_message, state.error_message, run.error_message)
          from pgflow.runs as run
          left join pgflow.step_states as state on state.run_id = run.run_id and state.status = 'failed'
          left join pgflow.step_tasks as task on task.run_id = run.run_id
            and task.step_slug = state.step_slug and task.status = 'failed'
          where run.run_id = %s
          order by state.failed_at, task.failed_at desc nulls last, task.task_index limit 1"""
        rows = await self._fetch(statement, run_id)
        return RunFailure(*rows[0]) if rows else None

    async def tasks(
        self,
        run_id: UUID,
        step_slug: str,
        *,
        status: str | None = None,
        after_index: int = -1,
        limit: int = 100,
    ) -> list[TaskRecord]:
        """Return one page of a step's tasks, in the order of their index."""
        source = """from pgflow.step_tasks
          where run_id = %s and step_slug = %s and (%s::text is null or status = %s) and task_index > %s
          order by task_index limit %s"""
        return await self._read(
            TaskRecord, source, run_id, step_slug, status, status, after_index, limit
        )

    async def attempts(
        self,
        run_id: UUID,
        step_slug: str | None = None,
        task_index: int | None = None,
        *,
        limit: int = 1000,
    ) -> list[AttemptRecord]:
        """Return the attempts of a run, of a step or of a task, in the order of their start."""
        source = """from pgflow.task_attempts
          where run_id = %s and (%s::text is null or step_slug = %s) and (%s::int is null or task_index = %s)
          order by started_at, step_slug, task_index, attempt limit %s"""
        which = (run_id, step_slug, step_slug, task_index, task_index)
        return await self._read(AttemptRecord, source, *which, limit)

    async def failed_tasks(
        self, run_id: UUID | None = None, flow_slug: str | None = None, *, limit: int = 1000
    ) -> list[FailedTask]:
        """Return the tasks that failed for good, those of one step together, by index."""
        source = """from pgflow.failed_tasks
          where (%s::uuid is null or run_id = %s) and (%s::text is null or flow_slug = %s)
          order by run_id, step_slug, task_index limit %s"""
        return await self._read(FailedTask, source, run_id, run_id, flow_slug, flow_slug, limit)

    # Definitions

    async def flows(self) -> list[FlowRecord]:
        """Return all flows by slug."""
        return await self._read(FlowRecord, "from pgflow.flows order by flow_slug")

    async def flow(self, flow_slug: str) -> FlowRecord | None:
        """Return one flow."""
        return await self._read_one(FlowRecord, "from pgflow.flows where flow_slug = %s", flow_slug)

    async def flow_slugs(self) -> list[str]:
        """Return the slugs of all flows."""
        return [
            row[0] for row in await self._fetch("select flow_slug from pgflow.flows order by 1")
        ]

    async def flow_steps(self, flow_slug: str) -> list[StepRecord]:
        """Return the steps of a flow's current version, in the order of the definition."""
        source = """from (
            select step.*, array(
              select dep.dep_slug from pgflow.deps as dep
              where dep.flow_slug = step.flow_slug and dep.step_slug = step.step_slug order by 1
            ) as deps
            from pgflow.steps as step where step.flow_slug = %s
          ) as step order by step_index"""
        return await self._read(StepRecord, source, flow_slug)

    async def conditional_steps(self, flow_slug: str) -> list[str]:
        """Return the steps of a flow that have conditions, in its current version."""
        return [row[0] for row in await self._fetch(CONDITIONAL_STEPS, flow_slug)]

    async def live_runs(
        self, flow_slug: str, *, connection: AsyncConnection[Any] | None = None
    ) -> list[UUID]:
        """Return the runs of a flow that have not ended, oldest first."""
        statement = """select run_id from pgflow.runs
          where flow_slug = %s and status = 'started' order by started_at, run_id"""
        rows = await self._fetch(statement, flow_slug, connection=connection)
        return [row[0] for row in rows]

    # Workers and queues

    async def workers(self, limit: int = 100) -> list[WorkerRecord]:
        """Return the workers, the latest heartbeat first."""
        source = "from pgflow.worker_summary order by last_heartbeat_at desc, worker_id limit %s"
        return await self._read(WorkerRecord, source, limit)

    async def queues(self) -> list[QueueRecord]:
        """Return the load of all queues by name."""
        return await self._read(QueueRecord, "from pgflow.queue_summary order by queue_name")


def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))

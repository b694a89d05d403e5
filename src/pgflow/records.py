"""Rows of the database as immutable values, and the words their status columns use.

Field names are column names. `from_row` ignores columns it does not know, so that older code reads
the rows of a newer schema.
"""

# Annotations stay resolvable at run time, so that records can become JSON by their types.
# ruff: noqa: TC003

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from pgflow._rows import (
    AttemptOutcome,
    Outcome,
    RawJson,
    Row,
    RunStatus,
    StepStatus,
    TaskStatus,
    WorkerStatus,
)

__all__ = [
    "AttemptOutcome",
    "AttemptRecord",
    "FailedTask",
    "FlowRecord",
    "GrantedTask",
    "Outcome",
    "Pruned",
    "QueueRecord",
    "RawJson",
    "RunRecord",
    "RunStatus",
    "RunSummary",
    "StepRecord",
    "StepStateRecord",
    "StepStatus",
    "StepSummary",
    "TaskOutput",
    "TaskRecord",
    "TaskReport",
    "TaskStatus",
    "WorkerRecord",
    "WorkerStatus",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRecord(Row):
    """A flow as the database knows it (table flows)."""

    flow_slug: str
    opt_max_attempts: int
    opt_base_delay: int
    opt_timeout: int
    created_at: datetime
    version: int = 1
    queue_name: str | None = None
    opt_max_delay: int | None = None
    opt_jitter: float | None = None
    shape_hash: str | None = None
    redact: tuple[str, ...] | list[str] | None = None
    """Paths of values that are not shown."""
    opt_max_items: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord(Row):
    """A step as the database knows it (table steps); an absent option is inherited."""

    flow_slug: str
    step_slug: str
    step_type: str
    step_index: int
    deps_count: int
    when_unmet: str
    when_exhausted: str
    created_at: datetime
    deps: tuple[str, ...] | list[str] = ()
    opt_max_attempts: int | None = None
    opt_base_delay: int | None = None
    opt_timeout: int | None = None
    opt_start_delay: int | None = None
    opt_max_delay: int | None = None
    opt_jitter: float | None = None
    opt_queue: str | None = None
    opt_initial_tasks: int | None = None
    opt_max_failed_tasks: int | None = None
    opt_max_failed_percent: float | None = None
    opt_batch_size: int | None = None
    required_input_pattern: RawJson | None = None
    forbidden_input_pattern: RawJson | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord(Row):
    """A run (table runs)."""

    run_id: UUID
    flow_slug: str
    status: RunStatus
    remaining_steps: int
    started_at: datetime
    input: RawJson | None = None
    output: RawJson | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    cancelled_at: datetime | None = None
    cancel_reason: str | None = None
    idempotency_key: str | None = None
    flow_version: int | None = None
    error_message: str | None = None
    redact: tuple[str, ...] | list[str] | None = None
    """Paths of values that are not shown, as they were when the run started."""
    max_items: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary(Row):
    """A run with its counts (view run_summary)."""

    run_id: UUID
    flow_slug: str
    status: RunStatus
    total_steps: int
    done_steps: int
    total_tasks: int
    done_tasks: int
    failed_tasks: int
    progress: Decimal
    """Percent, 0 to 100."""
    started_at: datetime
    finished_at: datetime | None = None
    duration: timedelta | None = None
    flow_version: int | None = None
    idempotency_key: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStateRecord(Row):
    """A step of a run (table step_states)."""

    run_id: UUID
    flow_slug: str
    step_slug: str
    status: StepStatus
    remaining_deps: int
    created_at: datetime
    remaining_tasks: int | None = None
    initial_tasks: int | None = None
    failed_tasks: int | None = None
    output: RawJson | None = None
    error_message: str | None = None
    skip_reason: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    skipped_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSummary(Row):
    """A step of a run with its counts (view step_summary)."""

    run_id: UUID
    flow_slug: str
    step_slug: str
    step_index: int
    step_type: str
    status: StepStatus
    deps: list[str]
    total_tasks: int | None
    queued_tasks: int
    started_tasks: int
    completed_tasks: int
    failed_tasks: int
    retried_tasks: int
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration: timedelta | None = None
    error_message: str | None = None
    skip_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord(Row):
    """A task (table step_tasks)."""

    run_id: UUID
    flow_slug: str
    step_slug: str
    task_index: int
    status: TaskStatus
    attempts_count: int
    queued_at: datetime
    message_id: int | None = None
    input: RawJson | None = None
    output: RawJson | None = None
    error_message: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    last_worker_id: UUID | None = None
    released_count: int = 0
    progress: RawJson | None = None
    items: int | None = None
    """How many items a batch carries, the first of them at `task_index`; none for a task of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord(Row):
    """One try of a task (view task_attempts)."""

    run_id: UUID
    step_slug: str
    task_index: int
    attempt: int
    outcome: AttemptOutcome
    """`RUNNING` while the attempt runs."""
    worker_id: UUID | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: str | None = None
    details: RawJson | None = None


@dataclass(frozen=True, slots=True)
class GrantedTask(Row):
    """A task this worker may perform until its lease ends."""

    flow_slug: str
    run_id: UUID
    step_slug: str
    task_index: int
    attempt: int
    """The fence: reports with an older one change nothing."""
    input: RawJson
    """A map's element, or {dependency: output} of a single step."""
    flow_input: RawJson | None
    """The run's input, for root steps only."""
    msg_id: int
    queue_name: str
    step_type: str
    tries: int
    """Attempts that count, this one included."""
    max_attempts: int
    timeout: int
    """Seconds."""
    exhausted: bool
    """Its lease expired too often: report it as lost, never run it."""
    deferred: tuple[str, ...] | list[str] = ()
    """Dependencies whose output is too large for `input`; read them in pages."""
    items: int | None = None
    """How many items a batch carries, from `task_index` on: `input` is their array, and so is the output."""
    losses: int = 0
    """How many workers have died with it."""


@dataclass(frozen=True, slots=True)
class TaskReport(Row):
    """The database's answer to one reported task."""

    run_id: UUID
    step_slug: str
    task_index: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class TaskOutput(Row):
    """One task's output, as read in pages."""

    task_index: int
    output: RawJson | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTask(Row):
    """A task that failed for good (view failed_tasks)."""

    run_id: UUID
    flow_slug: str
    step_slug: str
    task_index: int
    attempts_count: int
    input: RawJson | None = None
    error_message: str | None = None
    failed_at: datetime | None = None
    last_worker_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord(Row):
    """A worker process (view worker_summary)."""

    worker_id: UUID
    function_name: str
    queue_names: list[str]
    status: WorkerStatus
    started_at: datetime
    last_heartbeat_at: datetime
    heartbeat_age_seconds: float
    tasks_started: int
    tasks_completed: int
    hostname: str | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRecord(Row):
    """A queue's load (view queue_summary)."""

    queue_name: str
    visible: int
    in_flight_or_delayed: int
    total: int
    oldest_age_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned(Row):
    """How much pruning has deleted."""

    runs: int = 0
    messages: int = 0
    """Archived and quarantined ones."""
    workers: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        """Return the sum."""
        return Pruned(
            runs=self.runs + other.runs,
            messages=self.messages + other.messages,
            workers=self.workers + other.workers,
        )

    def __bool__(self) -> bool:
        """Tell whether anything was deleted."""
        return self.runs + self.messages + self.workers > 0

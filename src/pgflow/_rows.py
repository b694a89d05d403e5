"""What all records share: the words of status columns, raw JSON, and reading a row."""

from __future__ import annotations

from dataclasses import MISSING, fields
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, Self, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class RunStatus(StrEnum):
    """State of a run."""

    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Tell whether the run has ended."""
        return self is not RunStatus.STARTED


class StepStatus(StrEnum):
    """State of a step in a run."""

    CREATED = "created"
    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"

    @property
    def is_final(self) -> bool:
        """Tell whether the step has ended."""
        return self not in {StepStatus.CREATED, StepStatus.STARTED}


class TaskStatus(StrEnum):
    """State of a task."""

    QUEUED = "queued"
    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"


class WorkerStatus(StrEnum):
    """Liveness of a worker, as its heartbeat tells."""

    RUNNING = "running"
    STOPPED = "stopped"
    DEAD = "dead"


class Outcome(StrEnum):
    """What the database answers to a report about a task."""

    ACCEPTED = "accepted"
    ALREADY_ACCEPTED = "already_accepted"
    STALE = "stale"
    FINISHED = "finished"


class AttemptOutcome(StrEnum):
    """How an attempt ended; its details say why it failed (error, timeout, encoding, crash)."""

    COMPLETED = "completed"
    FAILED = "failed"
    LOST = "lost"
    """Its lease expired: the worker died, hung, or lost its connection."""
    RELEASED = "released"
    """Handed back by its worker; does not count against the limit."""
    REQUEUED = "requeued"
    """Taken back by requeue_stalled_tasks."""
    RUNNING = "started"


class RawJson(bytes):
    """JSON text as the server sent it; parsed only when somebody asks.

    >>> RawJson(b'{"sent": true}').parse()
    {'sent': True}
    """

    __slots__ = ()

    def parse(self) -> Any:
        """Return plain Python data."""
        from json import loads  # noqa: PLC0415 - keeps `import pgflow` light

        return loads(self)


class Row:
    """Base of all records."""

    __slots__ = ()

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Build the record from a row's columns; status texts become enums."""
        return cls(
            **{
                name: row[name] if convert is None or row[name] is None else convert(row[name])
                for name, convert, required in _columns(cast("Any", cls))
                if required or name in row
            }
        )


@cache
def _columns(kind: Any) -> tuple[tuple[str, Callable[[Any], Any] | None, bool], ...]:
    enums: dict[str, Callable[[Any], Any]] = {
        kind.__name__: kind for kind in (RunStatus, StepStatus, TaskStatus, WorkerStatus, Outcome)
    }
    return tuple(
        (
            field.name,
            enums.get(str(field.type).removesuffix(" | None")),
            field.default is MISSING and field.default_factory is MISSING,
        )
        for field in fields(kind)
    )

"""pgflow's account of the runs, by SQL over its views and tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

SLOWEST = Path(__file__).with_name("slowest.sql")
STEPS = (
    "select step_slug, status, output from pgflow.step_states where run_id = %s order by step_index"
)
ATTEMPTS = """
select attempt.step_slug, row_number() over (partition by attempt.step_slug order by attempt.attempt),
  attempt.started_at, attempt.ended_at, attempt.outcome, attempt.error
from pgflow.task_attempts as attempt
where attempt.run_id = %s
order by attempt.started_at, attempt.attempt
"""


@dataclass(frozen=True)
class Attempt:
    """One try at a step."""

    step: str
    number: int
    started_at: datetime
    ended_at: datetime
    outcome: str
    error: str | None

    @property
    def seconds(self) -> tuple[float, float]:
        """Return beginning and end in seconds since 1970."""
        return self.started_at.timestamp(), self.ended_at.timestamp()


@dataclass(frozen=True)
class Account:
    """What pgflow recorded of one run."""

    run_id: UUID
    statuses: dict[str, str]
    outputs: dict[str, Any]
    attempts: list[Attempt]

    def of(self, step: str) -> list[Attempt]:
        """Return the attempts of a step."""
        return [attempt for attempt in self.attempts if attempt.step == step]

    @classmethod
    def read(cls, dsn: str, run_id: UUID) -> Account:
        """Read a run that has ended."""
        with psycopg.connect(dsn) as connection:
            steps = connection.execute(STEPS, [run_id]).fetchall()
            attempts = connection.execute(ATTEMPTS, [run_id]).fetchall()
        return cls(
            run_id,
            {slug: status for slug, status, _ in steps},
            {slug: output for slug, _, output in steps if output is not None},
            [Attempt(*row) for row in attempts],
        )


@dataclass(frozen=True)
class Speed:
    """How long a service takes."""

    service: str
    calls: int
    median: float
    longest: float


def speeds(dsn: str) -> list[Speed]:
    """Return the services, the slowest first."""
    with psycopg.connect(dsn) as connection:
        return [Speed(*row) for row in connection.execute(SLOWEST.read_bytes())]

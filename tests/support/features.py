"""Runs a flow to its end for tests of features, with one worker in the test's own process."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pgflow import Worker
from tests.support.worker_processes import start

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from pgflow import Flow
    from pgflow.database import Database
    from pgflow.records import AttemptRecord, RunRecord, StepSummary

PATIENCE = 60.0


async def perform(db: Database, flow: Flow[Any], run_input: object = None) -> RunRecord:
    """Start a run, work until it has ended, return it."""
    return await resume(db, flow, await start(db, flow, run_input))


async def resume(db: Database, flow: Flow[Any], run_id: UUID) -> RunRecord:
    """Work until a run has ended and return it."""
    async with asyncio.timeout(PATIENCE):
        await Worker(db, flow).run_until(run_id)
    run = await db.run(run_id)
    assert run is not None
    return run


def output(run: RunRecord) -> Any:
    """Return the output of a run, which must have completed."""
    assert run.status == "completed", run.error_message
    return None if run.output is None else run.output.parse()


async def steps_of(db: Database, run: RunRecord) -> dict[str, StepSummary]:
    """Return the steps of a run by slug."""
    return {step.step_slug: step for step in await db.steps(run.run_id)}


def span(attempt: AttemptRecord) -> tuple[datetime, datetime]:
    """Return when an attempt started and ended, as recorded."""
    assert attempt.started_at is not None
    assert attempt.ended_at is not None
    return attempt.started_at, attempt.ended_at


def delays(attempts: Sequence[AttemptRecord]) -> list[float]:
    """Return the recorded seconds between the end of each attempt and the start of the next."""
    spans = [span(attempt) for attempt in attempts]
    return [(later[0] - earlier[1]).total_seconds() for earlier, later in pairwise(spans)]

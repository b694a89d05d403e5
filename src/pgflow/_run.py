"""Run: the handle of one execution, to wait for it, look at it and steer it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, overload

from psycopg import errors as server

from pgflow._result import Result, decoded
from pgflow.codec import Where, decode_json
from pgflow.database import is_transient
from pgflow.errors import (
    RunCancelled,
    RunFailed,
    RunNotFound,
    UsageError,
    WaitTimeout,
    did_you_mean,
)
from pgflow.flow import Flow
from pgflow.listener import RESYNC, EventStream, Listener, RunEvent
from pgflow.records import RunStatus, StepStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from decimal import Decimal
    from uuid import UUID

    from pgflow._reads import StepResult
    from pgflow.database import Database
    from pgflow.flow import Step
    from pgflow.records import RawJson, RunRecord, RunSummary, StepSummary

T = TypeVar("T")

# While notifications arrive, polling only covers what they may lose; else it is all there is.
LISTENING_POLL = 2.0
FIRST_POLL = 0.005
LAST_POLL = 0.5
PAGE = 1000
OUTAGE = 60.0
"""A server that is gone for longer ends the waiting."""

_TIMES = ("started_at", "completed_at", "failed_at", "skipped_at", "cancelled_at")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    percent: Decimal
    """0 to 100: each step counts the same, one that runs by its share of tasks that are over."""
    run: RunSummary
    steps: dict[str, StepSummary]
    """Counts of each step, in the order of the definition."""


class Run:
    """The handle of a run; holds no state but its id.

    >>> run = await client.start(campaign, Campaign(campaign_id=123))
    >>> result = await run.result(timeout=60)
    >>> result[track_results]
    """

    def __init__(self, database: Database, run_id: UUID, flow: Flow[Any] | str) -> None:
        self._database = database
        self.id = run_id
        self.flow = flow if isinstance(flow, Flow) else None
        self.flow_slug = flow.slug if isinstance(flow, Flow) else flow

    def __repr__(self) -> str:
        return f"<Run {self.id} of {self.flow_slug}>"

    async def status(self) -> RunStatus:
        """Return the run's status."""
        return _found(await self._database.run_status(self.id), self.id)

    async def summary(self) -> RunSummary:
        """Return the run with its counts."""
        return _found(await self._database.run_summary(self.id), self.id)

    async def progress(self) -> Progress:
        """Return how far the run is: percent, and the counts of each step."""
        run, steps = await self.summary(), await self._database.steps(self.id)
        return Progress(run.progress, run, {step.step_slug: step for step in steps})

    async def wait(self, timeout: float | None = None) -> RunSummary:  # noqa: ASYNC109 - raises more than it would
        """Return when the run has completed.

        Raises RunFailed, RunCancelled, or WaitTimeout after `timeout` seconds; the run goes on.
        """
        return await self._ended(await self._within(timeout, self._end()))

    async def watch(self, timeout: float | None = None) -> RunSummary:  # noqa: ASYNC109 - as for wait
        """Show the run on standard output while it works, then do as `wait` does.

        A terminal gets a tree with progress, retries and time left, anything else a line for each change.

        >>> run = await client.start(campaign, Campaign(campaign_id=123))
        >>> await run.watch()
        """
        from pgflow.live.follow import watch  # noqa: PLC0415 - loads rich

        snapshot = await self._within(timeout, watch(self._database, self.id))
        return await self._ended(snapshot.run.status)

    async def _within(self, limit: float | None, ending: Awaitable[T]) -> T:
        """Await the end of the run, or raise WaitTimeout."""
        try:
            async with asyncio.timeout(limit):
                return await ending
        except TimeoutError as error:
            message = f"run {self.id} of flow {self.flow_slug} has not ended within {limit:g} s"
            hint = f"It goes on. See why it waits: pgflow show {self.id}"
            raise WaitTimeout(message, hint=hint) from error

    async def _ended(self, status: RunStatus) -> RunSummary:
        """Raise as the run's end asks for, or return the run."""
        if status is RunStatus.FAILED:
            failure = _found(await self._database.run_failure(self.id), self.id)
            raise RunFailed(self.id, *failure)
        if status is RunStatus.CANCELLED:
            run = _found(await self._database.run(self.id), self.id)
            raise RunCancelled(self.id, self.flow_slug, run.cancel_reason)
        return await self.summary()

    async def output(self) -> Any:
        """Return the output of the run as plain JSON data, or nothing while there is none."""
        run = _found(await self._database.run(self.id), self.id)
        if run.output is None:
            return None
        opened = self._database.vault.open_outputs(run.output, Where(self.flow_slug))
        return decode_json(opened)

    async def result(self, timeout: float | None = None) -> Result:  # noqa: ASYNC109 - as for wait
        """Wait, then return the outputs of the leaf steps; raises what `wait` raises."""
        run = await self.wait(timeout)
        leaves = await self._database.step_results(self.id)
        outputs = {
            leaf.step_slug: await self._opened(leaf)
            for leaf in leaves
            if leaf.status == StepStatus.COMPLETED
        }
        skipped = frozenset(leaf.step_slug for leaf in leaves) - outputs.keys()
        return Result(run, outputs, skipped=skipped, flow=self.flow)

    @overload
    async def output_of(self, step: Step[T]) -> T: ...
    @overload
    async def output_of(self, step: str) -> Any: ...
    async def output_of(self, step: Step[Any] | str) -> Any:
        """Return the output of a step that has completed, be it a leaf or not, also while the run goes on.

        Raises UsageError for a step that has given none, and RunNotFound.

        >>> emails = await run.output_of(fetch_subscribers)      # typed by the step
        """
        slug = step if isinstance(step, str) else step.slug
        found = await self._database.step_results(self.id, slug)
        if not found:
            known = (await self.progress()).steps
            raise UsageError(f"the run has no step '{slug}'{did_you_mean(slug, known)}")
        if found[0].status != StepStatus.COMPLETED:
            raise UsageError(f"step {slug} is {found[0].status}, so it has no output")
        return decoded(await self._opened(found[0]), step, self.flow)

    async def cancel(self, reason: str | None = None) -> RunRecord:
        """Cancel the run: what is queued never starts, what runs is not waited for."""
        return await steered(self._database.cancel_run(self.id, reason), self.id)

    async def retry(self, step: str | None = None) -> RunRecord:
        """Work again on what failed; the steps behind it run again, everything else stays."""
        return await steered(self._database.retry_run(self.id, step), self.id)

    async def events(self) -> AsyncIterator[RunEvent]:
        """Yield the transitions so far, then those to come, in order, until the run ends.

        Each comes once. Those that were not heard live are told from the tables, without outputs.
        """
        stream = Listener.of(self._database).events(self.id)
        seen: set[tuple[str, str | None, datetime | None]] = set()
        event: RunEvent | None = RunEvent(RESYNC, self.id)
        while True:
            if event is None or event.event_type == RESYNC:
                heard = await self._history()
            else:
                heard = [event]
            for one in heard:
                identity = (one.event_type, one.step_slug, _time_of(one))
                if identity in seen:
                    continue
                seen.add(identity)
                yield one
                if one.event_type.startswith("run:") and one.status != RunStatus.STARTED:
                    return
            event = await stream.next(LISTENING_POLL)

    async def _end(self) -> RunStatus:
        stream = Listener.of(self._database).events(self.id)
        pause = FIRST_POLL
        while not (status := await in_spite_of_outages(self.status)).is_final:
            if Listener.of(self._database).is_listening():
                await self._heard_of_run(stream)
            else:
                await stream.next(pause)
                pause = min(LAST_POLL, pause * 1.5)
        return status

    async def _heard_of_run(self, stream: EventStream) -> None:
        """Wait for an event of the run itself, a while at most."""
        until = asyncio.get_running_loop().time() + LISTENING_POLL
        while (rest := until - asyncio.get_running_loop().time()) > 0:
            event = await stream.next(rest)
            if event is None or not event.event_type.startswith("step:"):
                return

    async def _history(self) -> list[RunEvent]:
        run = await self.summary()
        steps = await self._database.steps(self.id)
        told: list[tuple[datetime, int, str, str | None, str]] = [
            (run.started_at, -1, "run", None, "started")
        ]
        for step in steps:
            # An empty map starts and completes at once, and has no event for its start.
            if step.started_at is not None and step.started_at != step.finished_at:
                told.append((step.started_at, step.step_index, "step", step.step_slug, "started"))
            if step.finished_at is not None:
                told.append(
                    (step.finished_at, step.step_index, "step", step.step_slug, step.status)
                )
        told.sort(key=lambda event: event[:2])
        if run.finished_at is not None:
            told.append((run.finished_at, 0, "run", None, run.status))
        return [
            RunEvent(f"{kind}:{status}", self.id, slug, str(status), _payload(self, status, at))
            for at, _, kind, slug, status in told
        ]

    async def _opened(self, step: StepResult) -> RawJson | list[RawJson | None] | None:
        if step.is_deferred:
            return await self._all_items(step.step_slug)
        where = Where(self.flow_slug, step.step_slug)
        return step.output and self._database.vault.open(step.output, where)

    async def _all_items(self, step_slug: str) -> list[RawJson | None]:
        items: list[RawJson | None] = []
        vault, where = self._database.vault, Where(self.flow_slug, step_slug)
        after = -1
        while page := await self._database.step_output(self.id, step_slug, after, PAGE):
            items += [task.output and vault.open(task.output, where) for task in page]
            after = page[-1].task_index
        return items


async def in_spite_of_outages(read: Callable[[], Awaitable[T]]) -> T:
    """Read again and again while the server is gone, for OUTAGE seconds at most."""
    until = asyncio.get_running_loop().time() + OUTAGE
    while True:
        try:
            return await read()
        except Exception as error:
            if not is_transient(error) or asyncio.get_running_loop().time() > until:
                raise
        await asyncio.sleep(LAST_POLL)


async def steered(call: Awaitable[RunRecord | None], run_id: UUID) -> RunRecord:
    """Await a call that changes a run; RunNotFound, or UsageError when the database refuses."""
    try:
        return _found(await call, run_id)
    except (server.RaiseException, server.ObjectNotInPrerequisiteState) as error:
        hint = error.diag.message_hint
        raise UsageError(error.diag.message_primary or str(error), hint=hint) from error


def _payload(run: Run, status: str, at: datetime) -> dict[str, Any]:
    return {
        "run_id": str(run.id),
        "flow_slug": run.flow_slug,
        "status": status,
        f"{status}_at": at.isoformat(),
    }


def _time_of(event: RunEvent) -> datetime | None:
    text = event.payload.get(f"{event.status}_at")
    return datetime.fromisoformat(text) if isinstance(text, str) else None


def _found(value: T | None, run_id: UUID) -> T:
    if value is None:
        raise RunNotFound(run_id)
    return value

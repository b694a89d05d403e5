"""Sends a batch of outcomes to the database, and repeats each call until the database has answered.

A report carries its task's fence, so repeating one whose reply was lost answers `already_accepted`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from pgflow._backoff import Backoff
from pgflow._crashpoints import crash_point
from pgflow._logs import first_line
from pgflow.database import UPGRADE_REPEATS, is_transient, is_upgrade
from pgflow.errors import EncodingError
from pgflow.handlers import (
    Completed,
    Failed,
    InDoubt,
    Released,
    Settled,
    Split,
    failure,
    log_fields,
)
from pgflow.records import Outcome as Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from pgflow.database import Database
    from pgflow.handlers import Execution, Outcome
    from pgflow.records import GrantedTask, TaskReport

    Entry = tuple[Execution, Outcome]
    Send = Callable[[Sequence[Execution], Sequence[Any]], Awaitable[list[TaskReport]]]

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
"""Seconds between two calls to a server that does not answer, at most; chance makes each shorter."""

_log = logging.getLogger("pgflow.worker")


@dataclass(slots=True)
class Statistics:
    """What a worker has done since it started."""

    claimed: int = 0
    completed: int = 0
    failed: int = 0
    released: int = 0
    stale: int = 0
    """Reports that changed nothing: another grant, or the end of the run, came first."""
    repeated: int = 0
    """Calls repeated because the server, or the way to it, failed."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """How a completion brings its worker the tasks that it makes ready."""

    worker_id: UUID
    queues: Sequence[str]
    keys: Sequence[str] | None
    lease: int
    reserve: Callable[[Sequence[Execution]], int]
    """Keeps room for what the report of these may bring, and tells how much."""
    release: Callable[[int], None]
    """Gives that room up, once the answer is there."""
    accept: Callable[[Sequence[GrantedTask], float], None]
    """Takes what was granted, and since when it is leased."""
    learn: Callable[[Sequence[GrantedTask], float], Awaitable[None]] | None = None
    """Reads what `accept` has to know about them, until that moment at most."""


class Sender:
    """Makes one call a kind of outcome."""

    def __init__(
        self,
        database: Database,
        statistics: Statistics,
        hand_over: HandOver,
        *,
        delayed: Callable[[], None],
    ) -> None:
        self._database = database
        self._statistics = statistics
        self._hand_over = hand_over
        self._delayed = delayed
        """Called when tasks are due again later."""

    async def send(self, batch: Sequence[Entry]) -> None:
        """Report a batch; returns when the database has answered for all of it, or refused it."""
        completed: list[Entry] = []
        failed: list[Entry] = []
        released: list[Entry] = []
        split: list[Entry] = []
        for entry in batch:
            match entry[1]:
                case Completed():
                    completed.append(entry)
                case Failed(error):
                    execution = entry[0]
                    fields = log_fields(execution.task)
                    _log.warning("%s failed: %s", execution.context, error, extra=fields)
                    failed.append(entry)
                case Released():
                    released.append(entry)
                case Split(results):
                    _log_items(entry[0], results)
                    split.append(entry)
                case Settled(verdict):
                    self._count(entry, verdict)
                case InDoubt():
                    await self._resolve(entry)
        failed += await self._send(completed, self._complete)
        failed += await self._send(split, self._split)
        for entry in await self._send(failed, self._fail):
            _log.error(
                "the failure of %s could not be recorded; the lease will tell",
                entry[0].context,
                extra=log_fields(entry[0].task),
            )
        await self._send(released, self._release)
        if failed or released or split:
            self._delayed()

    async def _complete(
        self, executions: Sequence[Execution], outcomes: Sequence[Completed]
    ) -> list[TaskReport]:
        crash_point("before_complete")
        outputs = [outcome.output for outcome in outcomes]
        more = self._hand_over
        room = more.reserve(executions)
        if room:
            begin = time.monotonic()
            try:
                reports, granted = await self._database.complete_and_claim(
                    *columns(executions),
                    outputs,
                    worker_id=more.worker_id,
                    queue_names=more.queues,
                    qty=room,
                    lease=more.lease,
                    handlers=more.keys,
                )
                if granted and more.learn is not None:
                    await more.learn(granted, begin + more.lease / 2)
            finally:
                more.release(room)
            more.accept(granted, begin)
        else:
            reports = await self._database.complete_tasks(*columns(executions), outputs)
        crash_point("after_complete")
        return reports

    async def _fail(
        self, executions: Sequence[Execution], outcomes: Sequence[Failed]
    ) -> list[TaskReport]:
        crash_point("before_fail")
        return await self._database.fail_tasks(
            *columns(executions),
            [outcome.error for outcome in outcomes],
            [orjson.dumps(outcome.details).decode() for outcome in outcomes],
        )

    async def _split(
        self, executions: Sequence[Execution], outcomes: Sequence[Split]
    ) -> list[TaskReport]:
        crash_point("before_split")
        return await self._database.split_batches(
            *columns(executions), [outcome.encode() for outcome in outcomes]
        )

    async def _release(
        self, executions: Sequence[Execution], outcomes: Sequence[Released]
    ) -> list[TaskReport]:
        reports: list[TaskReport] = []
        for delay in {outcome.delay for outcome in outcomes}:
            pairs = zip(executions, outcomes, strict=True)
            alike = [execution for execution, outcome in pairs if outcome.delay == delay]
            reports += await self._database.release_tasks(*columns(alike), delay)
        return reports

    async def _send(self, entries: list[Entry], send: Send) -> list[Entry]:
        """Send entries, in halves where the server refuses a value; return completions turned into failures."""
        if not entries:
            return []
        executions = [entry[0] for entry in entries]
        tasks: list[GrantedTask] = []

        def call() -> Awaitable[list[TaskReport]]:
            tasks[:] = [execution.task for execution in executions]
            return send(executions, [entry[1] for entry in entries])

        try:
            reports = await self.repeat(call)
        except Exception as error:  # noqa: BLE001 - what the server refuses is found by halving
            if len(entries) > 1:
                middle = len(entries) // 2
                refused = await self._send(entries[:middle], send)
                return refused + await self._send(entries[middle:], send)
            execution = entries[0][0]
            discreet = execution.context.redaction is not None
            _log.error(
                "the database refused the report of %s",
                execution.context,
                extra=log_fields(execution.task),
                exc_info=None if discreet else error,
            )
            # The server's words may quote what it refused.
            reason = type(error).__name__ if discreet else str(error)
            return [(execution, failure(EncodingError(f"the database refused it: {reason}")))]
        if any(
            execution.task is not task for execution, task in zip(executions, tasks, strict=True)
        ):
            # Granted anew to this worker while the call was under way: a repeat under the new fence tells.
            return await self._send(entries, send)
        self._tally(entries, reports)
        return []

    async def repeat(self, call: Callable[[], Awaitable[list[TaskReport]]]) -> list[TaskReport]:
        """Make a call, again and again while the server or the way to it fails."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                return await call()
            except Exception as error:
                is_passing = is_upgrade(error) and backoff.pauses < UPGRADE_REPEATS
                if not (is_passing or is_transient(error)):
                    raise
                self._statistics.repeated += 1
                _log.warning("a report failed and will be repeated: %s", first_line(error))
            await asyncio.sleep(backoff.next())

    async def _resolve(self, entry: Entry) -> None:
        """Learn whether a transaction whose commit got no reply has committed.

        If the grant still stands it has not: the completion would have ended it.
        """
        execution = entry[0]
        try:
            reports = await self.repeat(
                lambda: self._database.extend_leases(*columns([execution]), 1)
            )
        except Exception:  # noqa: BLE001 - the lease will tell
            _log.exception(
                "the commit of %s stays in doubt",
                execution.context,
                extra=log_fields(execution.task),
            )
            return
        if reports and reports[0].outcome is Verdict.ACCEPTED:
            await self._send([(execution, Released(1))], self._release)
        else:
            self._statistics.completed += 1

    def _tally(self, entries: Sequence[Entry], reports: Sequence[TaskReport]) -> None:
        odd = {
            (report.run_id, report.step_slug, report.task_index): report.outcome
            for report in reports
            if report.outcome is not Verdict.ACCEPTED
        }
        for entry in entries:
            verdict = Verdict.ACCEPTED
            if odd:
                task = entry[0].task
                key = (task.run_id, task.step_slug, task.task_index)
                verdict = odd.get(key, Verdict.ACCEPTED)
            self._count(entry, verdict)

    def _count(self, entry: Entry, verdict: Verdict) -> None:
        execution, outcome = entry
        statistics = self._statistics
        if verdict in {Verdict.STALE, Verdict.FINISHED}:
            statistics.stale += 1
            _log.warning(
                "%s is %s: nothing that it did counts any more",
                execution.context,
                verdict,
                extra=log_fields(execution.task),
            )
            return
        match outcome:
            case Completed() | Settled():
                statistics.completed += execution.task.items or 1
            case Failed():
                statistics.failed += execution.task.items or 1
            case Released():
                statistics.released += execution.task.items or 1
            case Split(results):
                statistics.completed += sum(isinstance(item, Completed) for item in results)
                statistics.failed += sum(isinstance(item, Failed) for item in results)
                statistics.released += sum(isinstance(item, Released) for item in results)
            case _:
                pass


def _log_items(execution: Execution, results: Sequence[object]) -> None:
    for index, result in enumerate(results, execution.task.task_index):
        if isinstance(result, Failed):
            fields = log_fields(execution.task) | {"task": index}
            _log.warning(
                "%s, item %d failed: %s", execution.context, index, result.error, extra=fields
            )


def columns(executions: Sequence[Execution]) -> tuple[list[Any], list[str], list[int], list[int]]:
    """Return the tasks' keys and fences as the set functions take them."""
    tasks = [execution.task for execution in executions]
    return (
        [task.run_id for task in tasks],
        [task.step_slug for task in tasks],
        [task.task_index for task in tasks],
        [task.attempt for task in tasks],
    )

"""The worker's half of `Database`: claiming and reporting tasks, always in batches.

Reports carry parallel sequences, one element a task. A report may be repeated: a commit whose reply
was lost answers `already_accepted`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgflow._calls import Calls
from pgflow._pool import fetch_sync
from pgflow.records import GrantedTask, Outcome, TaskReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from uuid import UUID

    from psycopg import AsyncConnection, Connection

    from pgflow._pool import Rows

MAX_BATCH_BYTES = 128 * 1024 * 1024
"""Outputs of one statement; PostgreSQL refuses messages beyond 1 GB."""

_OUTCOMES = {outcome.value: outcome for outcome in Outcome}

_GRANTED = """flow_slug, run_id, step_slug, task_index, attempt, input, flow_input, msg_id, queue_name,
    step_type, tries, max_attempts, timeout, exhausted, deferred, items,
    case when recovered then pgflow.task_losses(run_id, step_slug, task_index) else 0 end"""
_CLAIM = f"""select {_GRANTED}
  from pgflow.claim_tasks(%s::text, %s::uuid, %s::int, %s::int, %s::text[])"""  # noqa: S608 - our own words
_COMPLETE_AND_CLAIM = f"""select outcome, {_GRANTED}
  from pgflow.complete_and_claim(%s::uuid[], %s::text[], %s::int[], %s::int[], %s::jsonb[],
    %s::uuid, %s::text[], %s::int, %s::int, %s::text[])"""  # noqa: S608 - our own words
_COMPLETE = """select run_id, step_slug, task_index, outcome
  from pgflow.complete_tasks(%s::uuid[], %s::text[], %s::int[], %s::int[], %s::jsonb[])"""


class Tasks(Calls):
    """Calls about tasks; `connection=` puts one into the caller's transaction."""

    async def claim_tasks(
        self,
        queue_name: str,
        worker_id: UUID,
        qty: int,
        lease: int = 30,
        handlers: Sequence[str] | None = None,
        *,
        connection: AsyncConnection[Any] | None = None,
    ) -> list[GrantedTask]:
        """Claim up to `qty` tasks for `lease` seconds; `handlers` limits them to what can be run."""
        known = None if handlers is None else text_array(handlers)
        rows = await self._call(
            _CLAIM, queue_name, worker_id, qty, lease, known, connection=connection
        )
        return [GrantedTask(*row) for row in rows]

    async def complete_tasks(
        self,
        run_ids: Sequence[UUID],
        step_slugs: Sequence[str],
        task_indexes: Sequence[int],
        attempts: Sequence[int | None],
        outputs: Sequence[str | None],
        *,
        connection: AsyncConnection[Any] | None = None,
    ) -> list[TaskReport]:
        """Complete tasks with outputs (JSON text); in several calls when these are very large."""
        reports: list[TaskReport] = []
        for part in _parts_of(outputs):
            tasks = _tasks(run_ids[part], step_slugs[part], task_indexes[part], attempts[part])
            rows = await self._call(
                _COMPLETE, *tasks, text_array(outputs[part]), connection=connection
            )
            reports += _reports(rows)
        return reports

    async def complete_and_claim(  # noqa: PLR0917 - the SQL function's parameters
        self,
        run_ids: Sequence[UUID],
        step_slugs: Sequence[str],
        task_indexes: Sequence[int],
        attempts: Sequence[int | None],
        outputs: Sequence[str | None],
        worker_id: UUID,
        queue_names: Sequence[str],
        qty: int,
        lease: int = 30,
        handlers: Sequence[str] | None = None,
    ) -> tuple[list[TaskReport], list[GrantedTask]]:
        """Complete tasks and claim up to `qty` of those that become ready by it, in one transaction.

        Returns the reports that were not accepted, and what was granted. Grants of a call whose reply was
        lost come back when their lease ends, as those of a lost claim do.
        """
        known = None if handlers is None else text_array(handlers)
        queues = text_array(queue_names)
        reports: list[TaskReport] = []
        granted: list[GrantedTask] = []
        for part in _parts_of(outputs):
            tasks = _tasks(run_ids[part], step_slugs[part], task_indexes[part], attempts[part])
            room = max(0, qty - len(granted))
            rows = await self._call(
                _COMPLETE_AND_CLAIM,
                *tasks,
                text_array(outputs[part]),
                *(worker_id, queues, room, lease, known),
            )
            for outcome, *row in rows:
                if outcome is None:
                    granted.append(GrantedTask(*row))
                else:
                    reports.append(TaskReport(row[1], row[2], row[3], _OUTCOMES[outcome]))
        return reports, granted

    async def next_due(
        self, queue_names: Sequence[str], handlers: Sequence[str] | None = None
    ) -> float | None:
        """Return the seconds until the next message of these queues is due: 0 if one is, None if there is none."""
        statement = "select pgflow.next_due(%s::text[], %s::text[])"
        known = None if handlers is None else text_array(handlers)
        rows = await self._call(statement, text_array(queue_names), known)
        seconds: float | None = rows[0][0]
        return seconds

    async def share_tasks(
        self,
        run_ids: Sequence[UUID],
        step_slugs: Sequence[str],
        task_indexes: Sequence[int],
        attempts: Sequence[int | None],
    ) -> int:
        """Tell that a worker performs recovered tasks beside others, so that its death does not count against them.

        Returns how many of the grants, told by their fences (`attempts`), still stand.
        """
        statement = "select pgflow.share_tasks(%s::uuid[], %s::text[], %s::int[], %s::int[])"
        tasks = _tasks(run_ids, step_slugs, task_indexes, attempts)
        return int((await self._call(statement, *tasks))[0][0])

    async def fail_tasks(  # noqa: PLR0917 - the SQL function's parameters
        self,
        run_ids: Sequence[UUID],
        step_slugs: Sequence[str],
        task_indexes: Sequence[int],
        attempts: Sequence[int | None],
        errors: Sequence[str],
        details: Sequence[str | None] | None = None,
        *,
        connection: AsyncConnection[Any] | None = None,
    ) -> list[TaskReport]:
        """Fail tasks; what PostgreSQL cannot store in an error text is replaced, so this always works."""
        statement = """select run_id, step_slug, task_index, outcome
          from pgflow.fail_tasks(%s::uuid[], %s::text[], %s::int[], %s::int[], %s::text[], %s::jsonb[])"""
        tasks = _tasks(run_ids, step_slugs, task_indexes, attempts)
        texts = text_array([_storable(error) for error in errors])
        known = None if details is None else text_array(details)
        return _reports(await self._call(statement, *tasks, texts, known, connection=connection))

    async def split_batches(
        self,
        run_ids: Sequence[UUID],
        step_slugs: Sequence[str],
        task_indexes: Sequence[int],
        attempts: Sequence[int | None],
        results: Sequence[str],
        *,
        connection: AsyncConnection[Any] | None = None,
    ) -> list[TaskReport]:
        """Report batches item by item; each result is the JSON text of an array.

        It has for each item in order `{"output": ...}`, `{"error": "...", "details": {...}}` or
        `{"released": true}`.
        """
        statement = """select run_id, step_slug, task_index, outcome
          from pgflow.split_batches(%s::uuid[], %s::text[], %s::int[], %s::int[], %s::jsonb[])"""
        reports: list[TaskReport] = []
        for part in _parts_of(results):
            tasks = _tasks(run_ids[part], step_slugs[part], task_indexes[part], attempts[part])
            texts = text_array(results[part])
            reports += _reports(await self._call(statement, *tasks, texts, connection=connection))
        return reports

    async def extend_leases(
        self,
        run_ids: Sequence[UUID],
        step_slugs: Sequence[str],
        task_indexes: Sequence[int],
        attempts: Sequence[int | None],
        lease: int = 30,
        *,
        connection: AsyncConnection[Any] | None = None,
    ) -> list[TaskReport]:
        """Hold granted tasks for another `lease` seconds."""
        statement = """select run_id, step_slug, task_index, outcome
          from pgflow.extend_leases(%s::uuid[], %s::text[], %s::int[], %s::int[], %s::int)"""
        tasks = _tasks(run_ids, step_slugs, task_indexes, attempts)
        return _reports(await self._fetch(statement, *tasks, lease, connection=connection))

    async def release_tasks(
        self,
        run_ids: Sequence[UUID],
        step_slugs: Sequence[str],
        task_indexes: Sequence[int],
        attempts: Sequence[int | None],
        delay: int = 0,
        *,
        connection: AsyncConnection[Any] | None = None,
    ) -> list[TaskReport]:
        """Hand tasks back without spending an attempt, to be claimed again after `delay` seconds."""
        statement = """select run_id, step_slug, task_index, outcome
          from pgflow.release_tasks(%s::uuid[], %s::text[], %s::int[], %s::int[], %s::int)"""
        tasks = _tasks(run_ids, step_slugs, task_indexes, attempts)
        return _reports(await self._call(statement, *tasks, delay, connection=connection))

    async def report_progress(
        self, run_id: UUID, step_slug: str, task_index: int, attempt: int, progress: str
    ) -> bool:
        """Store a task's progress (JSON text); false when the attempt no longer counts."""
        statement = "select pgflow.report_progress(%s::uuid, %s::text, %s::int, %s::int, %s::jsonb)"
        rows = await self._fetch(statement, run_id, step_slug, task_index, attempt, progress)
        return bool(rows[0][0])


def complete_tasks_on(  # noqa: PLR0917 - the SQL function's parameters
    connection: Connection[Any],
    run_ids: Sequence[UUID],
    step_slugs: Sequence[str],
    task_indexes: Sequence[int],
    attempts: Sequence[int | None],
    outputs: Sequence[str | None],
) -> list[TaskReport]:
    """Complete tasks in the transaction of a synchronous connection."""
    parameters = (*_tasks(run_ids, step_slugs, task_indexes, attempts), text_array(outputs))
    return _reports(fetch_sync(connection, _COMPLETE, parameters))


# Array literals are written here: psycopg's own cost 20 to 30 microseconds an element, these 2.


def text_array(values: Iterable[str | None]) -> str:
    quoted = [
        "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for value in values
    ]
    return "{" + ",".join(quoted) + "}"


def uuid_array(values: Iterable[UUID]) -> str:
    return "{" + ",".join([value.hex for value in values]) + "}"


def _integers(values: Iterable[int | None]) -> str:
    return "{" + ",".join(["NULL" if value is None else str(int(value)) for value in values]) + "}"


def _tasks(
    run_ids: Sequence[UUID],
    step_slugs: Sequence[str],
    task_indexes: Sequence[int],
    attempts: Sequence[int | None],
) -> tuple[str, str, str, str]:
    run_array = uuid_array(run_ids)
    return run_array, text_array(step_slugs), _integers(task_indexes), _integers(attempts)


def _reports(rows: Rows) -> list[TaskReport]:
    return [TaskReport(run, step, index, _OUTCOMES[outcome]) for run, step, index, outcome in rows]


def _parts_of(outputs: Sequence[str | None]) -> Iterator[slice]:
    start, size = 0, 0
    for index, output in enumerate(outputs):
        size += len(output or "")
        if size > MAX_BATCH_BYTES and index > start:
            yield slice(start, index)
            start, size = index, len(output or "")
    yield slice(start, len(outputs))


def _storable(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()

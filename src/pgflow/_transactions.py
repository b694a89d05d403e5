"""Exactly-once writes: a transaction of the handler's that also carries the completion of its task.

A unit is opened by the first `transaction()` block, and ended by the performer once the outcome is known.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack, suppress
from typing import TYPE_CHECKING, Any

from pgflow._crashpoints import crash_point
from pgflow._outcomes import Completed, InDoubt, Released, Settled, failure
from pgflow.database import complete_tasks_on, is_server_fault, is_transient
from pgflow.errors import UsageError
from pgflow.records import Outcome as Verdict

if TYPE_CHECKING:
    from collections import deque
    from types import TracebackType

    from psycopg import AsyncConnection, Connection

    from pgflow._context import TaskContext
    from pgflow._outcomes import Outcome
    from pgflow.database import Database
    from pgflow.records import GrantedTask

RELEASE_DELAY = 1
"""Seconds before a task is granted again whose transaction the server, not the handler, broke."""
LONGEST_DELAY = 60
MOST_EXCUSES = 20
"""How often a task is handed back, ever later, before such a fault counts: its own statement may be the cause."""


class _Undo(Exception):  # noqa: N818 - rolls back, never seen outside
    pass


class AsyncUnit:
    """The transaction of an async handler."""

    def __init__(
        self, database: Database, stack: AsyncExitStack, connection: AsyncConnection[Any]
    ) -> None:
        self._database = database
        self._stack = stack
        self.connection = connection

    @classmethod
    async def open(cls, database: Database) -> AsyncUnit:
        """Begin."""
        stack = AsyncExitStack()
        return cls(database, stack, await stack.enter_async_context(database.transaction()))

    async def settle(self, task: GrantedTask, outcome: Outcome) -> Outcome:
        """Commit the writes with the completion, or undo them; never raises."""
        if not isinstance(outcome, Completed):
            await self._undo()
            return outcome
        try:
            reports = await self._database.complete_tasks(
                *_columns(task), [outcome.output], connection=self.connection
            )
        except Exception as error:  # noqa: BLE001 - becomes the outcome
            await self._undo()
            return _not_completed(error)
        verdict = reports[0].outcome if reports else Verdict.STALE
        if verdict is not Verdict.ACCEPTED:
            await self._undo()
            return Settled(verdict)
        crash_point("before_commit")
        try:
            await self._stack.aclose()
        except Exception as error:  # noqa: BLE001 - becomes the outcome
            return _not_committed(error)
        crash_point("after_commit")
        return Settled(verdict)

    async def _undo(self) -> None:
        with suppress(Exception):
            undo = _Undo()
            await self._stack.__aexit__(_Undo, undo, None)


class SyncUnit:
    """The transaction of a sync handler, on a connection of its own."""

    def __init__(self, database: Database, idle: deque[Connection[Any]]) -> None:
        self._idle = idle
        self._stack = ExitStack()
        self.connection = _idle_connection(idle) or database.connect_sync()
        self._stack.enter_context(self.connection.transaction())

    def settle(self, task: GrantedTask, outcome: Outcome) -> Outcome:
        """Commit the writes with the completion, or undo them; never raises."""
        outcome = self._settle(task, outcome)
        if self.connection.closed or isinstance(outcome, InDoubt):
            self.connection.close()
        else:
            self._idle.append(self.connection)
        return outcome

    def _settle(self, task: GrantedTask, outcome: Outcome) -> Outcome:
        if not isinstance(outcome, Completed):
            self._undo()
            return outcome
        try:
            reports = complete_tasks_on(self.connection, *_columns(task), [outcome.output])
        except Exception as error:  # noqa: BLE001 - becomes the outcome
            self._undo()
            return _not_completed(error)
        verdict = reports[0].outcome if reports else Verdict.STALE
        if verdict is not Verdict.ACCEPTED:
            self._undo()
            return Settled(verdict)
        crash_point("before_commit")
        try:
            self._stack.close()
        except Exception as error:  # noqa: BLE001 - becomes the outcome
            return _not_committed(error)
        crash_point("after_commit")
        return Settled(verdict)

    def _undo(self) -> None:
        try:
            self._stack.__exit__(_Undo, _Undo(), None)
        except Exception:  # noqa: BLE001 - a connection that cannot roll back is closed, which rolls back
            self.connection.close()


class TransactionBlock:
    """One `with` block of the transaction: a savepoint."""

    def __init__(self, context: TaskContext, database: Database) -> None:
        self._context = context
        self._database = database
        self._savepoint: Any = None

    async def __aenter__(self) -> AsyncConnection[Any]:
        """Lend the connection, in a transaction."""
        if self._context.kind != "async":
            raise UsageError("a sync handler writes `with current_task().transaction()`")
        unit = self._context.unit
        if unit is None:
            unit = self._context.unit = await AsyncUnit.open(self._database)
        assert isinstance(unit, AsyncUnit)
        self._savepoint = unit.connection.transaction()
        await self._savepoint.__aenter__()
        return unit.connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the savepoint, or undo its writes."""
        await self._savepoint.__aexit__(kind, error, trace)

    def __enter__(self) -> Connection[Any]:
        """Lend the connection, in a transaction."""
        if self._context.kind != "thread":
            raise UsageError("an async handler writes `async with current_task().transaction()`")
        unit = self._context.unit
        if unit is None:
            unit = self._context.unit = SyncUnit(self._database, self._context.services.connections)
        assert isinstance(unit, SyncUnit)
        self._savepoint = unit.connection.transaction()
        self._savepoint.__enter__()
        return unit.connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the savepoint, or undo its writes."""
        self._savepoint.__exit__(kind, error, trace)


def excused(error: BaseException, task: GrantedTask) -> Released | None:
    """Return how a task is handed back whose handler a fault of the server ended, in a transaction of ours.

    None for any other error, and for a task that was handed back too often.
    """
    released = task.attempt - task.tries
    if released >= MOST_EXCUSES or not is_server_fault(error):
        return None
    return Released(min(LONGEST_DELAY, RELEASE_DELAY * 2 ** min(released, 10)))


def _columns(task: GrantedTask) -> tuple[list[Any], list[str], list[int], list[int]]:
    return [task.run_id], [task.step_slug], [task.task_index], [task.attempt]


def _idle_connection(idle: deque[Connection[Any]]) -> Connection[Any] | None:
    while idle:
        connection = idle.pop()
        if not connection.closed:
            return connection
    return None


def _not_completed(error: Exception) -> Outcome:
    return Released(RELEASE_DELAY) if is_transient(error) else failure(error)


def _not_committed(error: Exception) -> Outcome:
    # Only a lost reply leaves doubt; a deferred constraint, say, is the handler's own failure.
    return InDoubt(str(error)) if is_transient(error) else failure(error)

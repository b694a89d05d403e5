"""Runs granted tasks side by side: async handlers on the loop, sync ones on threads, isolated ones in processes.

Deadlines are monotonic. An async handler is cancelled, a process killed; a thread cannot be stopped, so it is
abandoned, and so is an async handler that swallows its cancellation. Each task ends exactly once.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import time
from typing import TYPE_CHECKING, Any

from pgflow._batches import attempt_items, attempt_items_apart, attempt_items_sync
from pgflow._context import TaskContext, log_fields
from pgflow._execution import Execution, State, Stop
from pgflow._isolated import perform_isolated
from pgflow._isolation import IsolatedProcesses, ProcessCrashed
from pgflow._outcomes import Released, crashed, failure
from pgflow._threads import HandlerThreads
from pgflow._transactions import AsyncUnit, SyncUnit
from pgflow.database import is_transient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pgflow._context import Services
    from pgflow._outcomes import Outcome
    from pgflow.records import GrantedTask

MOST_HANGING = 16
"""Handlers that were given up and still run, at which a worker is spent; as many as it performs at once, if that is more."""
GRACE = 2.0
"""Seconds that a cancelled handler has for its cleaning up before it is abandoned."""

INPUT_DELAY = 1
"""Seconds before a task is granted again whose run's input could not be read."""

_log = logging.getLogger("pgflow.worker")


async def _fetch_input(context: TaskContext) -> Outcome | None:
    """Read what the handler would have to wait for, standing in the loop's way; return an outcome if that fails."""
    try:
        await context.fetch_input()
    except BaseException as error:  # noqa: BLE001 - becomes the outcome
        return Released(INPUT_DELAY) if is_transient(error) else failure(error)
    return None


def _close_coroutine(work: asyncio.Task[Any]) -> None:
    """End a coroutine that swallows its cancellation, or else the event loop that waits for it never closes."""
    coroutine: Any = work.get_coro()
    try:
        coroutine.close()
    except (RuntimeError, ValueError):
        _log.exception("a handler that was given up cannot be ended")  # it swallows this as well


class Performer:
    """Performs tasks; every method belongs to the event loop, and `ended` is called there, once a task."""

    def __init__(
        self,
        services: Services,
        *,
        concurrency: int,
        ended: Callable[[Execution, Outcome], None],
    ) -> None:
        self._services = services
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._threads = HandlerThreads(self._run_in_thread, self._collect, limit=concurrency)
        self._processes = IsolatedProcesses(min(concurrency, max(2, os.cpu_count() or 2)))
        self._open: dict[Execution, None] = {}
        self._strays: dict[asyncio.Task[None], str] = {}
        self._most_hanging = max(MOST_HANGING, concurrency)
        self._sweep: asyncio.TimerHandle | None = None
        self.abandoned = 0
        """Handlers given up so far: each may still hold a thread, or run on the loop."""

    def __len__(self) -> int:
        return len(self._open)

    @property
    def hanging(self) -> int:
        """How many handlers were given up and still run."""
        return self._threads.hanging + len(self._strays)

    @property
    def is_spent(self) -> bool:
        """Tell whether so many hang that the process should be replaced."""
        return self.hanging >= self._most_hanging

    def step_of(self, work: asyncio.Task[Any]) -> str | None:
        """Name the task that an asyncio task performs; from any thread, while the loop stands still."""
        for execution in list(self._open):
            if execution.work is work:
                return str(execution.context)
        return self._strays.get(work)

    def start(self, executions: Sequence[Execution]) -> None:
        """Begin them all; each needs a handler."""
        now = time.monotonic()
        on_threads = []
        for execution in executions:
            handler = execution.handler
            assert handler is not None
            self._open[execution] = None
            execution.deadline = now + execution.task.timeout
            if handler.kind == "thread":
                on_threads.append(execution)
            elif handler.kind == "async":
                execution.work = self._loop.create_task(self._perform(execution))
            else:
                execution.deadline = float("inf")
                execution.work = self._loop.create_task(self._perform_isolated(execution))
        if on_threads:
            self._threads.submit(on_threads)
        self._arm(min((execution.deadline for execution in executions), default=float("inf")))

    def stop(self, executions: Iterable[Execution], reason: Stop) -> None:
        """End executions early; those that have just ended are left alone."""
        for execution in list(executions):
            if execution.state in {State.SETTLING, State.ENDED} or execution not in self._open:
                continue
            if execution.stop is None:
                execution.stop = reason
                if execution.work is None:
                    self._abandon_thread(execution)
                else:
                    execution.work.cancel()
                    execution.deadline = time.monotonic() + GRACE
                    self._arm(execution.deadline)

    def withdraw(self) -> list[Execution]:
        """Take back every execution whose handler has not been called; they end without `ended`."""
        waiting = self._threads.withdraw()
        waiting += [e for e in self._open if e.state is State.WAITING and e.work is not None]
        for execution in waiting:
            execution.state = State.ENDED
            self._open.pop(execution, None)
            if execution.work is not None:
                execution.work.cancel()
        return waiting

    async def close(self) -> None:
        """Stop everything that is left, without reports."""
        if self._sweep is not None:
            self._sweep.cancel()
        for execution in list(self._open):
            execution.state = State.ENDED
            if execution.work is not None:
                execution.work.cancel()
        self._open.clear()
        for stray in list(self._strays):
            _close_coroutine(stray)
        self._threads.close()
        await self._processes.close()

    async def _perform(self, execution: Execution) -> None:
        handler = execution.handler
        assert handler is not None
        if execution.state is State.ENDED:
            return
        execution.state = State.RUNNING
        prevented = None
        if handler.reads_run_input or handler.key in self._services.readers:
            prevented = await _fetch_input(execution.context)
        if prevented is not None:
            outcome = prevented
        elif execution.batch is None:
            outcome = await handler.attempt(execution.task, execution.context)
        else:
            outcome = await attempt_items(execution, handler)
        outcome = execution.resolve(outcome)
        unit = execution.context.unit
        if isinstance(unit, AsyncUnit):
            outcome = await unit.settle(execution.task, execution.settling(outcome))
            outcome = handler.censored(outcome, execution.context)
        self._end(execution, outcome)

    def _run_in_thread(self, execution: Execution) -> Outcome:
        handler = execution.handler
        assert handler is not None
        execution.state = State.RUNNING
        if execution.batch is not None:
            return attempt_items_sync(execution, handler, self._context)
        context = self._context.copy()
        outcome = context.run(handler.attempt_sync, execution.task, execution.context)
        unit = execution.context.unit
        if isinstance(unit, SyncUnit):
            outcome = unit.settle(execution.task, execution.settling(outcome))
            outcome = handler.censored(outcome, execution.context)
        return outcome

    def _collect(self, ended: Sequence[tuple[Execution, Outcome]]) -> None:
        for execution, outcome in ended:
            self._end(execution, outcome)

    async def _perform_isolated(self, execution: Execution) -> None:
        handler = execution.handler
        assert handler is not None

        async def attempt(context: TaskContext, task: GrantedTask) -> Outcome:
            try:
                return await perform_isolated(
                    self._processes, handler, context, lambda: self._begin(execution), task
                )
            except ProcessCrashed as error:
                return crashed(str(error))
            except asyncio.CancelledError:
                return Released()
            except Exception as error:  # noqa: BLE001 - becomes the outcome
                return handler.failed(error, context)

        if execution.batch is None:
            outcome = await attempt(execution.context, execution.task)
        else:
            outcome = await attempt_items_apart(execution, handler, attempt)
        self._end(execution, execution.resolve(outcome))

    def _begin(self, execution: Execution) -> None:
        execution.state = State.RUNNING
        execution.deadline = time.monotonic() + execution.task.timeout
        self._arm(execution.deadline)

    def _end(self, execution: Execution, outcome: Outcome) -> None:
        if execution.state is State.ENDED:
            return
        execution.state = State.ENDED
        execution.work = None
        self._open.pop(execution, None)
        self._ended(execution, outcome)

    def _arm(self, deadline: float) -> None:
        if deadline == float("inf"):
            return
        # time.monotonic() is the loop's clock, too.
        if self._sweep is None or deadline < self._sweep.when():
            if self._sweep is not None:
                self._sweep.cancel()
            self._sweep = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._sweep = None
        now = time.monotonic()
        late = [execution for execution in self._open if execution.deadline <= now]
        for execution in late:
            if execution.state is State.SETTLING:
                execution.deadline = float("inf")
            elif execution.stop is None:
                self.stop([execution], Stop.TIMEOUT)
            else:
                self._abandon(execution, "it swallowed its cancellation")
        self._arm(min((execution.deadline for execution in self._open), default=float("inf")))

    def _abandon_thread(self, execution: Execution) -> None:
        if self._threads.abandon(execution):
            self._abandon(execution, "a thread cannot be stopped; isolation='process' can")

    def _abandon(self, execution: Execution, why: str) -> None:
        if execution.state is State.RUNNING:
            self.abandoned += 1
            if execution.work is not None:
                # The loop itself refers to its tasks only weakly.
                self._strays[execution.work] = str(execution.context)
                execution.work.add_done_callback(lambda work: self._strays.pop(work, None))
            _log.error(
                "handler %s abandoned, it still runs: %s",
                execution.context,
                why,
                extra=log_fields(execution.task),
            )
        outcome: Outcome = Released()
        if execution.batch is not None:
            late = execution.stop is Stop.TIMEOUT and execution.state is State.RUNNING
            outcome = execution.batch.outcome(timed_out_now=late)
        self._end(execution, execution.resolve(outcome))

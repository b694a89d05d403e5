"""The thread that keeps a worker's grants alive, out of reach of whatever its handlers do.

It has its own event loop and its own connection: a handler that blocks the worker's loop, or exhausts
its pool, costs no lease. It also sends heartbeats and progress, reads run inputs, and reports a blocked loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pgflow._backoff import Backoff
from pgflow._blocking import blocking_place
from pgflow._logs import first_line
from pgflow._reach import Reach
from pgflow.database import Database, is_transient
from pgflow.errors import UsageError
from pgflow.records import Outcome as Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, MutableMapping, Sequence
    from concurrent.futures import Future
    from uuid import UUID

    from pgflow.handlers import Execution
    from pgflow.records import RawJson

T = TypeVar("T")

HEARTBEAT = 5.0
IDLE_HEARTBEAT = 25.0
"""Seconds between two heartbeats of a worker that holds tasks, and of one that holds none."""
TICK = 0.5
"""Seconds between two looks at what is due."""
BLOCKED = 1.0
"""Seconds without an answer of the worker's loop after which it is reported as blocked."""
STOP_PATIENCE = 2.0
RUN_INPUTS = 64
"""Run inputs kept, the latest used."""
FIRST_RETRY = 0.2
"""Seconds before the first repeat, at most; chance makes each pause shorter."""

_log = logging.getLogger("pgflow.worker")


@dataclass(frozen=True, slots=True)
class LeaseEvents:
    """What the thread tells the worker; each is called on the worker's loop."""

    refused: Callable[[Sequence[Execution]], None]
    deprecated: Callable[[], None]
    forgotten: Callable[[], None]
    """The database does not know the worker any more."""
    running_step: Callable[[asyncio.Task[Any]], str | None]
    """Names the task that an asyncio task performs; called in the thread."""


class LeaseKeeper:
    """Keeps the leases of `held`, a collection that only the worker's loop changes."""

    def __init__(
        self,
        dsn: str,
        worker_id: UUID,
        lease: int,
        *,
        held: Collection[Execution],
        progress: MutableMapping[tuple[UUID, str, int, int], str],
        events: LeaseEvents,
        reach: Reach | None = None,
    ) -> None:
        self._dsn = dsn
        self._worker_id = worker_id
        self._lease = lease
        self._held = held
        self._progress = progress
        self._events = events
        self._worker_loop = asyncio.get_running_loop()
        self._worker_thread = threading.get_ident()
        self._asked_at: float | None = None
        self._blocked = False
        self._heartbeat_at = time.monotonic()
        self._process = os.getpid()
        self._reach = reach or Reach(lease)
        self._outage = Backoff(min(FIRST_RETRY, self._reach.retry), self._reach.retry)
        self._retry_at = 0.0
        self._roused = asyncio.Event()
        self._dozes = False
        self._inputs: OrderedDict[UUID, RawJson] = OrderedDict()
        self._inputs_lock = threading.Lock()
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._serving: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="pgflow-leases", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()
        self._ready.wait()

    def rouse(self) -> None:
        """Have it look after `held` again, to which something has been added."""
        if self._dozes and self._loop is not None:
            self._loop.call_soon_threadsafe(self._roused.set)

    async def stop(self) -> None:
        """End the thread, whatever it is waiting for."""
        assert self._loop is not None
        assert self._serving is not None
        with suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._serving.cancel)
        await asyncio.to_thread(self._thread.join, STOP_PATIENCE)

    def read_run_input(self, run_id: UUID) -> RawJson | None:
        """Return a run's input, from memory if it was read before; callable from any other thread.

        Raises UsageError in a forked process, where nobody would answer.
        """
        if self._process != os.getpid():
            raise UsageError(
                "run_input was asked for in a process that a handler has forked",
                hint="Read it before the fork, and hand it over.",
            )
        raw = self._remembered(run_id)
        if raw is None:
            raw = self._submit(self._read(run_id)).result(timeout=self._lease)
        return raw

    async def fetch_run_input(self, run_id: UUID) -> RawJson | None:
        """Return a run's input as `read_run_input` does, without blocking the worker's loop."""
        raw = self._remembered(run_id)
        return await asyncio.wrap_future(self._submit(self._read(run_id))) if raw is None else raw

    def _remembered(self, run_id: UUID) -> RawJson | None:
        with self._inputs_lock:
            if run_id not in self._inputs:
                return None
            self._inputs.move_to_end(run_id)
            return self._inputs[run_id]

    async def _read(self, run_id: UUID) -> RawJson | None:
        raw = await self._database.run_input(run_id)
        if raw is not None:
            with self._inputs_lock:
                self._inputs[run_id] = raw
                while len(self._inputs) > RUN_INPUTS:
                    self._inputs.popitem(last=False)
        return raw

    def _submit(self, call: Coroutine[Any, Any, T]) -> Future[T]:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(call, self._loop)

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._serving = asyncio.current_task()
        self._database = Database.connect(
            self._dsn, min_size=1, max_size=1, application_name="pgflow leases", check_schema=False
        )
        self._ready.set()
        try:
            while True:
                await self._look()
                self._watch_worker()
                await self._rest()
        finally:
            await self._database.close()

    async def _rest(self) -> None:
        """Wait for the next tick; while nothing is held, for the next heartbeat or `rouse`."""
        self._roused.clear()
        self._dozes = (
            True  # before the look at what is held: who adds to it looks the other way round
        )
        if self._held or self._reach.is_lost:
            self._dozes = False
            await asyncio.sleep(min(TICK, self._lease / 6))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._next_heartbeat() - time.monotonic())):
                await self._roused.wait()
        self._dozes = False

    def _next_heartbeat(self) -> float:
        return self._heartbeat_at + (HEARTBEAT if self._held else IDLE_HEARTBEAT)

    async def _look(self) -> None:
        if time.monotonic() < self._retry_at:
            return
        try:
            await self._extend()
            await self._send_progress()
            if self._reach.is_lost or time.monotonic() >= self._next_heartbeat():
                self._heartbeat_at = time.monotonic()
                await self._heartbeat()
            self._outage.reset()
            self._reach.reached()
        except Exception as error:  # noqa: BLE001 - the thread must outlive whatever goes wrong
            self._retry_at = time.monotonic() + self._outage.next()
            self._reach.failed()
            if is_transient(error):
                _log.warning("leases were not extended, will try again: %s", first_line(error))
            else:
                _log.exception("leases were not extended")

    async def _extend(self) -> None:
        now = time.monotonic()
        due = [held for held in list(self._held) if held.leased_at + self._lease / 3 <= now]
        if not due:
            return
        tasks = [held.task for held in due]
        reports = await self._database.extend_leases(
            [task.run_id for task in tasks],
            [task.step_slug for task in tasks],
            [task.task_index for task in tasks],
            [task.attempt for task in tasks],
            self._lease,
        )
        verdicts = {(r.run_id, r.step_slug, r.task_index): r.outcome for r in reports}
        refused = []
        for held, task in zip(due, tasks, strict=True):
            verdict = verdicts.get((task.run_id, task.step_slug, task.task_index), Verdict.STALE)
            if verdict in {Verdict.ACCEPTED, Verdict.ALREADY_ACCEPTED}:
                held.leased_at = now
            elif held.task is task:  # else it has got a new grant meanwhile
                refused.append(held)
        if refused:
            self._tell_worker(self._events.refused, refused)

    async def _send_progress(self) -> None:
        while self._progress:
            key, text = self._progress.popitem()
            await self._database.report_progress(*key, text)

    async def _heartbeat(self) -> None:
        deprecated = await self._database.worker_heartbeat(self._worker_id)
        if deprecated:
            self._tell_worker(self._events.deprecated)
        elif deprecated is None:
            self._tell_worker(self._events.forgotten)

    def _watch_worker(self) -> None:
        # Counted from the question: this thread may have waited for the database itself.
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            self._tell_worker(self._answer)
            return
        silent = time.monotonic() - self._asked_at
        if silent > BLOCKED and not self._blocked:
            self._blocked = True
            work = asyncio.current_task(self._worker_loop)
            step = None if work is None else self._events.running_step(work)
            place, stack = blocking_place(self._worker_thread)
            _log.warning(
                "the event loop is blocked for %.1f s by %s; use a sync handler or isolation='process' for such work\n%s",
                silent,
                f"{step}, in {place}" if step else place,
                stack,
            )

    def _tell_worker(self, call: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # its loop has been closed, so nobody listens any more
            self._worker_loop.call_soon_threadsafe(call, *arguments)

    def _answer(self) -> None:
        self._asked_at = None
        self._blocked = False

"""Threads for sync handlers: one while handlers are quick, more within milliseconds when they block.

A hop to another thread costs as much as a whole small task. So one thread drains the waiting jobs and
hands their results back in bulk, and a tick of the event loop opens more threads while jobs wait
and too few are taken. Nothing here knows what a job is.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")

_TICK = 0.001
"""Seconds between two looks at the waiting jobs."""
_QUICK = 4
"""Jobs taken in one tick below which the threads count as blocked."""
_GROWTH = 3
"""Threads opened in one tick for each one that is busy."""

_log = logging.getLogger("pgflow.worker")


class HandlerThreads(Generic[JobT, ResultT]):
    """Run jobs on daemon threads; every method but the threads' own belongs to the event loop."""

    def __init__(
        self,
        run: Callable[[JobT], ResultT],
        deliver: Callable[[Sequence[tuple[JobT, ResultT]]], None],
        *,
        limit: int,
    ) -> None:
        self._run = run
        self._deliver = deliver
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._waiting: deque[JobT] = deque()
        self._running: set[JobT] = set()
        self._hanging: set[JobT] = set()
        self._done: list[tuple[JobT, ResultT]] = []
        self._permits: SimpleQueue[bool] = SimpleQueue()
        self._threads = 0
        self._active = 0
        self._taken = 0
        self._taken_at_tick = 0
        self._notified = False
        self._tick: asyncio.TimerHandle | None = None

    def submit(self, jobs: Sequence[JobT]) -> None:
        """Queue jobs; each starts within a few milliseconds, whatever the others do."""
        with self._lock:
            self._waiting.extend(jobs)
            if self._active == 0:
                self._open(1)
            self._taken_at_tick = self._taken
        if self._tick is None:
            self._tick = self._loop.call_later(_TICK, self._look)

    @property
    def hanging(self) -> int:
        """How many jobs that were given up still hold their thread."""
        return len(self._hanging)

    def withdraw(self) -> list[JobT]:
        """Take back every job that has not started."""
        with self._lock:
            jobs = list(self._waiting)
            self._waiting.clear()
        return jobs

    def abandon(self, job: JobT) -> bool:
        """Give up on a job: drop it, or its result and its thread; False if it has just ended."""
        with self._lock:
            if job in self._running:
                self._running.discard(job)
                self._hanging.add(job)
                self._active -= 1
                self._threads -= 1
                if self._waiting and self._active == 0:
                    self._open(1)
                return True
            if job in self._waiting:
                self._waiting.remove(job)
                return True
        return False

    def close(self) -> None:
        """Let idle threads end; a busy one ends with its job."""
        if self._tick is not None:
            self._tick.cancel()
        for _ in range(self._threads):
            self._permits.put(False)

    def _open(self, count: int) -> None:
        for _ in range(count):
            if self._threads == self._active:
                self._threads += 1
                threading.Thread(target=self._serve, name="pgflow-handler", daemon=True).start()
            self._active += 1
            self._permits.put(True)

    def _look(self) -> None:
        self._tick = None
        self._collect()
        with self._lock:
            if not self._waiting:
                return
            if self._taken - self._taken_at_tick < _QUICK:
                room = min(len(self._waiting), self._limit - self._active)
                self._open(min(room, max(1, _GROWTH * self._active)))
            self._taken_at_tick = self._taken
        self._tick = self._loop.call_later(_TICK, self._look)

    def _collect(self) -> None:
        self._notified = False
        with self._lock:
            done, self._done = self._done, []
        if done:
            self._deliver(done)

    def _serve(self) -> None:
        while self._permits.get():
            job = self._take()
            while job is not None:
                result = self._run(job)
                with self._lock:
                    if job not in self._running:
                        self._hanging.discard(job)
                        _log.warning("an abandoned handler has ended; its thread ends with it")
                        return
                    self._running.discard(job)
                    self._done.append((job, result))
                    last = not self._waiting
                if last and not self._notified:
                    self._notified = True
                    self._notify()
                job = self._take()

    def _take(self) -> JobT | None:
        with self._lock:
            if not self._waiting:
                self._active -= 1
                return None
            job = self._waiting.popleft()
            self._running.add(job)
            self._taken += 1
            return job

    def _notify(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._collect)
        except RuntimeError:
            # The loop closed while a handler still ran: nobody waits for its result any more.
            _log.debug("a handler ended after its worker")

"""Worker: claims tasks as its slots free, performs them side by side, reports them in batches.

What it holds is leased, and a thread of its own keeps the leases; what it did not start it hands back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import orjson

from pgflow._background import end_of_run, keep_up, stopped_by_signals
from pgflow._claims import Claims, Slots
from pgflow._isolation import Border
from pgflow._leases import LeaseEvents, LeaseKeeper
from pgflow._repertoire import Flows, Repertoire, prepare
from pgflow._reports import Reporter, Statistics
from pgflow._targets import load_flows
from pgflow.database import Database
from pgflow.errors import UsageError
from pgflow.handlers import Execution, Outcome, Performer, Released, Services, Stop, lost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from pgflow.records import GrantedTask

__all__ = ["Statistics", "Worker", "load_flows"]

UNKNOWN_DELAY = 30
"""Seconds before a task is granted again that this worker turned out to have no handler for."""
LAST_REPORTS = 10.0
"""Seconds that a stopping worker waits for a database that does not answer."""

_log = logging.getLogger("pgflow.worker")


class Worker:
    """Performs the tasks of some flows until it is stopped; `run` it once.

    >>> async with Database.connect(dsn) as database:
    ...     await Worker(database, [campaign], concurrency=50).run(signals=True)
    """

    def __init__(
        self,
        database: Database | str,
        flows: Flows,
        *,
        queues: Sequence[str] | None = None,
        concurrency: int = 100,
        lease: int = 30,
        batch_size: int = 300,
        drain_timeout: float = 30,
        name: str | None = None,
        listen: bool = True,
    ) -> None:
        """Serve `flows`: their definitions, or {flow: {step: function}} for flows that the database defines.

        `queues` limits it to those queues. A DSN is connected, and closed, by `run`; a Database is only used.
        """
        self.worker_id: UUID = uuid4()
        self.statistics = Statistics()
        self.started = asyncio.Event()
        """Set once the worker is registered and claims."""
        self._given = database
        self._flows = flows
        self._chosen_queues = queues
        self._concurrency = concurrency
        self._lease = lease
        self._batch_size = batch_size
        self._drain_timeout = drain_timeout
        self._name = name
        self._listen = listen
        self._held: dict[Execution, None] = {}
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._database: Database
        self._repertoire: Repertoire
        self._performer: Performer
        self._reporter: Reporter
        self._claims: Claims

    def __len__(self) -> int:
        """Return how many tasks it holds, from the claim to the report."""
        return len(self._held)

    async def run(self, *, signals: bool = False) -> None:
        """Work until stopped, then drain. With `signals`, SIGTERM and SIGINT stop it; a second one at once."""
        async with self._session(signals=signals):
            claiming = asyncio.create_task(self._claims.run())
            reporting = asyncio.create_task(self._reporter.run())
            upkeep = asyncio.create_task(keep_up(self._database))
            try:
                await self._until_stopped(claiming, reporting)
            except asyncio.CancelledError:
                self._stop(now=True)
                raise
            finally:
                upkeep.cancel()
                await self._drain(claiming, reporting)

    async def run_until(self, run_id: UUID) -> None:
        """Work until that run has ended; raise RunNotFound if there is no such run."""
        watch = asyncio.create_task(self._stop_at_end_of(run_id))
        try:
            await self.run()
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    def stop(self, *, now: bool = False) -> None:
        """Stop claiming and drain; `now` gives up what runs, too. Callable from any thread."""
        if self._loop is None:
            self._stop(now=now)
        else:
            self._loop.call_soon_threadsafe(lambda: self._stop(now=now))

    def _stop(self, *, now: bool = False) -> None:
        self._stopping.set()
        if now:
            self._hurry.set()
        self._changed.set()

    # Setting up

    @asynccontextmanager
    async def _session(self, *, signals: bool) -> AsyncIterator[None]:
        Border.refuse_inside("Worker.run()")
        if self._loop is not None:
            raise UsageError("a worker runs once; make another one")
        self._loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            if signals:
                stack.enter_context(stopped_by_signals(lambda again: self._stop(now=again)))
            if isinstance(self._given, Database):
                self._database = self._given
            else:
                self._database = await stack.enter_async_context(Database.connect(self._given))
            self._repertoire = await prepare(self._database, self._flows, self._chosen_queues)
            await self._register()
            stack.push_async_callback(self._sign_off)
            self._build(stack)
            self.started.set()
            _log.info("worker %s serves %s", self.worker_id, ", ".join(self._repertoire.queues))
            yield

    def _build(self, stack: AsyncExitStack) -> None:
        services = Services(
            worker_id=self.worker_id, database=self._database, loop=asyncio.get_running_loop()
        )
        stack.callback(services.close)
        keeper = LeaseKeeper(
            self._database.dsn,
            self.worker_id,
            self._lease,
            held=self._held,
            progress=services.progress,
            events=LeaseEvents(refused=self._fenced, deprecated=self._deprecated),
        )
        services.read_run_input = keeper.read_run_input
        keeper.start()
        stack.push_async_callback(keeper.stop)
        self._services = services
        self._performer = Performer(services, concurrency=self._concurrency, ended=self._ended)
        stack.push_async_callback(self._performer.close)
        self._reporter = Reporter(
            self._database,
            self.statistics,
            batch_size=self._batch_size,
            running=self._performer.__len__,
            reported=self._reported,
        )
        self._claims = Claims(
            self._database,
            self.worker_id,
            self._repertoire,
            Slots(self._concurrency, self._free, self._unreported, self._changed, self._accept),
            lease=self._lease,
            listen=self._listen,
        )

    async def _register(self) -> None:
        repertoire = self._repertoire
        info = {"flows": repertoire.versions, "concurrency": self._concurrency}
        await self._database.register_worker(
            self.worker_id,
            repertoire.queues,
            self._name or repertoire.name,
            socket.gethostname(),
            os.getpid(),
            orjson.dumps(info).decode(),
        )

    async def _sign_off(self) -> None:
        with suppress(Exception):
            async with asyncio.timeout(LAST_REPORTS):
                await self._database.mark_worker_stopped(self.worker_id)

    # What the parts ask and tell

    def _free(self) -> int:
        if self._unreported() >= 3 * self._batch_size:
            return 0
        return min(self._concurrency - len(self._performer), self._batch_size)

    def _unreported(self) -> int:
        return len(self._held) - len(self._performer)

    def _accept(self, granted: Sequence[GrantedTask]) -> None:
        self.statistics.claimed += sum(task.items or 1 for task in granted)
        ready = []
        for task in granted:
            handler = self._repertoire.handlers.get((task.flow_slug, task.step_slug))
            execution = Execution(task, handler, self._services)
            self._held[execution] = None
            if task.exhausted:
                self._reporter.add(execution, lost(task))
            elif handler is None:
                self._reporter.add(execution, Released(UNKNOWN_DELAY))
            elif self._stopping.is_set():
                self._reporter.add(execution, Released())
            else:
                ready.append(execution)
        if ready:
            self._performer.start(ready)

    def _ended(self, execution: Execution, outcome: Outcome) -> None:
        self._reporter.add(execution, outcome)
        self._changed.set()

    def _reported(self, executions: Sequence[Execution]) -> None:
        for execution in executions:
            self._held.pop(execution, None)
        self._changed.set()

    def _fenced(self, executions: Sequence[Execution]) -> None:
        self._performer.stop(executions, Stop.FENCED)

    def _deprecated(self) -> None:
        _log.info("worker %s is deprecated and drains", self.worker_id)
        self._stop()

    # Ending

    async def _until_stopped(self, *parts: asyncio.Task[None]) -> None:
        """Wait for `stop`, or for a part that ends because it cannot go on."""
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({stopped, *parts}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()

    async def _drain(self, claiming: asyncio.Task[None], reporting: asyncio.Task[None]) -> None:
        """Hand back what has not started, wait for what runs, give up what outlasts the patience."""
        self._stop()
        self._claims.stop()
        await asyncio.wait({claiming})
        for execution in self._performer.withdraw():
            self._reporter.add(execution, Released())
        await self._performed(self._drain_timeout, unless=self._hurry)
        self._performer.stop(list(self._held), Stop.RELEASED)
        await self._performed(LAST_REPORTS)
        self._reporter.close()
        await asyncio.wait({reporting}, timeout=LAST_REPORTS)
        if reporting.cancel():
            _log.error("%d reports were not made: the database does not answer", len(self._held))
        else:
            reporting.result()
        _log.info("worker %s stopped: %s", self.worker_id, self.statistics)
        claiming.result()

    async def _performed(self, patience: float, *, unless: asyncio.Event | None = None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while len(self._performer) and not (unless is not None and unless.is_set()):
                    self._changed.clear()
                    await self._changed.wait()

    async def _stop_at_end_of(self, run_id: UUID) -> None:
        await self.started.wait()
        try:
            await end_of_run(self._database, run_id, listen=self._listen)
            over = [held for held in self._held if held.task.run_id == run_id]
            self._performer.stop(over, Stop.FENCED)
        finally:
            self._stop()

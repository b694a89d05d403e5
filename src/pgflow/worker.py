"""Worker: claims tasks as its slots free, performs them side by side, reports them in batches.

What it holds is leased, and a thread of its own keeps the leases; what it did not start it hands back.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from pgflow._background import end_of_run, follow_definitions, keep_up, stopped_by_signals
from pgflow._claims import Claims
from pgflow._holdings import Holdings
from pgflow._isolation import Border
from pgflow._leases import LeaseEvents, LeaseKeeper
from pgflow._reach import Reach
from pgflow._registration import LAST_WORDS, Registration, StoppedEarly
from pgflow._reports import Reporter
from pgflow._sending import HandOver, Sender, Statistics, columns
from pgflow._slots import Slots
from pgflow._targets import load_flows, load_work
from pgflow._vault import CODEC_TWICE
from pgflow.database import Database
from pgflow.errors import UsageError, WorkerSpent
from pgflow.handlers import Performer, Services, Stop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from pgflow._repertoire import Flows, Repertoire
    from pgflow._vault import ValueCodec
    from pgflow.handlers import Execution, Outcome

__all__ = ["Statistics", "Worker", "load_flows", "load_work"]

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
        value_codec: ValueCodec | None = None,
    ) -> None:
        """Serve `flows`: their definitions, or {flow: {step: function}} for flows that the database defines, or the
        Handlers that plans name.

        `queues` limits it to those queues. A DSN is connected, and closed, by `run`; a Database is only used, and
        brings its own `value_codec`.
        """
        for option, value in (
            ("concurrency", concurrency),
            ("lease", lease),
            ("batch_size", batch_size),
        ):
            if type(value) is not int or value < 1:
                raise UsageError(f"{option} of a worker is a whole number from 1, not {value!r}")
        self.worker_id: UUID = uuid4()
        self._process = os.getpid()
        self.statistics = Statistics()
        self.started = asyncio.Event()
        """Set once the worker is registered and claims."""
        self.stopping = asyncio.Event()
        """Set once it drains: what it is granted from then on goes back at once."""
        self._given = database
        self._flows = flows
        self._chosen_queues = queues
        self._concurrency = concurrency
        self._lease = lease
        self._batch_size = batch_size
        self._drain_timeout = drain_timeout
        self._name = name
        self._listen = listen
        self._value_codec = value_codec
        if value_codec is not None and isinstance(database, Database):
            raise UsageError(CODEC_TWICE)
        self._hurry = asyncio.Event()
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._database: Database
        self._registration: Registration
        self._repertoire: Repertoire
        self._held: Holdings | None = None
        self._performer: Performer
        self._reporter: Reporter
        self._slots: Slots
        self._claims: Claims
        self._renewal: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return how many tasks it holds, from the claim to the report."""
        return 0 if self._held is None else len(self._held)

    async def run(self, *, signals: bool = False) -> None:
        """Work until stopped, then drain. With `signals`, SIGTERM and SIGINT stop it; a second one at once.

        Waits for a server that takes no writes yet. Raises WorkerSpent, after the drain, when too many handlers hang.
        """
        with suppress(StoppedEarly):
            await self._run(signals=signals)
        if self._held is not None and self._performer.is_spent:
            raise WorkerSpent(self._performer.hanging)

    async def _run(self, *, signals: bool) -> None:
        async with self._session(signals=signals):
            claiming = asyncio.create_task(self._claims.run())
            reporting = asyncio.create_task(self._reporter.run())
            upkeep = [asyncio.create_task(keep_up(self._database))]
            if self._repertoire.shapes is not None:
                following = follow_definitions(
                    self._database, self._repertoire, self._flows, self._claims.serve
                )
                upkeep.append(asyncio.create_task(following))
            try:
                await self._until_stopped(claiming, reporting)
            except asyncio.CancelledError:
                self._stop(now=True)
                raise
            finally:
                for one in upkeep:
                    one.cancel()
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
        self.stopping.set()
        if now:
            self._hurry.set()
        self._changed.set()

    # Setting up

    @asynccontextmanager
    async def _session(self, *, signals: bool) -> AsyncIterator[None]:
        Border.refuse_inside("Worker.run()")
        if self._process != os.getpid():
            raise UsageError(
                "this Worker was made in another process: a fork has its id and its connections twice",
                hint="Make the Worker, and its Database, in the process that runs it.",
            )
        if self._loop is not None:
            raise UsageError("a worker runs once; make another one")
        self._loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            if signals:
                stack.enter_context(stopped_by_signals(lambda again: self._stop(now=again)))
            if isinstance(self._given, Database):
                self._database = self._given
            else:
                self._database = await stack.enter_async_context(
                    Database.connect(self._given, value_codec=self._value_codec)
                )
            self._registration = Registration(
                self.worker_id,
                self._database,
                self._flows,
                queues=self._chosen_queues,
                name=self._name,
                concurrency=self._concurrency,
            )
            self._repertoire = await self._registration.begin(self.stopping)
            stack.push_async_callback(self._registration.end)
            self._build(stack)
            self.started.set()
            _log.info("worker %s serves %s", self.worker_id, ", ".join(self._repertoire.queues))
            yield

    def _build(self, stack: AsyncExitStack) -> None:
        """Make the parts, and join them."""
        repertoire, database = self._repertoire, self._database
        services = Services(
            worker_id=self.worker_id,
            database=database,
            loop=asyncio.get_running_loop(),
            vault=database.vault,
        )
        stack.callback(services.close)
        held = self._held = Holdings(services, repertoire, self.statistics, self.stopping)
        reach = Reach(self._lease)
        events = LeaseEvents(
            refused=held.fence,
            deprecated=self._deprecated,
            forgotten=self._forgotten,
            running_step=held.step_of,
        )
        keeper = held.keeper = LeaseKeeper(
            database.dsn,
            self.worker_id,
            self._lease,
            held=held,
            progress=services.progress,
            events=events,
            reach=reach,
        )
        services.read_run_input = keeper.read_run_input
        services.fetch_run_input = keeper.fetch_run_input
        keeper.start()
        stack.push_async_callback(keeper.stop)
        self._performer = held.performer = Performer(
            services, concurrency=self._concurrency, ended=self._ended
        )
        stack.push_async_callback(self._performer.close)
        self._slots = held.slots = Slots(
            self._performer,
            held=held,
            changed=self._changed,
            concurrency=self._concurrency,
            batch_size=self._batch_size,
            give_back=held.give_back,
            share=self._share,
        )
        stack.callback(self._slots.close)
        self._claims = Claims(
            database,
            self.worker_id,
            repertoire,
            self._slots,
            held.accept,
            self._registration.renew,
            reach=reach,
            rouse=keeper.rouse,
            lease=self._lease,
            listen=self._listen,
        )
        more = HandOver(
            self.worker_id,
            repertoire.queues,
            repertoire.keys,
            self._lease,
            reserve=held.reserve,
            release=self._slots.release,
            accept=held.accept,
            learn=repertoire.learn,
        )
        sender = Sender(database, self.statistics, more, delayed=self._claims.ask_again)
        self._reporter = held.reporter = Reporter(
            sender, self._slots, batch_size=self._batch_size, reported=held.forget
        )

    async def _share(self, executions: Sequence[Execution]) -> None:
        try:
            await self._database.share_tasks(*columns(executions))
        except Exception as error:  # noqa: BLE001 - without it a death counts against them all
            _log.warning("%d recovered tasks are not marked as such: %s", len(executions), error)

    def _ended(self, execution: Execution, outcome: Outcome) -> None:
        assert self._held is not None
        self._held.end(execution, outcome)
        if self._performer.is_spent and not self.stopping.is_set():
            _log.error(
                "%d handlers hang that cannot be stopped: the worker drains and has to be replaced",
                self._performer.hanging,
            )
            self._stop()

    def _forgotten(self) -> None:
        if not self.stopping.is_set():
            self._renewal = asyncio.create_task(self._registration.renew())

    def _deprecated(self) -> None:
        _log.info("worker %s is deprecated and drains", self.worker_id)
        self._stop()

    # Ending

    async def _until_stopped(self, *parts: asyncio.Task[None]) -> None:
        """Wait for `stop`, or for a part that ends because it cannot go on."""
        stopped = asyncio.create_task(self.stopping.wait())
        try:
            await asyncio.wait({stopped, *parts}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()

    async def _drain(self, claiming: asyncio.Task[None], reporting: asyncio.Task[None]) -> None:
        """Hand back what has not started, wait for what runs, give up what outlasts the patience."""
        assert self._held is not None
        self._stop()
        self._claims.stop()
        await asyncio.wait({claiming})
        self._held.give_back(self._slots.withdraw())
        await self._performed(self._drain_timeout, unless=self._hurry)
        self._performer.stop(list(self._held), Stop.RELEASED)
        await self._performed(LAST_WORDS)
        self._reporter.close()
        await asyncio.wait({reporting}, timeout=LAST_WORDS)
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
            if self._held is not None:
                self._held.fence([held for held in self._held if held.task.run_id == run_id])
        finally:
            self._stop()

"""One LISTEN connection, fanned out to asyncio: wake-ups of queues and the events of runs.

A hint only: nothing waits for it without a timeout, and everything works when it never connects.
After each reconnect all waiters are woken once, for what may have been missed meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID, uuid4
from weakref import WeakKeyDictionary, WeakSet

import orjson
import psycopg

from pgflow._backoff import Backoff
from pgflow.database import EVENTS_CHANNEL, WAKE_CHANNEL
from pgflow.errors import PgflowError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from psycopg import AsyncConnection

    from pgflow.database import Database

logger = logging.getLogger(__name__)

FIRST_RETRY = 0.2
LONGEST_RETRY = 30.0
"""Seconds between two attempts to connect, at most; chance makes each shorter."""
RESYNC = "resync"
"""Type of the event that says: notifications may be missing before this one."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One transition of a run or a step, as section 16 of the contract words it."""

    event_type: str
    """`run:started`, `step:completed` …"""
    run_id: UUID
    step_slug: str | None = None
    status: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    """All the event carries; `truncated` is true where a large output or input was left out."""


class EventStream:
    """The events of one run from now on, in order; iterate it, or wait for the `next` one."""

    def __init__(self, run_id: UUID) -> None:
        self.run_id = run_id
        self._events: asyncio.Queue[RunEvent] = asyncio.Queue()

    def put(self, event: RunEvent) -> None:
        """Append an event."""
        self._events.put_nowait(event)

    async def next(self, wait_seconds: float) -> RunEvent | None:
        """Return the next event, or nothing when none comes in time."""
        with suppress(asyncio.QueueEmpty):
            return self._events.get_nowait()
        try:
            async with asyncio.timeout(wait_seconds):
                return await self._events.get()
        except TimeoutError:
            return None

    def __aiter__(self) -> Self:
        """Iterate for ever."""
        return self

    async def __anext__(self) -> RunEvent:
        """Return the next event."""
        return await self._events.get()


class Listener:
    """Listens for one Database; `Listener.of(database)` is shared by all its users and closed with it."""

    _shared: ClassVar[WeakKeyDictionary[Database, Listener]] = WeakKeyDictionary()

    def __init__(
        self, database: Database, *, ping_interval: float = 20, ping_timeout: float = 5
    ) -> None:
        self._database = database
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._ping_channel = f"pgflow_ping_{uuid4().hex[:16]}"
        self._wakes: dict[str, WeakSet[asyncio.Event]] = {}
        self._streams: dict[UUID, WeakSet[EventStream]] = {}
        self._wanted = {self._ping_channel}
        self._listening: set[str] = set()
        self._connection: AsyncConnection[Any] | None = None
        self._socket = -1
        self._task: asyncio.Task[None] | None = None
        self._attention = asyncio.Event()
        self._answered = asyncio.Event()
        self._ponged = asyncio.Event()
        self._lost: BaseException | None = None
        self._is_proven = False
        """A pooler may take LISTEN and never pass anything on."""

    @classmethod
    def of(cls, database: Database) -> Listener:
        """Return the listener of a Database, started."""
        listener = cls._shared.get(database)
        if listener is None:
            listener = cls._shared[database] = cls(database)
            database.on_close(listener.close)
        return listener.start()

    def start(self) -> Self:
        """Connect in the background, unless listening is off; returns at once."""
        if self._task is None and self._database.listens:
            self._task = asyncio.create_task(self._run(), name="pgflow listener")
        return self

    async def close(self) -> None:
        """Stop listening."""
        type(self)._shared.pop(self._database, None)  # noqa: SLF001 - its own class
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def __aenter__(self) -> Self:
        """Start."""
        return self.start()

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        await self.close()

    def is_listening(self, channel: str = EVENTS_CHANNEL) -> bool:
        """Tell whether notifications of the channel arrive: one of our own has, and the connection holds."""
        return self._is_proven and channel in self._listening

    def wake(self, queue_name: str, event: asyncio.Event | None = None) -> asyncio.Event:
        """Return an event of the caller's own, set whenever the queue may have work; clear it, then look."""
        if event is None:
            event = asyncio.Event()
        self._wakes.setdefault(queue_name, WeakSet()).add(event)
        self._want(WAKE_CHANNEL)
        return event

    def events(self, run_id: UUID) -> EventStream:
        """Return a stream of the run's events; it ends by being dropped."""
        stream = EventStream(run_id)
        self._streams.setdefault(run_id, WeakSet()).add(stream)
        self._want(EVENTS_CHANNEL)
        return stream

    def _want(self, channel: str) -> None:
        if channel not in self._wanted:
            self._wanted.add(channel)
            self._attention.set()

    # The connection

    async def _run(self) -> None:
        backoff, level = Backoff(FIRST_RETRY, LONGEST_RETRY), logging.WARNING
        while True:
            try:
                connection = await self._database.connect_listener()
                backoff, level = Backoff(FIRST_RETRY, LONGEST_RETRY), logging.WARNING
                await self._serve(connection)
            except (psycopg.Error, PgflowError, OSError, TimeoutError) as error:
                logger.log(level, "listening was interrupted: %s", error)
                level = logging.DEBUG
            await asyncio.sleep(backoff.next())

    async def _serve(self, connection: AsyncConnection[Any]) -> None:
        # psycopg's own waiting can't be interrupted without harm to the connection, and it would
        # hold it for LISTEN and pings: this reads the socket itself, whenever it has something.
        loop = asyncio.get_running_loop()
        self._connection, self._lost = connection, None
        self._socket = connection.pgconn.socket  # a lost connection does not tell it any more
        loop.add_reader(self._socket, self._read)
        try:
            while True:
                await self._subscribe(connection)
                if not self._is_proven or not await self._called(self._ping_interval):
                    await self._ping(connection)
        finally:
            loop.remove_reader(self._socket)
            self._connection = None
            self._listening.clear()
            self._is_proven = False
            self._rouse(WAKE_CHANNEL)  # from now on they have to look by themselves
            await connection.close()

    async def _ping(self, connection: AsyncConnection[Any]) -> None:
        self._ponged.clear()
        async with asyncio.timeout(self._ping_timeout):
            # A pooler, behind which nothing is prepared, passes on what its client sends to itself, but perhaps
            # nothing that comes from others.
            if self._is_proven or connection.prepare_threshold is not None:
                await self._send(connection, self._database.notify_statement(self._ping_channel))
            else:
                await self._database.notify(self._ping_channel)
            await self._ponged.wait()
        self._is_proven = True

    async def _called(self, wait_seconds: float) -> bool:
        """Wait for something to do; raise what broke the connection."""
        try:
            async with asyncio.timeout(wait_seconds):
                await self._attention.wait()
        except TimeoutError:
            return False
        self._attention.clear()
        if self._lost is not None:
            raise self._lost
        return True

    async def _subscribe(self, connection: AsyncConnection[Any]) -> None:
        for channel in self._wanted - self._listening:
            await self._send(connection, self._database.listen_statement(channel))
            self._listening.add(channel)
            self._rouse(channel)

    async def _send(self, connection: AsyncConnection[Any], statement: bytes) -> None:
        self._answered.clear()
        connection.pgconn.send_query(statement)
        connection.pgconn.flush()
        async with asyncio.timeout(self._ping_timeout):
            await self._answered.wait()
        if self._lost is not None:
            raise self._lost

    def _read(self) -> None:
        assert self._connection is not None
        pgconn = self._connection.pgconn
        try:
            pgconn.consume_input()
            while not pgconn.is_busy():
                if pgconn.get_result() is None:
                    self._answered.set()
                    break
            # Last: libpq comes upon notifications behind an answer only when the answer has been taken.
            while (notification := pgconn.notifies()) is not None:
                self._dispatch(notification.relname.decode(), notification.extra)
        except psycopg.Error as error:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._lost = error
            self._answered.set()
            self._attention.set()

    # What arrives

    def _dispatch(self, channel: str, payload: bytes) -> None:
        if channel == WAKE_CHANNEL:
            for event in self._wakes.get(payload.decode(), ()):
                event.set()
        elif channel == EVENTS_CHANNEL:
            self._deliver(payload)
        elif channel == self._ping_channel:
            self._ponged.set()

    def _deliver(self, payload: bytes) -> None:
        try:
            content = orjson.loads(payload)
            run_id = UUID(content["run_id"])
        except (ValueError, KeyError, TypeError):
            return  # anybody may notify this channel
        streams = self._streams.get(run_id)
        if not streams:
            self._streams.pop(run_id, None)
            return
        event = RunEvent(
            event_type=content.get("event_type", ""),
            run_id=run_id,
            step_slug=content.get("step_slug"),
            status=content.get("status"),
            payload=content,
        )
        for stream in streams:
            stream.put(event)

    def _rouse(self, channel: str) -> None:
        """Wake everybody who may have missed a notification."""
        if channel == WAKE_CHANNEL:
            for event in [event for events in self._wakes.values() for event in events]:
                event.set()
        elif channel == EVENTS_CHANNEL:
            for run_id, streams in list(self._streams.items()):
                for stream in streams:
                    stream.put(RunEvent(RESYNC, run_id))


__all__ = ["RESYNC", "EventStream", "Listener", "RunEvent"]

"""listener.py: notifications reach their waiters, and a lost connection is noticed and made up for."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID, uuid4

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgflow.database import EVENTS_CHANNEL, Database
from pgflow.errors import ConnectionFailed
from pgflow.listener import RESYNC, EventStream, Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import psycopg
    import pytest


async def notify(db: Database, channel: str, payload: str) -> None:
    async with db.connection() as connection:
        await connection.execute("select pg_notify(%s, %s)", (channel, payload))


async def tell(db: Database, run_id: UUID, event_type: str, **more: object) -> None:
    await notify(
        db, EVENTS_CHANNEL, json.dumps({"event_type": event_type, "run_id": str(run_id), **more})
    )


async def woken(event: asyncio.Event, seconds: float = 5) -> float:
    """Wait for an event and return how long it took."""
    began = time.perf_counter()
    async with asyncio.timeout(seconds):
        await event.wait()
    return time.perf_counter() - began


async def resynced(stream: EventStream) -> None:
    event = await stream.next(5)
    assert event is not None
    assert event.event_type == RESYNC


async def test_a_queue_wakes_its_waiters_and_nobody_else(db: Database) -> None:
    listener = Listener.of(db)
    mine, also_mine, other = listener.wake("mine"), listener.wake("mine"), listener.wake("other")
    for event in (mine, also_mine, other):
        await woken(event)
        event.clear()
    await notify(db, "pgflow_wake", "mine")
    assert await woken(mine) < 0.5
    assert also_mine.is_set()
    assert not other.is_set()


async def test_events_of_a_run_arrive_in_order_and_of_no_other(db: Database) -> None:
    run_id = uuid4()
    stream = Listener.of(db).events(run_id)
    await resynced(stream)
    for number in range(50):
        await tell(db, run_id, f"step:{number}", step_slug=f"s{number}", status="started", n=number)
        await tell(db, uuid4(), "run:started")
    events = [await stream.next(5) for _ in range(50)]
    assert [
        event and (event.event_type, event.step_slug, event.payload["n"]) for event in events
    ] == [(f"step:{number}", f"s{number}", number) for number in range(50)]
    assert await stream.next(0.05) is None


async def test_foreign_notifications_are_ignored(db: Database) -> None:
    run_id = uuid4()
    stream = Listener.of(db).events(run_id)
    await resynced(stream)
    for payload in ["", "{", "[]", "7", '{"run_id": "x"}', '{"run_id": null}', '{"event_type": 1}']:
        await notify(db, EVENTS_CHANNEL, payload)
        await tell(db, run_id, "run:started")
        event = await stream.next(5)
        assert event is not None
        assert event.event_type == "run:started"


async def test_a_dropped_stream_is_forgotten(db: Database) -> None:
    listener = Listener.of(db)
    run_id = uuid4()
    stream = listener.events(run_id)
    await resynced(stream)
    del stream
    gc.collect()
    await tell(db, run_id, "run:started")
    async with asyncio.timeout(5):
        while run_id in listener._streams:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_it_is_shared_by_all_users_of_a_database(db: Database) -> None:
    assert Listener.of(db) is Listener.of(db)


async def test_it_listens_only_to_what_somebody_asked_for(db: Database) -> None:
    listener = Listener.of(db)
    await woken(listener.wake("q"))
    assert not listener.is_listening(EVENTS_CHANNEL)


async def test_it_reconnects_when_its_connection_is_cut_and_wakes_everybody(db: Database) -> None:
    listener = Listener.of(db)
    event, stream = listener.wake("q"), listener.events(uuid4())
    await woken(event)
    await resynced(stream)
    event.clear()
    async with db.connection() as connection:
        await connection.execute("""select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and query ~* '^(listen|notify)'""")
    assert await woken(event) < 2
    await resynced(stream)
    event.clear()
    await notify(db, "pgflow_wake", "q")
    assert await woken(event) < 0.5


async def test_a_notification_right_behind_an_answer_is_not_left_lying(db: Database) -> None:
    listener = Listener(db)
    event = listener.wake("q")

    class Pgconn:
        """As libpq does it: reads on behind an answer only once that has been taken."""

        answers: ClassVar = [object(), None]

        def consume_input(self) -> None: ...

        def is_busy(self) -> bool:
            return False

        def get_result(self) -> object:
            return self.answers.pop(0)

        def notifies(self) -> object:
            if self.answers or event.is_set():
                return None
            return SimpleNamespace(relname=b"pgflow_wake", extra=b"q")

    listener._connection = SimpleNamespace(pgconn=Pgconn())  # type: ignore[assignment]
    listener._read()
    assert event.is_set()


class Proxy:
    """Forwards TCP to the server, until `freeze` makes it swallow everything without a word."""

    def __init__(self, dsn: str) -> None:
        self._target = conninfo_to_dict(dsn)
        self.frozen = False
        self.accepted = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        tasks: set[asyncio.Task[None]] = set()
        writers: list[asyncio.StreamWriter] = []

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while data := await reader.read(65536):
                    if not self.frozen:
                        writer.write(data)
            writer.close()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.accepted += 1
            host, port = str(self._target["host"]), int(self._target.get("port") or 5432)
            if host.startswith("/"):
                upstream = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
            else:
                upstream = await asyncio.open_connection(host, port)
            writers.extend((writer, upstream[1]))
            for source, sink in ((reader, upstream[1]), (upstream[0], writer)):
                tasks.add(asyncio.create_task(forward(source, sink)))

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        given: dict[str, Any] = {
            **self._target,
            "host": "127.0.0.1",
            "port": port,
            "sslmode": "disable",
        }
        try:
            yield make_conninfo("", **given)
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in writers:
                writer.close()
            await asyncio.gather(
                *(writer.wait_closed() for writer in writers), return_exceptions=True
            )


async def test_a_half_open_connection_is_noticed_by_its_own_ping(database_url: str) -> None:
    proxy = Proxy(database_url)
    async with proxy.running() as dsn, Database.connect(dsn) as db:  # noqa: SIM117 - one line holds two
        async with Listener(db, ping_interval=0.1, ping_timeout=0.3) as listener:
            event = listener.wake("q")
            await woken(event)
            await asyncio.sleep(0.5)
            before = proxy.accepted
            assert listener.is_listening("pgflow_wake"), (
                "pings through a live connection are answered"
            )
            event.clear()
            proxy.frozen = True
            await asyncio.sleep(0.6)
            assert not listener.is_listening("pgflow_wake")
            proxy.frozen = False
            await woken(event, 15)
            assert proxy.accepted > before


async def test_it_keeps_trying_where_it_cannot_connect(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = 0
    connect = db.connect_listener

    async def refuse() -> psycopg.AsyncConnection[Any]:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise ConnectionFailed("no")
        return await connect()

    monkeypatch.setattr(db, "connect_listener", refuse)
    await woken(Listener.of(db).wake("q"))
    assert attempts == 3

"""An idle worker costs next to nothing, and is at work at once all the same."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgflow import Flow, Worker
from pgflow.database import Database
from pgflow.embedded import EmbeddedServer
from pgflow.listener import Listener
from pgflow.schema import install
from tests.support.servers import SETTINGS, session_directory
from tests.support.worker_processes import WorkerProcess, begun, eventually, start

if TYPE_CHECKING:
    from collections.abc import Iterator

HASTE = 10
"""So many times as often as else does the worker of the test do what it does while idle."""
STATEMENTS_A_SECOND = 0.2


@pytest.fixture(scope="module")
def counting_dsn() -> Iterator[str]:
    """Give a database on a server of its own that counts statements."""
    directory = session_directory()
    settings = {**SETTINGS, "shared_preload_libraries": "pg_stat_statements"}
    server = EmbeddedServer.ensure(directory, settings=settings)
    try:
        install(server.dsn)
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("create extension pg_stat_statements")
        yield server.dsn
    finally:
        server.stop("immediate")
        server.close()
        shutil.rmtree(directory, ignore_errors=True)


def statements(dsn: str) -> dict[str, int]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = connection.execute(
            """select query, calls from pg_stat_statements
               where toplevel and dbid = (select oid from pg_database where datname = current_database())
                 and query not like '%%pg_stat_statements%%'"""
        ).fetchall()
    return dict(rows)


@pytest.mark.slow
async def test_idle_worker_sends_hardly_a_statement(
    counting_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow._claims.LONG_POLL", 20 / HASTE)
    monkeypatch.setattr("pgflow._leases.IDLE_HEARTBEAT", 25 / HASTE)
    monkeypatch.setattr("pgflow._background.UPKEEP", 60 / HASTE)
    flow: Flow[Any] = Flow("idle")
    for queue in ("north", "east", "south", "west"):
        flow.step(name=queue, queue=queue)(lambda _: 1)
    async with Database.connect(counting_dsn) as db:
        Listener.of(db)._ping_interval /= HASTE
        worker = Worker(db, flow)
        work = await begun(worker)
        await eventually(lambda: worker._claims._pause > 0.05, 5)
        await asyncio.sleep(1)
        before = statements(counting_dsn)
        seconds = 8
        await asyncio.sleep(seconds)
        after = statements(counting_dsn)
        run_id = await start(db, flow)

        async def is_over() -> bool:
            return await db.run_status(run_id) == "completed"

        await eventually(is_over, 5)
        worker.stop()
        await work
    sent = {query: calls - before.get(query, 0) for query, calls in after.items()}
    sent = {query: calls for query, calls in sent.items() if calls}
    assert any("next_due" in query for query in sent), "it still looks by itself"
    assert any("worker_heartbeat" in query for query in sent), "it still tells that it lives"
    assert sum(sent.values()) <= STATEMENTS_A_SECOND * HASTE * seconds, sent


def cpu_seconds(pid: int) -> float:
    """Return what all threads of a process have used."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="needs Linux's schedstat")
async def test_idle_worker_process_hardly_uses_the_processor(
    db: Database, database_url: str
) -> None:
    with WorkerProcess(database_url, "mapped") as process:

        async def is_registered() -> bool:
            return bool(await db.workers())

        await eventually(is_registered)
        await asyncio.sleep(2)
        begin, before = time.monotonic(), cpu_seconds(process.pid)
        await asyncio.sleep(3)
        share = (cpu_seconds(process.pid) - before) / (time.monotonic() - begin)
    # The goal is 0.1 %; a busy machine makes each wake-up dearer.
    assert share < 0.005


async def test_idle_worker_hears_of_a_run_at_once(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow._claims.LONG_POLL", 600)
    flow: Flow[Any] = Flow("waking")
    loop = asyncio.get_running_loop()
    called = asyncio.Event()
    flow.step(name="task")(lambda _: loop.call_soon_threadsafe(called.set))
    worker = Worker(db, flow)
    work = await begun(worker)
    await eventually(lambda: Listener.of(db).is_listening("pgflow_wake"))
    await asyncio.sleep(0.3)
    await start(db, flow)
    async with asyncio.timeout(5):
        await called.wait()
    worker.stop()
    await work


async def test_fault_60_work_that_came_while_nothing_listened_is_found(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow._claims.LONG_POLL", 600)
    monkeypatch.setattr("pgflow._claims.LONGEST_POLL", 600)
    flow: Flow[Any] = Flow("deafened")
    flow.step(name="task")(lambda _: 1)
    worker = Worker(db, flow)
    work = await begun(worker)
    listener = Listener.of(db)
    await eventually(lambda: listener.is_listening("pgflow_wake"))
    await asyncio.sleep(0.3)
    gate = asyncio.Event()
    connect = db.connect_listener

    async def connect_later() -> Any:
        await gate.wait()
        return await connect()

    monkeypatch.setattr(db, "connect_listener", connect_later)
    async with db.connection() as connection:
        await connection.execute("""select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and query ~* '^(listen|notify)'""")
    await eventually(lambda: not listener.is_listening("pgflow_wake"))
    await eventually(lambda: worker._claims._pause > 1)  # it has looked, for it was told
    run_id = await start(db, flow)
    await asyncio.sleep(0.2)
    assert await db.run_status(run_id) == "started", "nobody has heard of it"
    gate.set()

    async def is_over() -> bool:
        return await db.run_status(run_id) == "completed"

    await eventually(is_over, 10)
    worker.stop()
    await work


async def test_a_listener_behind_a_mute_pooler_counts_as_deaf(db: Database) -> None:
    async with Listener(db, ping_timeout=0.2) as listener:
        listener._ping_channel = "another"  # as if a pooler passed nothing on
        event = listener.wake("q")
        async with asyncio.timeout(5):
            await event.wait()
        await asyncio.sleep(0.1)
        assert not listener.is_listening("pgflow_wake")

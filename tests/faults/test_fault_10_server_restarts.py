"""Faults 10 and 11: the server, or single backends, die under a worker; it carries on when they are back."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pgflow import Flow, Worker
from pgflow.database import Database
from pgflow.embedded import EmbeddedServer
from pgflow.schema import install
from tests.support.worker_processes import begun, eventually, finished, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

COUNT = 300


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    directory = Path(tempfile.mkdtemp(prefix="pgflow-tests-"))
    server = EmbeddedServer.ensure(directory)
    install(server.dsn)
    yield server
    server.stop("immediate")
    server.close()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.parametrize("fault", ["immediate stop", "killed backends"])
async def test_faults_10_11_worker_survives_and_nothing_is_lost(
    server: EmbeddedServer, fault: str
) -> None:
    flow: Flow[Any] = Flow("restarted" if fault == "immediate stop" else "beheaded")
    calls: list[int] = []

    @flow.map()
    async def task(number: int) -> int:
        calls.append(number)
        await asyncio.sleep(0.02)
        return number

    async def begin() -> UUID:
        async with Database.connect(server.dsn) as db:
            return await start(db, flow, list(range(COUNT)))

    run_id = await begin()
    worker = Worker(server.dsn, flow, lease=3, concurrency=10)
    work = await begun(worker)
    await eventually(lambda: len(calls) > COUNT / 5)
    if fault == "immediate stop":
        await asyncio.to_thread(server.stop, "immediate")
        done = len(calls)
        await asyncio.to_thread(server.start)
    else:
        async with Database.connect(server.dsn) as db, db.connection() as connection:
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name like 'pgflow%' and pid <> pg_backend_pid()"
            )
        done = len(calls)
    assert done < COUNT
    async with Database.connect(server.dsn) as db:
        assert await finished(db, run_id) == {"task": list(range(COUNT))}
        worker.stop()
        await work
        assert worker.statistics.repeated > 0 or len(set(calls)) == COUNT
        assert [queue.total for queue in await db.queues() if queue.queue_name == flow.slug] == [0]

"""Fault 4: the reply to a commit is lost; the same fence asks again and learns that it was accepted."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgflow import Flow, Worker, current_task
from tests.support.worker_processes import start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgflow.database import Database


class Proxy:
    """Forwards to PostgreSQL; cuts a connection when the reply to a statement with `needle` has come."""

    def __init__(self, dsn: str) -> None:
        parts = conninfo_to_dict(dsn)
        self._host = str(parts.get("host") or "localhost")
        self._port = int(parts.get("port") or 5432)
        self._dsn = dsn
        self.needle = b""
        self.cuts = 0
        self._server: asyncio.Server | None = None

    async def listen(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return make_conninfo(self._dsn, host="127.0.0.1", port=port)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._host.startswith("/"):
            path = f"{self._host}/.s.PGSQL.{self._port}"
            upstream_reader, upstream_writer = await asyncio.open_unix_connection(path)
        else:
            upstream_reader, upstream_writer = await asyncio.open_connection(self._host, self._port)
        doomed = asyncio.Event()
        with suppress(ConnectionError):
            await asyncio.gather(
                self._upwards(reader, upstream_writer, doomed),
                self._downwards(upstream_reader, writer, doomed),
            )
        for end in (writer, upstream_writer):
            end.close()

    async def _upwards(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        while data := await reader.read(65536):
            if self.needle and self.needle in data:
                self.needle = b""
                doomed.set()
            writer.write(data)
        writer.close()

    async def _downwards(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        while data := await reader.read(65536):
            if doomed.is_set() and data.endswith(b"Z\x00\x00\x00\x05I"):
                # ReadyForQuery, idle: the server has committed. The reply goes no further.
                self.cuts += 1
                writer.close()
                return
            writer.write(data)
        writer.close()


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(database_url)
    yield proxy
    await proxy.close()


async def test_fault_04_lost_reply_to_a_completion_counts_once(db: Database, proxy: Proxy) -> None:
    flow: Flow[Any] = Flow("doubtful", max_attempts=1)
    calls: list[int] = []

    @flow.step()
    def task(_: Any) -> int:
        calls.append(1)
        proxy.needle = b"complete_and_claim"
        return current_task().fence

    run_id = await start(db, flow)
    worker = Worker(await proxy.listen(), flow, lease=3)
    async with asyncio.timeout(60):
        await worker.run_until(run_id)
    run = await db.run(run_id)
    assert run is not None
    assert (run.status, run.output and run.output.parse()) == ("completed", {"task": 1})
    assert proxy.cuts == 1
    assert calls == [1]
    assert (worker.statistics.completed, worker.statistics.stale) == (1, 0)
    assert worker.statistics.repeated >= 1


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_fault_04_lost_reply_to_a_transaction_counts_once(
    db: Database, proxy: Proxy, kind: str
) -> None:
    flow: Flow[Any] = Flow("doubtful", max_attempts=1)
    async with db.connection() as connection:
        await connection.execute("create table public.ledger (number int)")
    insert = "insert into public.ledger values (1)"

    async def write_async(_: Any) -> None:
        async with current_task().transaction() as connection:
            await connection.execute(insert)
        proxy.needle = b"COMMIT"

    def write(_: Any) -> None:
        with current_task().transaction() as connection:
            connection.execute(insert)
        proxy.needle = b"COMMIT"

    flow.step(name="task")(write_async if kind == "async" else write)
    run_id = await start(db, flow)
    worker = Worker(await proxy.listen(), flow, lease=3)
    async with asyncio.timeout(60):
        await worker.run_until(run_id)
    assert await db.run_status(run_id) == "completed"
    assert proxy.cuts == 1
    assert worker.statistics.completed == 1
    assert worker.statistics.stale == worker.statistics.failed == worker.statistics.released == 0
    async with db.connection() as connection:
        rows = await (await connection.execute("select number from public.ledger")).fetchall()
    assert rows == [(1,)]

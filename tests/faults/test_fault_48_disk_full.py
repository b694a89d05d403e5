"""Fault 48: the server's disk is full: workers wait, no attempt is spent, and work goes on when there is room."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from pgflow import Flow, Worker, current_task
from pgflow.database import Database
from tests.support.private_server import PrivateServer
from tests.support.worker_processes import begun, eventually, finished, start

if TYPE_CHECKING:
    from psycopg import AsyncConnection

ROOM = 18 << 20
"""Bytes that a file may have: more than a segment of the log, less than the outputs."""


@pytest.mark.slow
async def test_fault_48_a_disk_that_is_really_full(caplog: pytest.LogCaptureFixture) -> None:
    flow: Flow[Any] = Flow("filling", max_attempts=1)

    @flow.map()
    async def fill(number: int) -> str:
        return random.Random(number).randbytes(700_000).hex()

    with PrivateServer.running() as server:
        async with Database.connect(server.dsn) as db:
            run_id = await start(db, flow, list(range(20)))
        server.limit_files(ROOM)
        worker = Worker(server.dsn, flow, concurrency=5)
        work = await begun(worker)
        await eventually(
            lambda: "a report failed" in caplog.text and worker.statistics.repeated > 2
        )
        assert "File too large" in caplog.text
        done = worker.statistics.completed
        assert 0 < done < 20
        assert not work.done()
        await asyncio.to_thread(server.limit_files, None)
        async with Database.connect(server.dsn) as db:
            await finished(db, run_id)
            tasks = await db.tasks(run_id, "fill")
            assert [task.status for task in tasks] == ["completed"] * 20
            assert {one.outcome for one in await db.attempts(run_id)} <= {"completed", "released"}
            assert await db.failed_tasks(run_id) == []
            worker.stop()
            await work


FULL = """
create table public.disk (is_full boolean);
create function public.refuse() returns trigger language plpgsql as $$
begin
  if exists (select from public.disk where is_full) then
    raise exception 'could not extend file: No space left on device' using errcode = 'disk_full';
  end if;
  return new;
end $$;
create table public.written (number int);
create trigger full_disk before insert on public.written for each row execute function public.refuse();
create trigger full_disk before update on pgflow.step_tasks for each row execute function public.refuse();
"""


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_fault_48_neither_reports_nor_handlers_writes_cost_an_attempt(
    db: Database, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    flow: Flow[Any] = Flow("writing", max_attempts=1, base_delay=0)
    running = asyncio.Event()
    loop = asyncio.get_running_loop()
    insert = "insert into public.written values (1)"

    def write_sync(_: Any) -> int:
        loop.call_soon_threadsafe(running.set)
        with current_task().transaction() as connection:
            connection.execute("select pg_sleep(0.5)")
            connection.execute(insert)
        return current_task().attempt

    async def write(_: Any) -> int:
        running.set()
        async with current_task().transaction() as connection:
            await asyncio.sleep(0.5)
            await connection.execute(insert)
        return current_task().attempt

    flow.step(name="write")(write if kind == "async" else write_sync)
    async with db.connection() as connection:
        await connection.execute(FULL)
        run_id = await start(db, flow)
        worker = Worker(db, flow, lease=3)
        work = await begun(worker)
        await running.wait()
        await _set(connection, "insert into public.disk values (true)")
        await eventually(lambda: "No space left on device" in caplog.text)
        await asyncio.sleep(0.5)
        await _set(connection, "delete from public.disk")
        assert await finished(db, run_id) == {"write": 1}
        row = await (await connection.execute("select count(*) from public.written")).fetchone()
        assert row == (1,)
    outcomes = [one.outcome for one in await db.attempts(run_id)]
    assert outcomes[-1] == "completed"
    assert set(outcomes[:-1]) == {"released"}, "the server was to blame"
    worker.stop()
    await work


async def _set(connection: AsyncConnection[Any], statement: str) -> None:
    await connection.execute(statement.encode())

"""Faults 49, 52 and 28: a server that takes no writes for a while, with hostile timeouts, or with another time than ours."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from pgflow import Flow, Worker, current_task
from pgflow.database import Database
from tests.support.fault_flows import timed
from tests.support.worker_flows import read_journal
from tests.support.worker_processes import WorkerProcess, begun, eventually, finished, start

if TYPE_CHECKING:
    from pathlib import Path


def alter(dsn: str, **settings: str | None) -> None:
    """Give the database other defaults (None: the server's), and end all its sessions."""
    with psycopg.connect(
        dsn, autocommit=True, options="-c default_transaction_read_only=off"
    ) as it:
        database = sql.Identifier(it.info.dbname)
        for name, value in settings.items():
            action = (
                sql.SQL("reset {}").format(sql.Identifier(name))
                if value is None
                else sql.SQL("set {} = {}").format(sql.Identifier(name), sql.Literal(value))
            )
            it.execute(sql.SQL("alter database {} {}").format(database, action))
        it.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )


def relay(slug: str) -> Flow[Any]:
    flow: Flow[Any] = Flow(slug, max_attempts=1)

    @flow.map()
    async def task(number: int) -> int:
        await asyncio.sleep(0.02)
        return number

    return flow


async def test_fault_49_a_worker_waits_while_the_server_is_read_only(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    flow = relay("reading")
    worker = Worker(database_url, flow, concurrency=4, lease=2)
    async with Database.connect(database_url) as db:
        run_id = await start(db, flow, list(range(150)))
        work = await begun(worker)
        await eventually(lambda: worker.statistics.completed > 20)
    alter(database_url, default_transaction_read_only="on")
    await eventually(lambda: "read-only transaction" in caplog.text)
    logged, held = len(caplog.records), worker.statistics.completed
    await asyncio.sleep(2)
    assert len(caplog.records) - logged < 60, "a few lines a second, and no loop"
    assert not work.done()
    assert worker.statistics.completed == held
    alter(database_url, default_transaction_read_only=None)
    async with Database.connect(database_url) as db:
        assert await finished(db, run_id) == {"task": list(range(150))}
        assert await db.failed_tasks(run_id) == []
        worker.stop()
        await work


async def test_fault_49_a_worker_that_starts_on_a_read_only_server_waits_for_it(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    flow = relay("patient")
    alter(database_url, default_transaction_read_only="on")
    worker = Worker(database_url, flow)
    work = asyncio.create_task(worker.run())
    await eventually(lambda: "the server takes no writes" in caplog.text)
    assert not work.done()
    alter(database_url, default_transaction_read_only=None)
    async with asyncio.timeout(40):
        await worker.started.wait()
    async with Database.connect(database_url) as db:
        assert await finished(db, await start(db, flow, [1, 2])) == {"task": [1, 2]}
        worker.stop()
        await work


async def test_fault_49_a_worker_that_waits_for_a_server_can_be_stopped(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    alter(database_url, default_transaction_read_only="on")
    worker = Worker(database_url, relay("stoppable"))
    work = asyncio.create_task(worker.run())
    await eventually(lambda: "the server takes no writes" in caplog.text)
    worker.stop()
    async with asyncio.timeout(10):
        await work
    assert not worker.started.is_set()


async def test_fault_52_the_servers_timeouts_do_not_reach_us(database_url: str) -> None:
    alter(
        database_url,
        statement_timeout="100",
        lock_timeout="10",
        idle_in_transaction_session_timeout="100",
        idle_session_timeout="200",
        **_only_where_known(database_url, transaction_timeout="100"),
    )
    flow: Flow[Any] = Flow("unhurried", max_attempts=1)

    @flow.step()
    async def slow(_: Any) -> int:
        async with current_task().transaction() as connection:
            await connection.execute("select pg_sleep(0.3)")
            await asyncio.sleep(0.4)
        return 1

    @flow.step(depends_on=(slow,))
    def slow_sync(number: int) -> int:
        with current_task().transaction() as connection:
            connection.execute("select pg_sleep(0.3)")
        return number + 1

    async with Database.connect(database_url) as db:
        worker = Worker(db, flow)
        work = await begun(worker)
        run_id = await start(db, flow)
        await asyncio.sleep(0.6)  # what is idle in a session would be cut meanwhile
        assert await finished(db, run_id) == {"slow_sync": 2}
        assert [one.outcome for one in await db.attempts(run_id)] == ["completed"] * 2
        assert worker.statistics.repeated == 0
        worker.stop()
        await work


async def test_fault_52_statements_that_somebody_cancels_cost_no_attempt(
    db: Database, database_url: str
) -> None:
    flow = relay("cancelled")
    run_id = await start(db, flow, list(range(150)))
    worker = Worker(database_url, flow, concurrency=4, lease=30)
    work = await begun(worker)
    for _ in range(4):
        # A lock keeps the worker's statements under way for as long as it takes to cancel one of each kind.
        async with db.transaction() as holder, db.connection() as connection:
            await holder.execute("lock table pgflow.step_tasks in exclusive mode")
            cancelled = 0
            while cancelled < 2:
                cursor = await connection.execute(
                    "select count(*) filter (where pg_cancel_backend(pid)) from pg_stat_activity"
                    " where datname = current_database() and wait_event_type = 'Lock'"
                )
                row = await cursor.fetchone()
                assert row is not None
                cancelled += row[0]
                await asyncio.sleep(0.05)
    assert await finished(db, run_id) == {"task": list(range(150))}
    outcomes = {one.outcome for one in await db.attempts(run_id)}
    assert "failed" not in outcomes
    worker.stop()
    await work


@pytest.mark.parametrize("hours", [-1, 1])
async def test_fault_28_a_worker_whose_clock_is_wrong_works_as_any_other(
    db: Database,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hours: int,
) -> None:
    monkeypatch.setenv("PGFLOW_TEST_CLOCK_OFFSET", str(hours * 3600))
    journal = tmp_path / "journal"
    run_id = await start(db, timed, {"journal": str(journal)})
    options: dict[str, Any] = {"module": "tests.support.fault_flows", "lease": 1}
    with WorkerProcess(database_url, "timed", **options):
        assert await finished(db, run_id) == {"late": 2}
    (first, second) = await db.attempts(run_id)
    assert (first.outcome, second.outcome) == ("failed", "completed")
    assert first.ended_at is not None
    assert second.started_at is not None
    assert 0.9 < (second.started_at - first.ended_at).total_seconds() < 20
    said = int(read_journal(journal)[0][1])
    assert abs(said - first.ended_at.timestamp() - hours * 3600) < 60, "it was wrong indeed"


def _only_where_known(dsn: str, **settings: str) -> dict[str, str]:
    with psycopg.connect(dsn) as connection:
        known = {name for (name,) in connection.execute("select name from pg_settings").fetchall()}
    return {name: value for name, value in settings.items() if name in known}

"""Fault 61: through a pooler in transaction mode everything works, and `doctor` says how LISTEN does."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgflow import Client, Flow, Worker, current_task
from pgflow._doctor import examine
from pgflow.database import WAKE_CHANNEL, Database
from pgflow.listener import Listener
from tests.support.pgbouncer import needs_pgbouncer, pgbouncer
from tests.support.worker_flows import mapped
from tests.support.worker_processes import WorkerProcess, begun, eventually, finished

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_pgbouncer
COUNT = 200


@pytest.fixture
def pooled_url(database_url: str) -> Iterator[str]:
    with pgbouncer(database_url) as dsn:
        yield dsn


async def test_fault_61_worker_and_client_work_through_it(
    pooled_url: str, database_url: str, tmp_path: Path
) -> None:
    async with Database.connect(pooled_url) as db:
        setting = {"journal": str(tmp_path / "journal"), "count": COUNT}
        runs = [await Client(db).start(mapped, setting) for _ in range(3)]
        with (
            WorkerProcess(pooled_url, "mapped", lease=5),
            WorkerProcess(pooled_url, "mapped", lease=5),
        ):
            for run in runs:
                assert await finished(db, run.id) == {"collected": sum(range(COUNT))}
    with psycopg.connect(database_url) as connection:
        lost = "select count(*) from pgflow.attempts where outcome <> 'completed'"
        assert connection.execute(lost).fetchone() == (0,)
        assert connection.execute("select * from pgflow.invariant_violations").fetchall() == []


async def test_fault_61_transactional_steps_work_through_it(
    pooled_url: str, database_url: str
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("create table public.ledger (number int)")
    flow: Flow[Any] = Flow("booking")

    @flow.map()
    async def book(number: int) -> int:
        async with current_task().transaction() as connection:
            await connection.execute("insert into public.ledger values (%s)", [number])
        return number

    async with Database.connect(pooled_url) as db:
        worker = Worker(db, flow)
        work = await begun(worker)
        run = await Client(db).start(flow, list(range(20)))
        assert await finished(db, run.id) == {"book": list(range(20))}
        worker.stop()
        await work
    with psycopg.connect(database_url) as connection:
        booked = connection.execute("select number from public.ledger order by 1").fetchall()
    assert booked == [(number,) for number in range(20)]


async def test_fault_61_no_statement_is_prepared_through_it(
    pooled_url: str, database_url: str
) -> None:
    async def prepared(dsn: str) -> int:
        async with Database.connect(dsn) as db:
            for _ in range(20):
                await asyncio.gather(*(db.next_due([], None) for _ in range(4)))
                await db.runs()
            async with db.connection() as connection:
                cursor = await connection.execute("select count(*) from pg_prepared_statements")
                return int((await cursor.fetchall())[0][0]) + _own_names(db)

    def _own_names(db: Database) -> int:
        lines = db._work_lines._lines
        return sum(1 for line in lines for name in line._names.values() if name)

    assert await prepared(pooled_url) == 0
    assert await prepared(database_url) > 0, "else the test above shows nothing"


async def proven(db: Database) -> None:
    """Wait until a listener knows that notifications arrive."""
    listener = Listener.of(db)
    listener.wake("any")
    await eventually(lambda: listener.is_listening(WAKE_CHANNEL))


async def test_fault_61_listening_is_not_believed_to_work_through_it(
    pooled_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Database.connect(pooled_url) as db:
        listener = Listener.of(db)
        listener.wake("any")
        await eventually(lambda: "listening was interrupted" in caplog.text)
        assert not listener.is_listening(WAKE_CHANNEL)


async def test_fault_61_listening_over_a_direct_address_works(
    pooled_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Database.connect(pooled_url, listen_dsn=database_url) as db:
        await proven(db)
    monkeypatch.setenv("PGFLOW_LISTEN_DSN", database_url)
    async with Database.connect(pooled_url) as db:
        await proven(db)


async def test_fault_61_listening_can_be_off(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PGFLOW_LISTEN_DSN", "off")
    caplog.set_level(logging.WARNING)
    async with Database.connect(database_url) as db:
        listener = Listener.of(db)
        listener.wake("any")
        assert listener._task is None
        assert not listener.is_listening(WAKE_CHANNEL)
        query = "select count(*) from pg_stat_activity where query ilike 'listen%' and datname = current_database()"
        async with db.connection() as connection:
            cursor = await connection.execute(query)
            assert await cursor.fetchall() == [(0,)]
    assert caplog.records == []


def checks(dsn: str) -> dict[str, str]:
    return {finding.check: finding.what for finding in examine(dsn).findings}


def test_fault_61_doctor_names_it(pooled_url: str) -> None:
    found = checks(pooled_url)
    assert "by the transaction" in found["pooler"]
    assert "look once a second" in found["listener"]


def test_fault_61_doctor_tells_the_modes_apart(durable_database_url: str) -> None:
    with pgbouncer(durable_database_url, "session", servers=12) as dsn:
        found = checks(dsn)
    assert "session mode" in found["pooler"]
    assert "listener" not in found
    assert checks(durable_database_url) == {}


def test_fault_61_doctor_says_which_address_listens(
    pooled_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGFLOW_LISTEN_DSN", database_url)
    assert "listener" not in checks(pooled_url)
    monkeypatch.setenv("PGFLOW_LISTEN_DSN", "off")
    assert "listening is off" in checks(pooled_url)["listener"]
    monkeypatch.setenv("PGFLOW_LISTEN_DSN", pooled_url)
    assert "do not arrive over the address" in checks(pooled_url)["listener"]

"""Fault 32: handlers that cannot be stopped are given up; what they hold is bounded, and their worker can still end."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pgflow import Flow, Supervisor, Worker, WorkerSpent
from tests.support.fault_flows import hanging, stubborn
from tests.support.worker_flows import read_journal
from tests.support.worker_processes import (
    WorkerProcess,
    begun,
    eventually,
    finished,
    start,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pgflow.database import Database

FLOWS = "tests.support.fault_flows"


async def test_fault_32_a_swallowed_cancellation_costs_the_attempt_and_frees_the_slot(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    flow: Flow[Any] = Flow("deaf", max_attempts=1, timeout=1)
    release = asyncio.Event()

    @flow.map(failure_policy="continue")
    async def listen(number: int) -> int:
        while number == 0 and not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return number

    run_id = await start(db, flow, [0, 1])
    worker = Worker(db, flow, concurrency=1, lease=2)
    work = await begun(worker)
    assert await finished(db, run_id) == {"listen": [None, 1]}
    (failed,) = await db.failed_tasks(run_id)
    assert "TaskTimeout" in (failed.error_message or "")
    assert "deaf.listen[0]" in caplog.text
    assert "abandoned, it still runs: it swallowed its cancellation" in caplog.text
    worker.stop()
    async with asyncio.timeout(10):
        await work
    release.set()


@pytest.mark.parametrize("catch", ["cancellation", "everything"])
async def test_fault_32_a_worker_ends_at_sigterm_whatever_swallows_it(
    db: Database, database_url: str, tmp_path: Path, catch: str
) -> None:
    journal = tmp_path / "journal"
    run_id = await start(db, stubborn, {"journal": str(journal), "catch": catch})
    with WorkerProcess(database_url, "stubborn", module=FLOWS, drain_timeout=1) as worker:
        await eventually(lambda: _status(db, run_id, "failed"))
        worker.send(signal.SIGTERM)
        code, log = await worker.ended()
    assert code == 0, log
    assert [line[0] for line in read_journal(journal)][:2] == ["begun", "swallowed"]


@pytest.mark.slow
async def test_fault_32_a_supervised_process_ends_even_if_its_event_loop_cannot(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    setting = {"journal": str(tmp_path / "journal"), "catch": "thread"}
    run_id = await start(db, stubborn, setting)
    supervisor = Supervisor(f"{FLOWS}:stubborn", processes=1, dsn=database_url, drain_timeout=1)
    running = asyncio.create_task(supervisor.run_async())
    await eventually(lambda: _status(db, run_id, "failed"))
    supervisor.stop()
    async with asyncio.timeout(18):  # sooner than the supervisor would kill it
        assert await running == 1


async def test_fault_32_a_worker_with_too_many_hung_threads_is_replaced(
    db: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow.supervisor.FIRST_PAUSE", 0.05)
    run_id = await start(db, hanging)
    async with Supervisor(
        f"{FLOWS}:hanging", processes=1, dsn=database_url, concurrency=16
    ) as supervisor:
        await supervisor.ready()
        (first,) = supervisor.workers.values()
        assert await finished(db, run_id) == {"hang": ["done"] * 16}
        await eventually(lambda: supervisor.restarts == 1 and len(supervisor.workers) == 1)
        assert first not in supervisor.workers.values()
        assert "16 handlers hang" in (supervisor.error or "")
    outcomes = [(one.attempt, one.outcome) for one in await db.attempts(run_id)]
    assert sorted(outcomes) == [(1, "failed")] * 16 + [(2, "completed")] * 16


async def test_fault_32_hung_threads_that_end_do_not_count_any_more(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow._performer.MOST_HANGING", 2)
    flow: Flow[Any] = Flow("dozing", max_attempts=1, timeout=1)
    release = threading.Event()

    @flow.map(failure_policy="continue")
    def doze(_: int) -> None:
        release.wait(60)

    worker = Worker(db, flow, concurrency=1)
    work = await begun(worker)
    await finished(db, await start(db, flow, [1]))
    assert worker._performer.hanging == 1
    release.set()
    await eventually(lambda: worker._performer.hanging == 0)
    release.clear()
    await finished(db, await start(db, flow, [1, 2]))
    with pytest.raises(WorkerSpent, match="2 handlers hang"):
        await work
    release.set()


async def _status(db: Database, run_id: Any, expected: str) -> bool:
    return await db.run_status(run_id) == expected

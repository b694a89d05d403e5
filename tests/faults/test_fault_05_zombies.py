"""Faults 5, 6 and 7: a worker that was away longer than its lease comes back, and changes nothing."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pgflow import Flow, Worker, current_task
from pgflow._leases import LeaseKeeper
from pgflow.database import Database
from tests.support.worker_flows import crashing, read_journal
from tests.support.worker_processes import WorkerProcess, begun, eventually, finished, start

if TYPE_CHECKING:
    from pathlib import Path


async def test_fault_05_zombie_completes_after_another_grant(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    hold = tmp_path / "journal.hold"
    hold.touch()
    run_id = await start(db, crashing, {"journal": str(journal)})
    with WorkerProcess(database_url, "crashing", lease=2) as zombie:
        await eventually(lambda: read_journal(journal))
        zombie.send(signal.SIGSTOP)
        await eventually(zombie.is_stopped)
        with WorkerProcess(database_url, "crashing", lease=2):
            await eventually(lambda: len(read_journal(journal)) == 2)
            hold.unlink()
            assert await finished(db, run_id) == {"effect": 2}
        zombie.send(signal.SIGCONT)
        zombie.send(signal.SIGTERM)
        code, log = await zombie.ended()
    assert code == 0
    assert "nothing that it did counts any more" in log
    run = await db.run(run_id)
    assert run is not None
    assert run.output is not None
    assert run.output.parse() == {"effect": 2}
    attempts = await db.attempts(run_id)
    assert [(a.attempt, a.outcome) for a in attempts] == [(1, "lost"), (2, "completed")]


class TestWithoutLeases:
    """Both workers live in this process; the first one's lease is not renewed until `renew` is set."""

    @pytest.fixture
    def renew(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        state = {"frozen": None}
        real = LeaseKeeper._extend

        async def extend(keeper: LeaseKeeper) -> None:
            if state["frozen"] != keeper._worker_id:
                await real(keeper)

        monkeypatch.setattr(LeaseKeeper, "_extend", extend)
        return state

    @pytest.mark.parametrize("ending", ["completes", "fails", "extends"])
    async def test_fault_06_07_zombie_changes_nothing(
        self, db: Database, database_url: str, renew: dict[str, Any], ending: str
    ) -> None:
        flow: Flow[Any] = Flow("haunted", base_delay=0)
        granted: dict[int, asyncio.Event] = {1: asyncio.Event(), 2: asyncio.Event()}
        go: dict[int, asyncio.Event] = {1: asyncio.Event(), 2: asyncio.Event()}
        cancelled = asyncio.Event()

        @flow.step()
        async def task(_: Any) -> int:
            fence = current_task().fence
            granted[fence].set()
            try:
                await go[fence].wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
            if fence == 1 and ending == "fails":
                raise ValueError("from the grave")
            return fence

        run_id = await start(db, flow)
        zombie = Worker(db, flow, lease=2, concurrency=1)
        renew["frozen"] = zombie.worker_id
        haunting = await begun(zombie)
        async with asyncio.timeout(60), Database.connect(database_url) as other:
            await granted[1].wait()
            # The zombie's only slot is taken, so it is the other worker that gets the task.
            living = Worker(other, flow, lease=2)
            working = await begun(living)
            await granted[2].wait()
            if ending == "extends":
                renew["frozen"] = None
                await cancelled.wait()
            else:
                go[1].set()
            await eventually(lambda: zombie.statistics.stale == 1)
            (row,) = await db.tasks(run_id, "task")
            assert (row.status, row.attempts_count) == ("started", 2)
            go[2].set()
            assert await finished(db, run_id) == {"task": 2}
            for worker, running in ((zombie, haunting), (living, working)):
                worker.stop()
                await running
        assert zombie.statistics.completed == zombie.statistics.failed == 0
        assert living.statistics.completed == 1

    async def test_cancelled_run_cancels_its_handlers(self, db: Database) -> None:
        flow: Flow[Any] = Flow("called_off")
        running, cancelled = asyncio.Event(), asyncio.Event()

        @flow.step()
        async def task(_: Any) -> None:
            running.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        run_id = await start(db, flow)
        worker = Worker(db, flow, lease=2)
        work = await begun(worker)
        async with asyncio.timeout(30):
            await running.wait()
            await db.cancel_run(run_id, "changed my mind")
            await cancelled.wait()
            worker.stop()
            await work
        assert await db.run_status(run_id) == "cancelled"
        (row,) = await db.tasks(run_id, "task")
        assert row.error_message is None


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_fault_05_a_worker_goes_on_with_a_task_whose_ended_lease_it_found_itself(
    db: Database, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    async def never(_: LeaseKeeper) -> None: ...

    monkeypatch.setattr(LeaseKeeper, "_extend", never)
    flow: Flow[Any] = Flow("own_zombie", max_attempts=1)
    calls: list[int] = []
    release = threading.Event()

    async def wait(_: Any) -> str:
        calls.append(1)
        while not release.is_set():  # noqa: ASYNC110 - the sync handler waits for it as well
            await asyncio.sleep(0.02)
        return "mine"

    def wait_sync(_: Any) -> str:
        calls.append(1)
        release.wait(60)
        return "mine"

    flow.step(name="task")(wait if kind == "async" else wait_sync)
    run_id = await start(db, flow)
    worker = Worker(db, flow, lease=1)
    work = await begun(worker)

    async def is_granted_again() -> bool:
        (task,) = await db.tasks(run_id, "task")
        return task.attempts_count > 1

    await eventually(is_granted_again)
    release.set()
    assert await finished(db, run_id) == {"task": "mine"}
    assert calls == [1]
    worker.stop()
    await work
    assert len(worker) == 0

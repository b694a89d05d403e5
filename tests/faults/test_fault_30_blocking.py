"""Faults 30 and 31: handlers that block the event loop, or the whole interpreter."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from pgflow import Flow, Supervisor, Worker, current_task
from pgflow._leases import LeaseKeeper
from tests.support.fault_flows import gil
from tests.support.worker_flows import read_journal
from tests.support.worker_processes import eventually, finished, start

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    import pytest

    from pgflow.database import Database
    from pgflow.records import RawJson


async def test_fault_30_the_report_names_the_step_the_place_and_the_stack(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    flow: Flow[Any] = Flow("stalling", max_attempts=1)

    def lower() -> None:
        time.sleep(3)

    @flow.step()
    async def stall(_: Any) -> None:
        lower()

    caplog.set_level(logging.WARNING)
    run_id = await start(db, flow)
    await Worker(db, flow, lease=2).run_until(run_id)
    assert [one.outcome for one in await db.attempts(run_id)] == ["completed"]
    (report,) = [r.getMessage() for r in caplog.records if "event loop is blocked" in r.message]
    assert f"by stalling.stall[0] (attempt 1, run {run_id}), in lower (" in report
    assert __file__ in report
    assert report.index("in stall\n") < report.index("in lower\n")
    assert "time.sleep(3)" in report
    assert "run_one_test" not in report, "nothing of who runs the event loop"


async def test_fault_30_the_runs_input_is_there_before_an_async_handler_asks_for_it(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked: list[UUID] = []
    real = LeaseKeeper.read_run_input

    def read(keeper: LeaseKeeper, run_id: UUID) -> RawJson | None:
        blocked.append(run_id)
        return real(keeper, run_id)

    monkeypatch.setattr(LeaseKeeper, "read_run_input", read)
    flow: Flow[Any] = Flow("asking")

    @flow.step()
    async def numbers(setting: dict[str, int]) -> list[int]:
        return [1, 2, 3]

    @flow.map(over=numbers)
    async def direct(number: int) -> int:
        return number + int(current_task().run_input["add"])

    @flow.map(over=direct)
    async def indirect(number: int) -> int:
        return number + _add()

    @flow.map(over=indirect, batch_size=2)
    async def batched(number: int) -> int:
        return number + int(current_task().run_input["add"])

    worker = Worker(db, flow, concurrency=1)
    run_id = await start(db, flow, {"add": 10})
    await worker.run_until(run_id)
    assert await finished(db, run_id) == {"batched": [31, 32, 33]}
    assert blocked == [run_id], "once, before it was known that `indirect` uses it"


def _add() -> int:
    return int(getattr(current_task(), "run_" + "input")["add"])


async def test_fault_31_a_worker_that_lost_the_gil_is_fenced_and_replaced(
    db: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow.supervisor.FIRST_PAUSE", 0.05)
    journal = tmp_path / "journal"
    async with Supervisor(
        "tests.support.fault_flows:gil",
        processes=2,
        dsn=database_url,
        lease=2,
        silent_after=8,
    ) as supervisor:
        await supervisor.ready()
        run_id = await start(db, gil, {"journal": str(journal)})
        assert await finished(db, run_id) == {"seize": 2}
        await eventually(lambda: supervisor.restarts == 1)
        (first, second) = read_journal(journal)
        assert int(first[1]) not in supervisor.pids.values()
        assert int(second[1]) in supervisor.pids.values()
    attempts = await db.attempts(run_id)
    assert [(a.attempt, a.outcome) for a in attempts] == [(1, "lost"), (2, "completed")]

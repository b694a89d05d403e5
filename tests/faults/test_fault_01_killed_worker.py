"""Faults 1, 2 and 3: a worker is killed before, between and after what counts."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.worker_flows import crashing, read_journal
from tests.support.worker_processes import WorkerProcess, eventually, finished, start

if TYPE_CHECKING:
    from pathlib import Path

    from pgflow.database import Database


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


async def test_fault_01_killed_mid_task_is_granted_again_with_a_new_fence(
    db: Database, database_url: str, journal: Path
) -> None:
    hold = journal.with_name("journal.hold")
    hold.touch()
    run_id = await start(db, crashing, {"journal": str(journal)})
    with WorkerProcess(database_url, "crashing", lease=2) as first:
        await eventually(lambda: read_journal(journal))
        first.send(signal.SIGKILL)
        assert (await first.ended())[0] == -signal.SIGKILL
    hold.unlink()
    with WorkerProcess(database_url, "crashing", lease=2):
        assert await finished(db, run_id) == {"effect": 2}
    assert [line[1] for line in read_journal(journal)] == ["1", "2"]
    attempts = await db.attempts(run_id)
    assert [(a.attempt, a.outcome) for a in attempts] == [(1, "lost"), (2, "completed")]


async def test_fault_02_killed_before_the_completion_runs_again_and_counts_once(
    db: Database, database_url: str, journal: Path
) -> None:
    run_id = await start(db, crashing, {"journal": str(journal)})
    with WorkerProcess(database_url, "crashing", lease=2, crash_at="before_complete") as first:
        assert (await first.ended())[0] == -signal.SIGKILL
    assert len(read_journal(journal)) == 1
    with WorkerProcess(database_url, "crashing", lease=2):
        assert await finished(db, run_id) == {"effect": 2}
    assert [line[1] for line in read_journal(journal)] == ["1", "2"]


async def test_fault_03_killed_after_the_commit_is_not_granted_again(
    db: Database, database_url: str, journal: Path
) -> None:
    run_id = await start(db, crashing, {"journal": str(journal)})
    with WorkerProcess(database_url, "crashing", lease=2, crash_at="after_complete") as first:
        assert (await first.ended())[0] == -signal.SIGKILL
    assert await finished(db, run_id) == {"effect": 1}
    assert [q.total for q in await db.queues()] == [0], "nothing is left that could be granted"
    assert [line[1] for line in read_journal(journal)] == ["1"]


async def test_killed_worker_costs_its_other_tasks_one_attempt_only(
    db: Database, database_url: str, journal: Path
) -> None:
    from tests.support.worker_flows import mapped

    setting = {"journal": str(journal), "count": 200, "sleep": 0.02}
    run_id = await start(db, mapped, setting)
    with (
        WorkerProcess(database_url, "mapped", lease=2, concurrency=8, crash_at="before_complete:3"),
        WorkerProcess(database_url, "mapped", lease=2, concurrency=8),
    ):
        assert await finished(db, run_id) == {"collected": sum(range(200))}
    fences = [int(line[2]) for line in read_journal(journal)]
    assert set(fences) == {1, 2}
    assert {int(line[1]) for line in read_journal(journal)} == set(range(200))

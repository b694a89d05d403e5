"""Fault 21: a poison task among many that run with it; and an ordinary death, which must not cost the pace."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from pgflow import Supervisor
from tests.support.fault_flows import company, crowd
from tests.support.worker_flows import read_journal
from tests.support.worker_processes import WorkerProcess, eventually, finished, start

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from pgflow.database import Database

FLOWS = "tests.support.fault_flows"


async def test_fault_21_neighbours_of_a_poison_task_lose_one_attempt_at_most(
    db: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow.supervisor.FIRST_PAUSE", 0.05)
    monkeypatch.setattr("pgflow.supervisor.LONGEST_PAUSE", 0.2)
    setting = {"journal": str(tmp_path / "journal"), "count": 40, "poison": 7}
    run_id = await start(db, company, setting)
    async with Supervisor(
        f"{FLOWS}:company", processes=2, dsn=database_url, concurrency=20, lease=1
    ) as supervisor:
        output = await finished(db, run_id)
        restarts = supervisor.restarts
    assert output == {"dine": [None if n == 7 else n for n in range(40)]}
    (failed,) = await db.failed_tasks(run_id)
    assert failed.task_index == 7
    assert "lost" in (failed.error_message or "")
    tasks = {task.task_index: task for task in await db.tasks(run_id, "dine")}
    spent = {index: task.attempts_count - task.released_count for index, task in tasks.items()}
    assert spent.pop(7) == 3
    assert set(spent.values()) <= {1, 2}, "one for the first crash, one to complete"
    deaths = sum(line[0] == "7" for line in read_journal(tmp_path / "journal"))
    assert 3 <= deaths <= restarts + 1
    assert deaths <= 3 + 3, "its attempts, and three losses in company"


async def test_fault_21_tasks_of_a_worker_that_just_died_run_side_by_side_again(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    journal, hold = tmp_path / "journal", tmp_path / "journal.hold"
    hold.touch()
    run_id = await start(db, crowd, {"journal": str(journal), "count": 60})
    with WorkerProcess(database_url, "crowd", module=FLOWS, lease=2) as first:
        await eventually(lambda: len(read_journal(journal)) == 60)
        first.send(signal.SIGKILL)
        await first.ended()
    with WorkerProcess(database_url, "crowd", module=FLOWS, lease=2):
        await eventually(lambda: len(read_journal(journal)) == 120)
        hold.unlink()
        assert await finished(db, run_id) == {"stand": list(range(60))}
    at_once = [int(line[3]) for line in read_journal(journal) if line[1] == "2"]
    assert max(at_once) == 60, "all that was recovered waited for the file together"

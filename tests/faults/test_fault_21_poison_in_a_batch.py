"""Fault 21 for batches of items: a worker is killed in the midst of one, by one of its items or from outside."""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from pgflow import Supervisor
from tests.support.worker_flows import read_journal, venom
from tests.support.worker_processes import WorkerProcess, finished, start

if TYPE_CHECKING:
    from pathlib import Path

    from pgflow.database import Database


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "journal"
    monkeypatch.setenv("PGFLOW_TEST_JOURNAL", str(path))
    return path


@pytest.mark.slow
async def test_fault_21_a_poison_item_kills_its_batch_once_and_then_itself_only(
    db: Database, database_url: str, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow.supervisor.FIRST_PAUSE", 0.05)
    run_id = await start(db, venom, list(range(12)))
    async with Supervisor(
        "tests.support.worker_flows:venom",
        processes=2,
        dsn=database_url,
        concurrency=1,
        lease=2,
    ):
        output = await finished(db, run_id)
    assert output["sip"] == [None if n == 3 else n for n in range(12)]
    (failed,) = await db.failed_tasks(run_id)
    assert (failed.task_index, failed.error_message is not None) == (3, True)
    assert "lost" in (failed.error_message or "")
    attempts = await db.attempts(run_id)
    outcomes = Counter((one.task_index, str(one.outcome)) for one in attempts)
    assert outcomes[3, "lost"] == 4, "three attempts, and the grant that found them used up"
    for index in (0, 1, 2, 4, 5):
        assert outcomes[index, "lost"] == 1, "no attempt beyond the first crash"
        assert outcomes[index, "completed"] == 1
    assert all(outcomes[index, "lost"] == 0 for index in range(6, 12))
    fences = [(int(line[1]), int(line[2])) for line in read_journal(journal)]
    assert len(fences) == len(set(fences)), "no item was given the same fence twice"
    assert Counter(index for index, _ in fences)[3] == 3


async def test_fault_02_a_worker_killed_before_it_reports_a_batch_has_it_done_again(
    db: Database, database_url: str, journal: Path
) -> None:
    run_id = await start(db, venom, [0, 1, 2])
    with WorkerProcess(database_url, "venom", lease=2, crash_at="before_complete") as first:
        assert (await first.ended())[0] == -signal.SIGKILL
    assert len(read_journal(journal)) == 3
    with WorkerProcess(database_url, "venom", lease=2):
        assert await finished(db, run_id) == {"sip": [0, 1, 2]}
    lines = [(int(line[1]), int(line[2])) for line in read_journal(journal)]
    assert sorted(lines) == [(index, fence) for index in range(3) for fence in (1, 2)]
    assert {task.items for task in await db.tasks(run_id, "sip")} == {None}


async def test_fault_03_a_worker_killed_after_it_reported_a_batch_is_not_repeated(
    db: Database, database_url: str, journal: Path
) -> None:
    run_id = await start(db, venom, [0, 1, 2])
    with WorkerProcess(database_url, "venom", lease=2, crash_at="after_complete") as first:
        assert (await first.ended())[0] == -signal.SIGKILL
    assert await finished(db, run_id) == {"sip": [0, 1, 2]}
    assert len(read_journal(journal)) == 3
    assert [q.total for q in await db.queues()] == [0]

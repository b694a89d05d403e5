"""Fault 34: SIGTERM drains, a second SIGTERM hands back at once; neither spends an attempt."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.worker_flows import crashing, mapped, read_journal
from tests.support.worker_processes import WorkerProcess, eventually, finished, start

if TYPE_CHECKING:
    from pathlib import Path

    from pgflow.database import Database


async def test_fault_34_sigterm_finishes_what_runs_and_claims_no_more(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    setting = {"journal": str(journal), "count": 12, "sleep": 1}
    run_id = await start(db, mapped, setting)
    with WorkerProcess(database_url, "mapped", concurrency=4) as worker:
        await eventually(lambda: len(read_journal(journal)) == 4)
        worker.send(signal.SIGTERM)
        code, log = await worker.ended()
    assert code == 0, log
    assert len(read_journal(journal)) == 4
    tasks = await db.tasks(run_id, "item")
    assert sorted(task.status for task in tasks) == ["completed"] * 4 + ["queued"] * 8
    assert [w.status for w in await db.workers()] == ["stopped"]


@pytest.mark.parametrize("signals", [1, 2])
async def test_fault_34_what_does_not_end_is_released_without_an_attempt(
    db: Database, database_url: str, tmp_path: Path, signals: int
) -> None:
    journal = tmp_path / "journal"
    hold = tmp_path / "journal.hold"
    hold.touch()
    run_id = await start(db, crashing, {"journal": str(journal)})
    patience = 600 if signals == 2 else 1
    begin = time.monotonic()
    with WorkerProcess(database_url, "crashing", drain_timeout=patience) as worker:
        await eventually(lambda: read_journal(journal))
        for _ in range(signals):
            worker.send(signal.SIGTERM)
            time.sleep(0.05)  # noqa: ASYNC251 - two signals at the same instant would merge into one
        code, log = await worker.ended()
    assert code == 0, log
    assert time.monotonic() - begin < 40
    (task,) = await db.tasks(run_id, "effect")
    assert (task.status, task.released_count) == ("queued", 1)
    hold.unlink()
    with WorkerProcess(database_url, "crashing"):
        assert await finished(db, run_id) == {"effect": 2}
    attempts = await db.attempts(run_id)
    assert [(a.attempt, a.outcome) for a in attempts] == [(1, "released"), (2, "completed")]

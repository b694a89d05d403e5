"""Faults 20 and 22: what kills its worker fails after its last grant; what is no task is put aside."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from pgflow import Flow, Supervisor, Worker
from tests.support.worker_flows import poison
from tests.support.worker_processes import finished, start

if TYPE_CHECKING:
    import pytest

    from pgflow.database import Database


async def test_fault_20_poison_fails_after_its_grants_and_other_work_goes_on(
    db: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow.supervisor.FIRST_PAUSE", 0.05)
    run_id = await start(db, poison, list(range(12)))
    async with Supervisor(
        "tests.support.worker_flows:poison",
        processes=2,
        dsn=database_url,
        concurrency=1,
        lease=2,
    ) as supervisor:
        output = await finished(db, run_id)
        assert supervisor.restarts >= 2
    assert output["swallow"] == [None, *range(1, 12)]
    (failed,) = await db.failed_tasks(run_id)
    assert failed.task_index == 0
    assert "lost" in (failed.error_message or "")
    attempts = await db.attempts(run_id, "swallow", 0)
    assert [a.outcome for a in attempts[:2]] == ["lost", "lost"]
    others = [a for a in await db.attempts(run_id) if a.task_index != 0]
    assert {a.outcome for a in others} <= {"completed", "lost"}
    lost = Counter(a.task_index for a in others if a.outcome == "lost")  # in hand when it died
    assert set(lost.values()) <= {1}


async def test_fault_22_messages_without_a_task_are_put_aside(db: Database) -> None:
    flow: Flow[Any] = Flow("littered")
    flow.step(name="task")(lambda _: 1)
    await db.define_flow(
        flow.slug, '{"steps": [{"slug": "task", "step_type": "single", "depends_on": []}]}'
    )
    async with db.connection() as connection:
        for message in (
            '{"flow_slug": "littered", "run_id": "00000000-0000-0000-0000-000000000001", "step_slug": "task", "task_index": 0}',
            '{"flow_slug": "littered", "step_slug": "task", "run_id": "no uuid"}',
        ):
            await connection.execute("select pgmq.send('littered', %s::jsonb)", [message])
    run_id = await start(db, flow)
    worker = Worker(db, flow)
    async with asyncio.timeout(30):
        await worker.run_until(run_id)
    assert worker.statistics.claimed == 1
    async with db.connection() as connection:
        cursor = await connection.execute("select reason from pgflow.quarantined_messages")
        reasons = [reason for (reason,) in await cursor.fetchall()]
        cursor = await connection.execute("select count(*) from pgmq.q_littered")
        assert await cursor.fetchone() == (0,)
    assert len(reasons) == 2
    assert all(reasons)

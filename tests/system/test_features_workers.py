"""Features A10 and A17: work spread over processes, and its state seen from any process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pgflow import Flow
from tests.support.feature_flows import brief
from tests.support.features import resume
from tests.support.worker_processes import (
    ROOT,
    WorkerProcess,
    eventually,
    finished,
    import_path,
    start,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pgflow.database import Database

COUNT = 1_000
PROCESSES = 4


async def test_a10_four_processes_share_1000_tasks_and_do_each_once(
    db: Database, database_url: str
) -> None:
    async def all_serve() -> bool:
        return len(await db.workers()) == PROCESSES

    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                WorkerProcess(
                    database_url, "brief", module="tests.support.feature_flows", concurrency=4
                )
            )
            for _ in range(PROCESSES)
        ]
        await eventually(all_serve)
        run_id = await start(db, brief, list(range(COUNT)))
        assert await finished(db, run_id) == {"stamp": list(range(COUNT))}
        workers = await db.workers()
        assert {worker.pid for worker in workers} == {process.pid for process in processes}
    tasks = await db.tasks(run_id, "stamp", limit=COUNT)
    assert {(task.attempts_count, task.status) for task in tasks} == {(1, "completed")}
    shares = Counter(task.last_worker_id for task in tasks)
    assert shares.keys() == {worker.worker_id for worker in workers}
    assert {worker.worker_id: worker.tasks_completed for worker in workers} == shares
    attempts = await db.attempts(run_id, limit=2 * COUNT)
    assert len(attempts) == COUNT
    assert {(one.task_index, one.worker_id) for one in attempts} == {
        (task.task_index, task.last_worker_id) for task in tasks
    }


WATCHER = """
import asyncio, sys
from pathlib import Path
from pgflow import Client, Database

async def main():
    dsn, run_id, path = sys.argv[1:]
    async with Database.connect(dsn) as db:
        client = Client(db)
        run = await client.get(run_id)
        progress = await run.progress()
        listed = [(str(one.run_id), str(one.status)) for one in await client.list("watched")]
        print(await run.status(), progress.percent, listed == [(run_id, "started")], flush=True)
        Path(path).touch()
        ended = await run.wait(60)
        print(ended.status, ended.progress, await run.output(), flush=True)

asyncio.run(main())
"""


async def test_a17_another_process_sees_status_and_progress_lists_and_waits(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    flow = Flow[int]("watched")
    seen = tmp_path / "seen"

    @flow.step()
    def first(number: int) -> int:
        return number

    @flow.step(depends_on=(first,))
    async def second(number: int) -> int:
        await eventually(seen.exists)
        return number + 1

    run_id = await start(db, flow, 1)
    work = asyncio.create_task(resume(db, flow, run_id))

    async def is_half_done() -> bool:
        return [str(step.status) for step in await db.steps(run_id)] == ["completed", "started"]

    await eventually(is_half_done)
    watched = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", WATCHER, database_url, str(run_id), str(seen)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": import_path()},
    )
    assert watched.stdout.splitlines() == ["started 50.0 True", "completed 100 {'second': 2}"]
    assert (await work).status == "completed"

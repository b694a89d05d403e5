"""Works off tasks through a Database, without a worker: tests of clients need to decide what happens when."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pgflow.database import Database
    from pgflow.records import GrantedTask, Outcome


class Boom(Exception):  # noqa: N818 - reads well where it is raised
    """Raised by the functions given to `work`: the task fails with its text."""


async def claim(db: Database, queue: str, qty: int = 100) -> list[GrantedTask]:
    """Claim tasks for a new worker."""
    worker_id = uuid4()
    await db.register_worker(worker_id, [queue], "tests")
    return await db.claim_tasks(queue, worker_id, qty)


async def report(db: Database, task: GrantedTask, output: object) -> Outcome:
    """Complete one task."""
    text = json.dumps(output)
    (answer,) = await db.complete_tasks(
        [task.run_id], [task.step_slug], [task.task_index], [task.attempt], [text]
    )
    return answer.outcome


async def fail(db: Database, task: GrantedTask, error: str) -> Outcome:
    """Fail one task for good."""
    which = ([task.run_id], [task.step_slug], [task.task_index], [task.attempt])
    (answer,) = await db.fail_tasks(*which, [error], ['{"kind": "error", "final": true}'])
    return answer.outcome


async def work(db: Database, queue: str, functions: Mapping[str, Callable[[Any], Any]]) -> int:
    """Perform tasks until none is due; return how many. A function gets the task's input."""
    count = 0
    while tasks := await claim(db, queue):
        for task in tasks:
            given = task.input if task.flow_input is None else task.flow_input
            try:
                output = functions[task.step_slug](given.parse())
            except Boom as error:
                await fail(db, task, str(error))
            else:
                await report(db, task, output)
        count += len(tasks)
    return count


async def count_runs(db: Database) -> int:
    """Count all runs."""
    return len(await db.runs(limit=1000))


__all__ = ["Boom", "claim", "count_runs", "fail", "report", "work"]

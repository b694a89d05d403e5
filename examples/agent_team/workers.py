"""The worker processes of the roles, and the one accident that befalls them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
from psycopg import AsyncConnection

from pgflow import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

PROCESSES = {"lead": 1, "research": 2, "analysis": 1, "validation": 1}
"""Worker processes for each queue."""
LEASE = 4
"""Seconds after which a dead worker's task is granted to another; short, so that one can watch."""

PATIENCE = 60
"""Seconds in which a task to interrupt must come by."""


@asynccontextmanager
async def working(dsn: str) -> AsyncIterator[None]:
    """Run the roles' workers: each process serves one queue, one task at a time."""
    async with AsyncExitStack() as stack:
        supervisors = [
            await stack.enter_async_context(
                Supervisor(
                    f"{__package__}.flow:team",
                    processes=processes,
                    queues=[queue],
                    dsn=dsn,
                    concurrency=1,
                    lease=LEASE,
                    log_level="CRITICAL",
                )
            )
            for queue, processes in PROCESSES.items()
        ]
        for supervisor in supervisors:
            await supervisor.ready()
        yield


@dataclass(frozen=True, slots=True)
class Victim:
    """A worker that was killed, and the task that it had."""

    worker_id: UUID
    pid: int
    task_index: int


async def kill_one(dsn: str, run_id: UUID, step_slug: str, stand_in: str | None) -> Victim:
    """Kill a worker while it waits for the model's answer in a task of a step."""
    connecting = AsyncConnection.connect(dsn, autocommit=True)
    async with asyncio.timeout(PATIENCE), await connecting as connection:
        while True:
            cursor = await connection.execute(
                """
                select worker.worker_id, worker.pid, attempt.task_index, attempt.attempt
                from pgflow.task_attempts as attempt
                join pgflow.worker_summary as worker using (worker_id)
                where attempt.run_id = %s and attempt.step_slug = %s and attempt.outcome = 'started'
                order by attempt.task_index
                """,
                (run_id, step_slug),
            )
            rows = await cursor.fetchall()
            busy = await _busy(stand_in)
            for worker_id, pid, index, attempt in rows:
                if busy is None or f"{run_id}/{step_slug}/{index}/{attempt}" in busy:
                    os.kill(pid, signal.SIGKILL)
                    told = f"Killed worker {pid} (SIGKILL); its task returns when its lease of {LEASE} s ends.\n"
                    sys.stderr.write(told)
                    return Victim(worker_id, pid, index)
            await asyncio.sleep(0.1)


async def _busy(stand_in: str | None) -> list[str] | None:
    """Return the attempts that the stand-in is answering; another model doesn't tell."""
    if stand_in is None:
        return None
    async with httpx.AsyncClient() as http:
        busy: list[str] = (await http.get(f"{stand_in}/busy")).raise_for_status().json()
    return busy

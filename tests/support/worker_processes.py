"""Real worker processes for fault tests, and what kills, stops and cuts them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from uuid import UUID

    from pgflow import Flow, Worker
    from pgflow.database import Database

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


def import_path() -> str:
    """Return a PYTHONPATH by which another process finds tests.support."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


class WorkerProcess:
    """`python -c …` running one Worker of a flow; killed at the end of the block."""

    def __init__(
        self,
        dsn: str,
        flow: str,
        *,
        module: str = "tests.support.worker_flows",
        crash_at: str = "",
        **options: Any,
    ) -> None:
        environment = {**os.environ, "PYTHONPATH": import_path(), "PGFLOW_CRASH_AT": crash_at}
        code = "from tests.support.worker_processes import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, json.dumps([dsn, module, flow, options])],
            env=environment,
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def is_stopped(self) -> bool:
        """Tell whether SIGSTOP has taken effect."""
        status = Path(f"/proc/{self.pid}/stat").read_text()
        return status.rpartition(")")[2].split()[0] == "T"

    async def ended(self) -> tuple[int, str]:
        """Wait for its end; return the exit code and what it logged."""
        _, log = await asyncio.to_thread(self._process.communicate, timeout=PATIENCE)
        return self._process.returncode, log


def main() -> None:
    """Run the worker that the command line describes."""
    import importlib
    import logging

    from pgflow.worker import Worker

    dsn, module, flow, options = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.INFO)
    worker = Worker(dsn, getattr(importlib.import_module(module), flow), **options)
    asyncio.run(worker.run(signals=True))


async def begun(worker: Worker) -> asyncio.Task[None]:
    """Run a worker in the background from when it claims; raise what keeps it from starting."""
    work = asyncio.create_task(worker.run())
    started = asyncio.create_task(worker.started.wait())
    await asyncio.wait({work, started}, return_when=asyncio.FIRST_COMPLETED)
    if not started.done():
        started.cancel()
        await work
    return work


async def start(db: Database, flow: Flow[Any], run_input: object = None) -> UUID:
    """Define a flow and start a run."""
    await db.define_flow(flow.slug, json.dumps(flow.definition()))
    return await db.start_flow(flow.slug, json.dumps(run_input))


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that only nobody has waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def eventually(check: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Poll until a check holds; it reads what other processes do, so there is no event to wait for."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {check}")
        await asyncio.sleep(0.02)


async def finished(db: Database, run_id: UUID) -> Any:
    """Wait for a run's end and return its output; it must not have failed."""

    async def is_over() -> bool:
        status = await db.run_status(run_id)
        return status is not None and status.is_final

    await eventually(is_over)
    run = await db.run(run_id)
    assert run is not None
    assert run.status == "completed", run.error_message
    return None if run.output is None else run.output.parse()

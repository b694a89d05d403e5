"""isolation="process": nothing that a handler has started outlives it, and no log record fails it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from pgflow import Flow
from pgflow.handlers import Completed, Failed, perform
from pgflow.records import GrantedTask, RawJson
from tests.support import worker_flows
from tests.support.worker_processes import ROOT, eventually, import_path, is_alive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pgflow.handlers import Outcome


async def performed(function: Callable[..., Any], given: object) -> Outcome:
    """Perform a task of the function in a process of its own."""
    flow: Flow[Any] = Flow("isolated")
    raw = RawJson(json.dumps(given).encode())
    task = GrantedTask(
        "isolated", uuid4(), "step", 0, 4, RawJson(b"{}"), raw, 1, "isolated", "single", 1, 1,
        60, exhausted=False,
    )  # fmt: skip
    return await perform(task, flow.step(name="step", isolation="process")(function))


async def test_no_log_record_fails_a_task(caplog: pytest.LogCaptureFixture) -> None:
    assert await performed(worker_flows.log_badly, None) == Completed('"done"')
    assert caplog.records[-1].message == "after all"


async def test_a_program_does_not_outlive_a_handler_that_crashed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    failed = await performed(worker_flows.leave_program, str(pid_file))
    assert isinstance(failed, Failed)
    assert "exit code 3" in failed.error
    await eventually(lambda: not is_alive(int(pid_file.read_text())))


WORKER = """
import asyncio, sys
from tests.support.worker_flows import hang_beside_program
from tests.system.test_isolation_ends import performed
asyncio.run(performed(hang_beside_program, sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
async def test_a_handler_that_holds_the_gil_does_not_outlive_a_killed_worker(
    tmp_path: Path,
) -> None:
    pid_file = tmp_path / "pids"
    worker = subprocess.Popen(  # noqa: ASYNC220 - it is waited for below
        [sys.executable, "-c", WORKER, str(pid_file)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": import_path()},
    )
    try:
        await eventually(lambda: pid_file.exists() and len(pid_file.read_text().split()) == 2)
    finally:
        worker.kill()
        worker.wait()
    pids = [int(pid) for pid in pid_file.read_text().split()]
    await eventually(lambda: not any(map(is_alive, pids)))

"""Flows that other processes import for the tests of faults: they kill, block, hang and count."""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from pathlib import Path
from typing import Any

from pgflow import Flow, current_task
from tests.support.worker_flows import journal

company = Flow[dict[str, Any]]("company", base_delay=0, max_attempts=3, timeout=60)
"""A poison task among many good ones, all running at once."""


@company.step()
def guests(setting: dict[str, Any]) -> list[int]:
    return list(range(setting["count"]))


@company.map(over=guests, failure_policy="continue")
async def dine(number: int) -> int:
    task = current_task()
    setting = task.run_input
    journal(setting["journal"], number, task.fence, os.getpid())
    if number == setting["poison"]:
        await asyncio.sleep(0.1)
        os.kill(os.getpid(), 9)
    await asyncio.sleep(0.3)
    return number


crowd = Flow[dict[str, Any]]("crowd", base_delay=0, max_attempts=3, timeout=60)
"""Tasks that tell how many of them run at once, and wait while a file `hold` exists."""
_running = 0


@crowd.step()
def people(setting: dict[str, Any]) -> list[int]:
    return list(range(setting["count"]))


@crowd.map(over=people)
async def stand(number: int) -> int:
    global _running  # noqa: PLW0603 - counts in this process
    task = current_task()
    _running += 1
    journal(task.run_input["journal"], number, task.fence, os.getpid(), _running)
    while Path(task.run_input["journal"] + ".hold").exists():  # noqa: ASYNC110, ASYNC240 - another process removes it
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)
    _running -= 1
    return number


gil = Flow[dict[str, Any]]("gil", base_delay=0, max_attempts=3, timeout=600)
"""The first attempt is a C call that keeps the GIL for ten minutes."""


@gil.step()
def seize(setting: dict[str, Any]) -> int:
    task = current_task()
    journal(setting["journal"], task.fence, os.getpid())
    if task.fence == 1:
        ctypes.PyDLL(None).sleep(600)
    return task.fence


hungry = Flow[list[int]]("hungry", base_delay=0, max_attempts=1)
"""Takes so many MiB in a process that may have 200."""


@hungry.map(isolation="process", memory_limit=200, failure_policy="continue")
def devour(mebibytes: int) -> int:
    return len(bytearray(mebibytes << 20)) >> 20


hanging = Flow[dict[str, Any]]("hanging", base_delay=0, max_attempts=2, timeout=1)
"""Every first attempt hangs in a thread, far beyond its timeout."""


@hanging.map(initial_tasks=16)
def hang(_: Any) -> str:
    task = current_task()
    if task.attempt == 1:
        time.sleep(600)
    return "done"


stubborn = Flow[dict[str, Any]]("stubborn", base_delay=0, max_attempts=1, timeout=1)
"""Swallows every cancellation, or everything there is, or hangs in a thread of the event loop's own."""


@stubborn.step()
async def stay(setting: dict[str, Any]) -> None:
    journal(setting["journal"], "begun", os.getpid())
    if setting["catch"] == "thread":
        await asyncio.to_thread(time.sleep, 600)
    swallowed = asyncio.CancelledError if setting["catch"] == "cancellation" else BaseException
    while True:
        try:
            await asyncio.sleep(600)
        except swallowed:
            journal(setting["journal"], "swallowed", os.getpid())


timed = Flow[dict[str, Any]]("timed", base_delay=1, jitter=0, max_attempts=2, timeout=30)
"""Fails once, so that its retry is delayed; its worker's clock is wrong by the hours that the environment says."""


@timed.step()
async def late(setting: dict[str, Any]) -> int:
    task = current_task()
    journal(setting["journal"], task.attempt, round(time.time()))
    if task.attempt == 1:
        raise ValueError("once")
    await asyncio.sleep(3)  # longer than its lease
    return task.attempt


if _offset := float(os.environ.get("PGFLOW_TEST_CLOCK_OFFSET", "0")):
    _true_time, _true_time_ns = time.time, time.time_ns
    time.time = lambda: _true_time() + _offset
    time.time_ns = lambda: _true_time_ns() + int(_offset * 1e9)

"""Flows for the crash matrix, one for each kind of step, and the worker process that meets its fate in one of them.

Handlers return a value that their input decides, with the fence of the attempt; they tell of each effect in a file.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any

from pgflow import Flow, Worker, _crashpoints, current_task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINDS = ("single", "last_step", "item", "last_item", "transaction", "async_transaction")
ITEMS = 3
LEDGER = "create table public.ledger (run_id uuid, step text, fence int)"
INSERT = "insert into public.ledger values (%s, %s, %s)"


def effect(setting: dict[str, Any]) -> list[int]:
    """Leave a trace outside the database."""
    task = current_task()
    line = f"{task.run_id} {task.step_slug} {task.index} {task.fence}\n"
    journal = os.open(setting["journal"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(journal, line.encode())
    os.close(journal)
    return [7 * task.index + 1, task.fence]


def effects(path: Path, run_id: object) -> list[tuple[str, int, int]]:
    """Return step, index and fence of each effect in a run."""
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [
        (step, int(index), int(fence)) for run, step, index, fence in lines if run == str(run_id)
    ]


def make_flow(kind: str, slug: str) -> Flow[Any]:
    """Return a flow whose step `target` is of that kind."""
    flow: Flow[Any] = Flow(slug, max_attempts=10, base_delay=0, timeout=60)
    build: dict[str, Callable[[Flow[Any]], None]] = {
        "single": _single,
        "last_step": _last_step,
        "item": _items,
        "last_item": _items,
        "transaction": _transaction,
        "async_transaction": _async_transaction,
    }
    build[kind](flow)
    return flow


def _single(flow: Flow[Any]) -> None:
    @flow.step(name="target")
    def target(setting: Any) -> Any:
        return effect(setting)

    @flow.step(name="after", depends_on=(target,))
    async def after(before: Any) -> Any:
        return before[0] + 1


def _last_step(flow: Flow[Any]) -> None:
    @flow.step(name="first")
    def first(setting: Any) -> Any:
        return setting

    @flow.step(name="target", depends_on=(first,))
    async def target(setting: Any) -> Any:
        return effect(setting)


def _items(flow: Flow[Any]) -> None:
    @flow.step(name="first")
    def first(setting: Any) -> Any:
        return [setting] * ITEMS

    @flow.map(name="target", over=first)
    def target(setting: Any) -> Any:
        return effect(setting)


def _transaction(flow: Flow[Any]) -> None:
    @flow.step(name="target")
    def target(setting: Any) -> Any:
        task = current_task()
        with task.transaction() as connection:
            connection.execute(INSERT, (task.run_id, task.step_slug, task.fence))
        return effect(setting)


def _async_transaction(flow: Flow[Any]) -> None:
    @flow.step(name="target")
    async def target(setting: Any) -> Any:
        task = current_task()
        async with task.transaction() as connection:
            await connection.execute(INSERT, (task.run_id, task.step_slug, task.fence))
        return effect(setting)


def work(config: dict[str, Any]) -> int:
    """Run a worker of some flows, as a process of the nursery; `crash_at` is what PGFLOW_CRASH_AT would be."""
    logging.basicConfig(level=logging.INFO)
    _crashpoints.arm(config["crash_at"])
    flows = [make_flow(kind, slug) for kind, slug in config["flows"]]
    options = {"lease": config["lease"], "concurrency": config["concurrency"]}
    asyncio.run(Worker(config["dsn"], flows, **options).run(signals=True))
    return 0

"""The workers under chaos: what one process does, and the fleet that starts and replaces them."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from pgflow import Worker
from pgflow.database import Database, is_transient
from pgflow.errors import SchemaMismatch
from tests.chaos import journal
from tests.chaos.flows import FLOWS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from random import Random
    from uuid import UUID

    from pgflow.records import GrantedTask, TaskReport
    from tests.support.nursery import Nursery, Nursling

UNREACHABLE = 75
"""Exit code of a worker that found no database to start with: it is simply started again, as a supervisor would."""


class WitnessDatabase(Database):
    """Journals what the database answers to a worker: what it was granted, and what became of its reports."""

    async def claim_tasks(self, *arguments: Any, **options: Any) -> list[GrantedTask]:
        asked = time.monotonic()
        granted = await super().claim_tasks(*arguments, **options)
        _witness_grants(granted, asked, arguments[1])
        return granted

    async def complete_and_claim(
        self, *arguments: Any, **options: Any
    ) -> tuple[list[TaskReport], list[GrantedTask]]:
        asked = time.monotonic()
        odd, granted = await super().complete_and_claim(*arguments, **options)
        told = {(report.run_id, report.step_slug, report.task_index) for report in odd}
        keys = list(zip(*arguments[:4], strict=True))
        _witness("completed", [key for key in keys if key[:3] not in told], "accepted")
        _witness_reports("completed", keys, odd)
        _witness_grants(granted, asked, options["worker_id"])
        return odd, granted

    async def complete_tasks(self, *arguments: Any, **options: Any) -> list[TaskReport]:
        reports = await super().complete_tasks(*arguments, **options)
        if options.get("connection") is None:  # else nothing is settled before the commit
            _witness_reports("completed", list(zip(*arguments[:4], strict=True)), reports)
        return reports

    async def fail_tasks(self, *arguments: Any, **options: Any) -> list[TaskReport]:
        reports = await super().fail_tasks(*arguments, **options)
        _witness_reports("failed", list(zip(*arguments[:4], strict=True)), reports)
        return reports

    async def split_batches(self, *arguments: Any, **options: Any) -> list[TaskReport]:
        reports = await super().split_batches(*arguments, **options)
        _witness_reports("split", list(zip(*arguments[:4], strict=True)), reports)
        return reports


def _witness_grants(granted: Sequence[GrantedTask], asked: float, worker: UUID) -> None:
    if granted:
        tasks = [
            (task.run_id, task.step_slug, task.task_index, task.attempt, task.items, task.exhausted)
            for task in granted
        ]
        journal.write("granted", tasks=tasks, asked=asked, worker=worker)


def _witness_reports(
    what: str, keys: Sequence[tuple[Any, ...]], reports: Sequence[TaskReport]
) -> None:
    fences: dict[tuple[Any, ...], Any] = {key[:3]: key for key in keys}
    by_outcome: dict[str, list[Any]] = {}
    for report in reports:
        key = fences[report.run_id, report.step_slug, report.task_index]
        by_outcome.setdefault(str(report.outcome), []).append(key)
    for outcome, tasks in by_outcome.items():
        _witness(what, tasks, outcome)


def _witness(what: str, tasks: Sequence[tuple[Any, ...]], outcome: str) -> None:
    if tasks:
        journal.write("reported", what=what, outcome=outcome, tasks=tasks)


def work(config: dict[str, Any]) -> int:
    """Run one worker, as a process of the nursery."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    return asyncio.run(_work(config))


async def _work(config: dict[str, Any]) -> int:
    try:
        async with WitnessDatabase.connect(config["dsn"]) as database:
            worker = Worker(
                database,
                FLOWS,
                lease=config["lease"],
                concurrency=config["concurrency"],
                drain_timeout=config["drain_timeout"],
            )
            await worker.run(signals=True)
            return 0
    except Exception as error:
        # A migrator that is at work makes a schema look wrong for the moment.
        if is_transient(error) or isinstance(error, SchemaMismatch):
            logging.getLogger("chaos").warning("not started: %s", error)
            return UNREACHABLE
        raise


@dataclass
class Ended:
    """A worker's end that nobody has brought about."""

    code: int
    log: Path


@dataclass
class Fleet:
    """So many worker processes, each replaced as soon as it has ended; `close` ends all of them."""

    nursery: Nursery
    size: int
    config: dict[str, Any]
    started: int = 0
    unreachable: int = 0
    """Starts that found no database."""
    ended_badly: list[Ended] = field(default_factory=list)
    _slots: dict[int, Nursling] = field(default_factory=dict)
    _expected: set[int] = field(default_factory=set)
    """Numbers of processes whose end the nemesis has ordered."""
    _closing: threading.Event = field(default_factory=threading.Event)
    _keeper: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._keeper = threading.Thread(target=self._keep, name="fleet", daemon=True)
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        assert self._keeper is not None
        self._keeper.join()
        for child in self._slots.values():
            child.send(signal.SIGCONT)
            child.send(signal.SIGTERM)
        for child in self._slots.values():
            if not child.ended.wait(30):
                child.send(signal.SIGKILL)

    def victim(
        self, chance: Random, suits: Callable[[Nursling], bool] = lambda _: True
    ) -> Nursling | None:
        """Choose a worker that lives."""
        living = [
            child
            for _, child in sorted(self._slots.items())
            if not child.ended.is_set() and id(child) not in self._expected and suits(child)
        ]
        return chance.choice(living) if living else None

    def order(self, child: Nursling, number: signal.Signals) -> bool:
        """Send a signal that ends a worker."""
        self._expected.add(id(child))
        return child.send(number)

    def _keep(self) -> None:
        last_start = dict.fromkeys(range(self.size), 0.0)
        while not self._closing.is_set():
            for slot in range(self.size):
                child = self._slots.get(slot)
                if child is not None and not child.ended.is_set():
                    continue
                if child is not None:
                    self._judge(child)
                    if child.code == UNREACHABLE and time.monotonic() - last_start[slot] < 0.3:
                        continue
                last_start[slot] = time.monotonic()
                self._slots[slot] = self.nursery.start(self.config, log=f"worker-{self.started}")
                self.started += 1
            self._closing.wait(0.02)

    def _judge(self, child: Nursling) -> None:
        if id(child) in self._expected:
            return
        self._expected.add(id(child))  # told once
        if child.code == UNREACHABLE:
            self.unreachable += 1
        else:
            self.ended_badly.append(Ended(child.code or 0, child.log))

"""Slots: claiming ahead by the pace of the handlers, waiting for a slot, giving back what waits too long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from pgflow import _slots
from pgflow._slots import Pace, Slots
from pgflow.handlers import Execution, Services
from pgflow.records import GrantedTask, RawJson

if TYPE_CHECKING:
    from collections.abc import Sequence


def execution(index: int, queue: str = "flow") -> Execution:
    task = GrantedTask(
        "flow", UUID(int=1), "step", index, 1, RawJson(b"{}"), None, 1, queue, "map", 1, 3, 60,
        exhausted=False,
    )  # fmt: skip
    return Execution(task, None, Services())


class FakePerformer:
    def __init__(self) -> None:
        self.running: list[Execution] = []
        self.batches: list[int] = []

    def __len__(self) -> int:
        return len(self.running)

    def start(self, executions: Sequence[Execution]) -> None:
        self.running += executions
        self.batches.append(len(executions))

    def withdraw(self) -> list[Execution]:
        withdrawn, self.running = self.running, []
        return withdrawn


class Bench:
    def __init__(self, concurrency: int = 2, batch_size: int = 10) -> None:
        self.performer = FakePerformer()
        self.held: dict[Execution, None] = {}
        self.given_back: list[Execution] = []
        self.slots = Slots(
            self.performer,  # type: ignore[arg-type]
            held=self.held,
            changed=asyncio.Event(),
            concurrency=concurrency,
            batch_size=batch_size,
            give_back=self.given_back.extend,
        )

    def start(self, count: int, queue: str = "flow") -> list[Execution]:
        executions = [execution(index, queue) for index in range(count)]
        self.held.update(dict.fromkeys(executions))
        self.slots.start(executions)
        return executions

    def end(self, executions: Sequence[Execution], *, reported: bool = True) -> None:
        for one in executions:
            self.performer.running.remove(one)
            self.slots.ended(one)
            if reported:
                del self.held[one]


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_never_more_than_the_concurrency_run(bench: Bench) -> None:
    tasks = bench.start(5)
    assert bench.performer.running == tasks[:2]
    assert len(bench.slots) == 5
    bench.end(tasks[:2])
    assert bench.performer.running == [], "refilled at the end of the turn, all at once"
    await asyncio.sleep(0)
    assert bench.performer.running == tasks[2:4]
    assert bench.performer.batches == [2, 2]


async def test_slow_handlers_leave_no_room_beyond_the_slots(bench: Bench) -> None:
    bench.slots.claimed(0.01)
    bench.start(2)
    assert bench.slots.ahead() == 0
    assert bench.slots.room() == 0


async def test_quick_handlers_make_room_for_what_ends_during_a_claim(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.slots.pace, "rate", lambda: 500.0)
    bench.slots.claimed(0.005)
    bench.start(2)
    assert bench.slots.ahead() == 5
    assert bench.slots.room() == 5
    bench.start(3)
    assert bench.slots.room() == 2
    bench.slots.claimed(100)
    assert bench.slots.ahead() == 10, "a batch at most"


async def test_room_that_a_call_may_fill_is_nobody_elses(bench: Bench) -> None:
    bench.slots.reserve(2)
    assert bench.slots.room() == 0
    bench.slots.changed.clear()
    bench.slots.release(2)
    assert bench.slots.room() == 2
    assert bench.slots.changed.is_set()


async def test_reports_that_pile_up_stop_the_claiming(bench: Bench) -> None:
    for _ in range(15):
        tasks = bench.start(2)
        assert bench.slots.room() == 0
        bench.end(tasks, reported=False)
    assert len(bench.held) == 30
    assert bench.slots.room() == 0
    bench.held.popitem()
    assert bench.slots.room() == 2


async def test_what_waits_too_long_is_given_back_and_what_runs_is_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_slots, "PATIENCE", 0.02)
    tasks = bench.start(4)
    async with asyncio.timeout(5):
        while not bench.given_back:  # noqa: ASYNC110 - called by a timer
            await asyncio.sleep(0.005)
    assert bench.given_back == tasks[2:]
    assert bench.performer.running == tasks[:2]
    assert len(bench.slots) == 2
    bench.slots.close()


async def test_dropped_and_withdrawn_tasks_never_start(bench: Bench) -> None:
    tasks = bench.start(5)
    assert bench.slots.drop(tasks[2])
    assert not bench.slots.drop(tasks[0]), "it runs"
    assert set(bench.slots.withdraw()) == {tasks[0], tasks[1], tasks[3], tasks[4]}
    assert len(bench.slots) == 0
    assert bench.slots.of_queue("flow") == 0
    await asyncio.sleep(0)
    assert bench.performer.running == []
    bench.slots.close()


async def test_tasks_are_counted_by_queue(bench: Bench) -> None:
    bench.start(3, "flood")
    (one,) = bench.start(1, "other")
    assert (bench.slots.of_queue("flood"), bench.slots.of_queue("other")) == (3, 1)
    bench.slots.drop(one)
    assert bench.slots.of_queue("other") == 0
    bench.slots.close()


async def test_busy_is_not_alone_and_quicker_than_a_call(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.slots.pace, "rate", lambda: 1_000.0)
    bench.slots.claimed(0.002)
    assert not bench.slots.is_busy()
    bench.start(1)
    assert bench.slots.is_busy()
    monkeypatch.setattr(bench.slots.pace, "rate", lambda: 400.0)
    assert not bench.slots.is_busy()


def test_pace_forgets_what_was_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("pgflow._slots.time.monotonic", lambda: now)
    pace = Pace()
    for _ in range(50):
        pace.count()
    now += 0.0625
    assert pace.rate() == 0, "too early to tell"
    now += 0.0625
    assert pace.rate() == 400
    now += 10
    assert pace.rate() == 0

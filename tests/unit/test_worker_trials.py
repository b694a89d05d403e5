"""Trials: what lost its worker is performed beside others once, then in small groups, then alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from pgflow._slots import Slots
from pgflow.handlers import Execution, Services
from pgflow.records import GrantedTask, RawJson

if TYPE_CHECKING:
    from collections.abc import Sequence

TASK = GrantedTask(
    "flow", UUID(int=1), "step", 0, 1, RawJson(b"{}"), None, 1, "flow", "map", 1, 3, 60,
    exhausted=False,
)  # fmt: skip


class FakePerformer:
    def __init__(self) -> None:
        self.running: list[Execution] = []

    def __len__(self) -> int:
        return len(self.running)

    def start(self, executions: Sequence[Execution]) -> None:
        self.running += executions

    def withdraw(self) -> list[Execution]:
        return []


class Bench:
    """Slots that hold what they are given until it is reported, as a worker's holdings do."""

    def __init__(self, concurrency: int = 100) -> None:
        self.performer = FakePerformer()
        self.held: dict[Execution, None] = {}
        self.given_back: list[Execution] = []
        self.shared: list[list[Execution]] = []
        self.count = 0
        self.slots = Slots(
            self.performer,  # type: ignore[arg-type]
            held=self.held,
            changed=asyncio.Event(),
            concurrency=concurrency,
            batch_size=300,
            give_back=self.given_back.extend,
            share=self.share,
        )

    async def share(self, executions: Sequence[Execution]) -> None:
        assert not set(executions) & set(self.performer.running), "told before they run"
        self.shared.append(list(executions))

    async def arrive(self, *losses: int) -> list[Execution]:
        arrived = []
        for one in losses:
            self.count += 1
            task = replace(TASK, task_index=self.count, losses=one)
            arrived.append(Execution(task, None, Services()))
        self.held.update(dict.fromkeys(arrived))
        self.slots.start(arrived)
        await self.settle()
        return arrived

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def report(self, executions: Sequence[Execution]) -> None:
        """Have tasks end and be reported; what was given back is reported, too."""
        for one in executions:
            if one in self.performer.running:
                self.performer.running.remove(one)
                self.slots.ended(one)
        await self.forget(executions)

    async def forget(self, executions: Sequence[Execution]) -> None:
        for one in list(executions):
            self.held.pop(one, None)
        self.slots.settled()
        await self.settle()


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_what_was_lost_once_runs_beside_all_others_and_the_server_is_told(
    bench: Bench,
) -> None:
    tasks = await bench.arrive(0, 1, 1, 0)
    assert set(bench.performer.running) == set(tasks)
    assert bench.shared == [tasks[1:3]]
    assert bench.slots.room() > 0


async def test_ordinary_tasks_do_not_wait_for_the_server_to_be_told(bench: Bench) -> None:
    await bench.arrive(0, 0)
    assert bench.shared == []


async def test_what_was_lost_twice_waits_until_nothing_else_is_in_hand(bench: Bench) -> None:
    ordinary = await bench.arrive(0, 0)
    suspects = await bench.arrive(*[2] * 20)
    assert bench.performer.running == ordinary
    assert bench.slots.room() == 0
    await bench.forget(bench.given_back)
    await bench.report(ordinary[:1])
    assert bench.performer.running == ordinary[1:], "one is still in hand"
    await bench.report(ordinary[1:])
    assert bench.performer.running == suspects[:16]
    assert bench.shared == [suspects[:16]]
    assert bench.given_back == suspects[16:], "the others are to be had by other workers"


async def test_a_task_whose_report_is_still_out_counts_as_in_hand(bench: Bench) -> None:
    (ordinary,) = await bench.arrive(0)
    (suspect,) = await bench.arrive(4)
    bench.performer.running.remove(ordinary)
    bench.slots.ended(ordinary)
    await bench.settle()
    assert bench.performer.running == []
    await bench.forget([ordinary])
    assert bench.performer.running == [suspect]


@pytest.mark.parametrize(("losses", "size"), [(2, 16), (3, 4), (4, 1), (9, 1)])
async def test_the_company_gets_smaller(bench: Bench, losses: int, size: int) -> None:
    suspects = await bench.arrive(*[losses] * 30)
    await bench.forget(bench.given_back)
    assert bench.performer.running == suspects[:size]
    assert len(bench.shared) == (size > 1), "who is alone is to blame"


async def test_nobody_joins_a_trial_and_after_it_all_is_as_before(bench: Bench) -> None:
    (suspect,) = await bench.arrive(4)
    late = await bench.arrive(0, 1)
    assert bench.performer.running == [suspect]
    assert bench.given_back == late
    assert bench.slots.room() == 0
    await bench.forget(late)
    await bench.report([suspect])
    assert bench.slots.room() > 0
    ordinary = await bench.arrive(0)
    assert bench.performer.running == ordinary


async def test_with_one_slot_whatever_was_lost_is_alone() -> None:
    bench = Bench(concurrency=1)
    first, second = await bench.arrive(1, 0)
    assert bench.given_back == [second]
    await bench.forget([second])
    assert bench.performer.running == [first]
    assert bench.shared == []


async def test_suspects_that_wait_can_be_dropped_and_withdrawn(bench: Bench) -> None:
    await bench.arrive(0)
    first, second = await bench.arrive(2, 2)
    assert bench.slots.drop(first)
    assert not bench.slots.drop(first)
    assert len(bench.slots) == 2
    assert bench.slots.withdraw() == [second]
    assert len(bench.slots) == 1


async def test_a_trial_without_suspects_is_over(bench: Bench) -> None:
    ordinary = await bench.arrive(0)
    (suspect,) = await bench.arrive(4)
    bench.slots.drop(suspect)
    await bench.forget([suspect])
    await bench.report(ordinary)
    assert bench.slots.room() > 0

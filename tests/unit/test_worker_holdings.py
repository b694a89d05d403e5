"""Holdings: how much room a report keeps for what it may bring."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from pgflow._holdings import Holdings
from pgflow._repertoire import Repertoire
from pgflow._sending import Statistics
from pgflow.handlers import Execution, Services
from pgflow.records import GrantedTask, RawJson

if TYPE_CHECKING:
    from collections.abc import Sequence


class FakeSlots:
    def __init__(self, room: int, ahead: int) -> None:
        self.free = room
        self.quick = ahead
        self.reserved = 0
        self.is_trying = False

    def room(self) -> int:
        return self.free

    def ahead(self) -> int:
        return self.quick

    def reserve(self, count: int) -> None:
        self.reserved += count


class Silent:
    def rouse(self) -> None: ...

    def add(self, execution: Execution, outcome: Any) -> None: ...


def done(count: int, step_type: str) -> list[Execution]:
    return [
        Execution(
            GrantedTask(
                "flow", UUID(int=1), "step", index, 1, RawJson(b"{}"), None, 1, "flow", step_type,
                1, 3, 60, exhausted=False,
            ),
            None,
            Services(),
        )
        for index in range(count)
    ]  # fmt: skip


def holdings(slots: Any, *, stopping: bool = False) -> Holdings:
    event = asyncio.Event()
    if stopping:
        event.set()
    held = Holdings(Services(), Repertoire({}, [], [], {}), Statistics(), event)
    held.slots = slots
    return held


@pytest.mark.parametrize(
    ("completed", "room", "ahead", "kept"),
    [
        (done(1, "single"), 100, 0, 50),
        (done(1, "single"), 1, 0, 1),
        (done(1, "single"), 0, 0, 0),
        (done(3, "single"), 0, 20, 3),
        (done(30, "single"), 4, 20, 20),
        (done(80, "map"), 100, 50, 1),
        (done(80, "map"), 0, 50, 0),
    ],
)
def test_a_report_keeps_room(
    completed: Sequence[Execution], room: int, ahead: int, kept: int
) -> None:
    slots = FakeSlots(room, ahead)
    assert holdings(slots).reserve(completed) == kept
    assert slots.reserved == kept


def test_a_worker_that_tries_suspects_takes_nothing() -> None:
    slots = FakeSlots(0, 50)
    slots.is_trying = True
    assert holdings(slots).reserve(done(3, "single")) == 0


def test_a_stopping_worker_takes_nothing() -> None:
    slots = FakeSlots(100, 50)
    assert holdings(slots, stopping=True).reserve(done(1, "single")) == 0
    assert slots.reserved == 0


async def test_a_lease_counts_from_before_the_claim() -> None:
    """What was read between the claim and now has taken of its time."""
    held = holdings(FakeSlots(1, 0))
    held.keeper = held.reporter = Silent()  # type: ignore[assignment]
    (task,) = (execution.task for execution in done(1, "single"))
    held.accept([task], 7.5)
    assert [execution.leased_at for execution in held] == [7.5]

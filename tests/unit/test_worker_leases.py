"""LeaseKeeper: tells a blocked event loop from one that it has not asked for a while."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from pgflow._leases import LeaseEvents, LeaseKeeper

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
async def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Look after this test's loop, whenever it is called, as the keeper's thread does at each tick."""
    monkeypatch.setattr("pgflow._leases.BLOCKED", 0.05)
    events = LeaseEvents(
        refused=lambda _: None,
        deprecated=lambda: None,
        forgotten=lambda: None,
        running_step=lambda _: None,
    )
    keeper = LeaseKeeper("host=/nowhere", uuid4(), 30, held=(), progress={}, events=events)
    return keeper._watch_worker


async def test_a_loop_that_answers_is_not_blocked_however_late_it_is_asked_again(
    watch: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        watch()
        await asyncio.sleep(0.1)
    assert not caplog.records


async def test_fault_30_a_loop_that_does_not_answer_is_reported_once(
    watch: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    watch()
    for _ in range(3):
        time.sleep(0.06)  # noqa: ASYNC251 - the fault
        watch()
    assert [record.message.partition(" for ")[0] for record in caplog.records] == [
        "the event loop is blocked"
    ]

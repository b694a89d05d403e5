"""What a worker reads about tasks that it was just granted: in time, and kept for as long as it is of use."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from pgflow import _learning, _planned
from pgflow._definitions import PlanOfRun
from pgflow._learning import patiently
from pgflow._planned import Plans
from pgflow.records import GrantedTask, RawJson
from tests.support.plan_handlers import handlers

if TYPE_CHECKING:
    from collections.abc import Sequence


class Server:
    """Knows one plan, which every run follows."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def plans_of_runs(self, run_ids: Sequence[UUID]) -> list[tuple[UUID, PlanOfRun]]:
        await asyncio.sleep(0)
        self.asked += sorted(run_id.int for run_id in run_ids)
        return [(run_id, PlanOfRun("p", "hash", ())) for run_id in run_ids]

    async def plan_of_version(self, flow_slug: str, shape_hash: str) -> RawJson:
        await asyncio.sleep(0)
        return RawJson(b'{"steps": [{"slug": "n", "handler": {"name": "numbers"}}]}')


def task_of(run: int) -> GrantedTask:
    return GrantedTask(
        "p", UUID(int=run), "n", 0, 1, RawJson(b"{}"), None, 1, "plans", "single", 1, 3, 60,
        exhausted=False,
    )  # fmt: skip


async def test_a_run_that_goes_on_is_not_forgotten_before_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_planned, "MOST_RUNS", 2)
    server: Any = Server()
    plans = Plans(server, handlers)
    for run in (1, 2, 1, 3, 1, 4):
        await plans.learn([task_of(run)], time.monotonic() + 30)
        assert plans.handler_of(task_of(run)) is not None
    assert server.asked == [1, 2, 3, 4]


async def test_reading_goes_on_until_it_succeeds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_learning, "FIRST_PAUSE", 0.001)
    failures = [ConnectionError("gone")] * 5

    async def read() -> None:
        await asyncio.sleep(0)
        if failures:
            raise failures.pop()

    await patiently(read, time.monotonic() + 30, "the plans")
    assert not failures
    assert "the plans could not be read: gone" in caplog.text


@pytest.mark.parametrize("hangs", [True, False])
async def test_reading_ends_in_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, hangs: bool
) -> None:
    monkeypatch.setattr(_learning, "LEAST", 0.02)
    monkeypatch.setattr(_learning, "FIRST_PAUSE", 0.001)

    async def read() -> None:
        await asyncio.sleep(3600 if hangs else 0)
        raise ConnectionError

    async with asyncio.timeout(30):
        await patiently(read, time.monotonic(), "the plans")
    assert "the plans could not be read within 0.0 s" in caplog.text

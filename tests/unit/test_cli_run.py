"""`pgflow run`: what goes wrong in its worker is told as what it is."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from pgflow import Flow
from pgflow.cli import run
from pgflow.errors import PermissionDenied


@pytest.mark.parametrize("error", [PermissionDenied("no right to claim"), LookupError("a bug")])
async def test_an_error_of_its_worker_comes_out_of_the_group_around_it(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    class FailingWorker:
        def __init__(self, *_: object, **__: object) -> None: ...

        async def run_until(self, _: UUID) -> None:
            async with asyncio.TaskGroup() as inner:
                inner.create_task(self._fail())

        async def _fail(self) -> None:
            raise error

    async def follow(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(run, "Worker", FailingWorker)
    monkeypatch.setattr(run, "follow", follow)
    display: Any = type("Display", (), {"show": None})()
    database: Any = None
    with pytest.raises(type(error)) as caught:
        await run._work_and_follow(database, Flow[Any]("f"), UUID(int=1), 1, display)
    assert caught.value is error

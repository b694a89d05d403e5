"""Following a run to its end, whatever becomes of the server and of this process meanwhile."""

from __future__ import annotations

import asyncio
import logging
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest

from pgflow import Flow, execute_async
from pgflow.errors import ConnectionFailed, RunNotFound
from pgflow.live.follow import follow
from pgflow.records import RunStatus

if TYPE_CHECKING:
    from pgflow.database import Database
    from pgflow.live.tree import Snapshot


class Failing:
    """A database that answers as it is told."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    async def run_summary(self, _: object) -> Any:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def steps(self, _: object) -> list[Any]:
        return []


async def followed(database: Failing) -> Snapshot:
    shown: list[Snapshot] = []
    return await follow(cast("Database", database), uuid4(), shown.append, interval=0)


async def test_an_outage_is_borne_as_by_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgflow._run.LAST_POLL", 0)
    gone = ConnectionFailed("the server is gone")
    started, ended = (
        cast("Any", SimpleNamespace(status=s)) for s in (RunStatus.STARTED, RunStatus.COMPLETED)
    )
    assert (await followed(Failing(started, gone, gone, ended))).run is ended
    with pytest.raises(RunNotFound):
        await followed(Failing(started, None))
    monkeypatch.setattr("pgflow._run.OUTAGE", -1)
    with pytest.raises(ConnectionFailed):
        await followed(Failing(gone))


async def test_an_interrupted_execute_says_what_becomes_of_its_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run_id, waiting = uuid4(), asyncio.Event()

    async def wait(_: object) -> None:
        waiting.set()
        await asyncio.Event().wait()

    async def start(*_: object, **__: object) -> Any:
        return SimpleNamespace(id=run_id, wait=wait)

    async def nothing(*_: object) -> None:
        await asyncio.sleep(0)

    stopped = asyncio.Event()
    worker = SimpleNamespace(run_until=lambda _: stopped.wait(), stop=lambda **_: stopped.set())
    module = import_module("pgflow.execute")  # the package's attribute is the function
    monkeypatch.setattr(module, "prepare", nothing)
    monkeypatch.setattr(module, "Client", lambda _: SimpleNamespace(start=start))
    monkeypatch.setattr(module, "Worker", lambda *_, **__: worker)
    monkeypatch.setattr(module, "Database", SimpleNamespace)
    flow = Flow[int]("interrupted")
    flow.step(name="step")(lambda number: number)
    executing = asyncio.create_task(execute_async(flow, 1, dsn=cast("Database", SimpleNamespace())))
    await waiting.wait()
    executing.cancel()
    with caplog.at_level(logging.WARNING), pytest.raises(asyncio.CancelledError):
        await executing
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"the run {run_id} goes on when a worker serves its flow" in said
    assert f"pgflow cancel {run_id}" in said

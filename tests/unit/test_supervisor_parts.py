"""A supervisor whose children are only pretended: what it makes of their ends, and of its own pauses."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest

from pgflow._child import Child
from pgflow._isolation import pack
from pgflow.errors import PgflowError
from pgflow.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

READY = {"ready": str(uuid4()), "flows": ["f"], "queues": []}


class Pretended:
    """A child that says what it is given, and ends with a code, or when it is signalled."""

    pid = 0

    def __init__(self, *said: dict[str, Any], code: int | None = None) -> None:
        self._said = said
        self._code = code
        self.signals: list[signal.Signals] = []
        self.fatal = signal.SIGTERM
        self._ended = asyncio.Event()

    def send_signal(self, number: signal.Signals) -> None:
        self.signals.append(number)
        if number in {self.fatal, signal.SIGKILL}:
            self._ended.set()

    async def messages(self, *_: float) -> AsyncIterator[dict[str, Any]]:
        for message in self._said:
            yield message
        if self._code is None:
            await self._ended.wait()

    async def wait(self) -> int:
        return self._code or 0


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[Pretended | OSError]:
    """Take what comes of each start, in turn."""
    given: list[Pretended | OSError] = []

    async def start(*_: object) -> Child:
        one = given.pop(0)
        if isinstance(one, OSError):
            raise one
        return cast("Child", one)

    monkeypatch.setattr(Child, "start", start)
    monkeypatch.setattr("pgflow.supervisor.FIRST_PAUSE", 0.001)
    return given


@pytest.mark.parametrize("said", [(), ({"error": "no such flow", "outage": False},)])
async def test_a_start_that_fails_is_never_ready(
    starts: list[Pretended | OSError], said: tuple[dict[str, Any], ...]
) -> None:
    starts.append(Pretended(*said, code=2))
    async with Supervisor("app:flow", processes=1, dsn="unused") as supervisor:
        with pytest.raises(PgflowError, match="no such flow" if said else "before they could work"):
            await supervisor.ready()


async def test_a_process_that_cannot_be_made_is_tried_again_and_the_others_work(
    starts: list[Pretended | OSError],
) -> None:
    starts += [Pretended(READY), BlockingIOError(11, "Resource unavailable"), Pretended(READY)]
    async with Supervisor("app:flow", processes=2, dsn="unused") as supervisor:
        async with asyncio.timeout(30):
            await supervisor.ready()
        assert supervisor.restarts == 1
        assert "worker 1 could not be started" in str(supervisor.error)
        assert supervisor.flows == ["f"]


async def test_what_does_not_end_in_time_is_killed_once(
    starts: list[Pretended | OSError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow.supervisor.KILL_AFTER", 0.001)
    child = Pretended(READY)
    child.fatal = signal.SIGKILL
    starts.append(child)
    supervisor = Supervisor("app:flow", processes=1, dsn="unused")
    running = asyncio.create_task(supervisor.run_async())
    await supervisor.ready()
    supervisor.stop()
    supervisor.stop()
    async with asyncio.timeout(30):
        await running
    assert child.signals == [signal.SIGTERM, signal.SIGTERM, signal.SIGKILL]


async def test_a_stop_after_the_end_leaves_no_timer_that_renews_itself() -> None:
    supervisor = Supervisor("app:flow", processes=1, dsn="unused")
    supervisor.stop()
    timer = supervisor._kill
    supervisor._kill_late()
    assert supervisor._kill is timer
    assert timer is not None
    timer.cancel()


async def test_what_a_child_said_while_its_supervisor_was_paused_still_counts() -> None:
    """After Ctrl-Z and fg the timer is over and the words are there, in the same turn of the loop."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    with theirs:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
        messages = Child(process, reader, writer).messages(0.05, 0.05)
        heard = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        theirs.sendall(pack({"alive": True}))
        time.sleep(0.1)  # noqa: ASYNC251 - the pause
        assert await heard == {"alive": True}
    with suppress(StopAsyncIteration):
        await anext(messages)
    writer.close()
    await process.wait()

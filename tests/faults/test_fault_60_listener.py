"""Fault 60: the connection that listens is half open, or dead: it is noticed and replaced, and polling covers the gap."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pgflow import Flow, Worker
from pgflow.database import WAKE_CHANNEL, Database
from pgflow.listener import Listener
from tests.support.cut import Cut
from tests.support.worker_processes import begun, eventually, finished, start

if TYPE_CHECKING:
    import pytest


async def test_fault_60_a_worker_with_a_deaf_listener_polls_until_it_hears_again(
    db: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow: Flow[Any] = Flow("deafened")
    flow.step(name="task")(lambda _: 1)
    way = Cut(database_url)
    async with (
        way.running() as dsn,
        Database.connect(dsn) as far,
        Database.connect(database_url) as near,
    ):
        # Only the listener's connection goes the way that is about to fall silent.
        monkeypatch.setattr(near, "connect_listener", far.connect_listener)
        listener = Listener(near, ping_interval=0.3, ping_timeout=0.3)
        monkeypatch.setitem(Listener._shared, near, listener)
        listener.start()
        worker = Worker(near, flow)
        work = await begun(worker)
        await eventually(lambda: listener.is_listening(WAKE_CHANNEL))

        way.silence()
        await eventually(lambda: not listener.is_listening(WAKE_CHANNEL))
        for _ in range(3):
            assert await finished(db, await start(db, flow)) == {"task": 1}
        assert not listener.is_listening(WAKE_CHANNEL)

        way.heal()
        await eventually(lambda: listener.is_listening(WAKE_CHANNEL))
        assert await finished(db, await start(db, flow)) == {"task": 1}

        before = way.attempts
        way.cut()
        await eventually(lambda: not listener.is_listening(WAKE_CHANNEL))
        assert await finished(db, await start(db, flow)) == {"task": 1}
        way.heal()
        await eventually(lambda: listener.is_listening(WAKE_CHANNEL))
        assert way.attempts > before
        worker.stop()
        await work
        with suppress(Exception):
            await listener.close()

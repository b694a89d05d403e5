"""Claims tasks for a worker: as many as it has slots for, woken by notifications, polling underneath.

One claim at a time. Queues that have work share the slots; when none has, the worker sleeps until it is woken,
until a message is due that was delayed or leased, or until it is time to look by itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from pgflow._backoff import Backoff
from pgflow._crashpoints import crash_point
from pgflow._logs import first_line
from pgflow.database import (
    UPGRADE_REPEATS,
    WAKE_CHANNEL,
    is_transient,
    is_unregistered,
    is_upgrade,
)
from pgflow.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from pgflow._reach import Reach
    from pgflow._repertoire import Repertoire
    from pgflow._slots import Slots
    from pgflow.database import Database
    from pgflow.records import GrantedTask

FIRST_POLL = 0.05
"""Seconds of rest after which an idle worker asks when the next message is due."""
LONGEST_POLL = 1.0
"""Seconds between looks of an idle worker that notifications do not reach."""
LONG_POLL = 20.0
"""Seconds between looks of an idle worker that notifications do reach."""
LINGER = 0.002
MOMENTS = 2
"""Seconds, and so many times, that a claim waits for more slots when only a few are free."""
MANY = 100
"""Slots for which it never waits longer."""
LONGEST_SPACE = 0.010
"""Seconds between two claims at most, under load."""
FIRST_RETRY = 0.2
LONGEST_RETRY = 5.0
"""Seconds between two calls to a server that does not answer, at most; chance makes each shorter."""

_log = logging.getLogger("pgflow.worker")


class _Wake(asyncio.Event):
    """An event of one queue that also sets the one that is waited for."""

    def __init__(self, attention: asyncio.Event) -> None:
        super().__init__()
        self._attention = attention

    def set(self) -> None:
        super().set()
        self._attention.set()


class _Queue:
    """A queue, and whether it may have work for this worker."""

    __slots__ = ("is_full", "name", "wake")

    def __init__(self, name: str, attention: asyncio.Event) -> None:
        self.name = name
        self.wake = _Wake(attention)
        self.is_full = True
        """The last claim brought all that it asked for."""

    @property
    def is_hungry(self) -> bool:
        return self.is_full or self.wake.is_set()


class Claims:
    """Claims in a loop; a claim under way is never cancelled, since its grants would be lost."""

    def __init__(  # noqa: PLR0917 - the worker's parts, each of another kind
        self,
        database: Database,
        worker_id: UUID,
        repertoire: Repertoire,
        slots: Slots,
        accept: Callable[[Sequence[GrantedTask], float], None],
        renew: Callable[[], Awaitable[None]],
        *,
        reach: Reach,
        rouse: Callable[[], None],
        lease: int,
        listen: bool,
    ) -> None:
        self._reach = reach
        self._rouse = rouse
        """Has the leases' thread look whether the server takes writes."""
        self._renew = renew
        """Registers the worker again, which the database has forgotten."""
        self._outage = Backoff(FIRST_RETRY, LONGEST_RETRY)
        self._retry_at = 0.0
        self._halt = asyncio.Event()
        self._database = database
        self._worker_id = worker_id
        self._repertoire = repertoire
        self._slots = slots
        self._accept = accept
        """Takes what was granted, and since when it is leased, also when the worker is stopping already."""
        self._lease = lease
        self._attention = asyncio.Event()
        self._asks_again = False
        self._queues = [_Queue(name, self._attention) for name in repertoire.queues]
        self._listener = Listener.of(database) if listen else None
        self._pause = FIRST_POLL
        self._rested_at = 0.0
        self._stopping = False

    async def run(self) -> None:
        """Claim from all queues until stopped; raise what cannot pass by itself."""
        if self._listener is not None:
            for queue in self._queues:
                self._listener.wake(queue.name, queue.wake)
        while not self._stopping:
            await self._wait_out()
            if not self._hungry():
                await self._rest()
            elif room := await self._room():
                await self._serve(room)

    def serve(self, queue_name: str) -> None:
        """Claim from another queue, too."""
        queue = _Queue(queue_name, self._attention)
        self._queues.append(queue)
        if self._listener is not None:
            self._listener.wake(queue_name, queue.wake)
        self._attention.set()

    def stop(self) -> None:
        """Claim no more."""
        self._stopping = True
        self._halt.set()
        self._attention.set()
        self._slots.changed.set()

    def ask_again(self) -> None:
        """Ask anew when the next message is due: some have been delayed."""
        self._asks_again = True
        self._attention.set()

    def _hungry(self) -> list[_Queue]:
        return [queue for queue in self._queues if queue.is_hungry]

    async def _room(self) -> int:
        """Wait for free slots; for more than a few of them, unless a queue has hardly any of its share."""
        patience = MOMENTS
        while not self._stopping:
            room = self._slots.room()
            if room and (room >= self._enough() or not patience or self._is_starved()):
                return room
            if room:
                patience -= 1
                await asyncio.sleep(LINGER)
            else:
                self._slots.changed.clear()
                await self._slots.changed.wait()
        return 0

    def _enough(self) -> float:
        """Return for how many slots a claim does not wait longer."""
        if not any(queue.is_full for queue in self._queues):
            return 1
        # Quick handlers have more waiting for them: a batch as large as can be costs them nothing.
        return min(MANY, self._slots.concurrency / (1 if self._slots.is_busy() else 4))

    def _is_starved(self) -> bool:
        hungry = self._hungry()
        share = self._slots.concurrency / max(1, len(hungry))
        return len(hungry) > 1 and any(
            4 * self._slots.of_queue(queue.name) < share for queue in hungry
        )

    async def _serve(self, room: int) -> None:
        """Claim from the queue that has the fewest slots, not more than its share."""
        await self._space()
        slots = self._slots
        hungry = self._hungry()
        queue = min(hungry, key=lambda queue: slots.of_queue(queue.name))
        share = -(-(len(slots) + room) // len(hungry)) - slots.of_queue(queue.name)
        # Reports under way bring tasks, too: a claim that may find little leaves half of the room to them.
        asked = min(room if queue.is_full else (room + 1) // 2, max(1, share))
        queue.wake.clear()
        begin = time.monotonic()
        slots.reserve(asked)
        try:
            granted = await self._claim(queue.name, asked, begin)
        finally:
            slots.release(asked)
        seconds = time.monotonic() - begin
        slots.claimed(seconds)
        # Little was there: let more come together before the next claim.
        self._rested_at = time.monotonic() + min(2 * seconds, LONGEST_SPACE) * (
            4 * len(granted) < asked
        )
        self._accept(granted, begin)
        queue.is_full = len(granted) >= asked
        if granted:
            self._pause = FIRST_POLL
        # In turns, where several queues have equally few.
        self._queues.remove(queue)
        self._queues.append(queue)

    async def _space(self) -> None:
        """Let twice the time pass after a claim that brought little that it took, under load."""
        if self._slots.is_busy():
            await asyncio.sleep(max(0.0, self._rested_at - time.monotonic()))

    async def _claim(self, queue: str, qty: int, begin: float) -> list[GrantedTask]:
        if self._stopping:
            return []
        crash_point("before_claim")
        try:
            granted = await self._database.claim_tasks(
                queue, self._worker_id, qty, self._lease, self._repertoire.keys
            )
        except Exception as error:  # noqa: BLE001 - raised again unless it passes
            if is_unregistered(error):
                await self._renew()
                self._retry_at = time.monotonic() + self._outage.next()
            else:
                self._pass_over(error)
            return []
        self._outage.reset()
        if granted:
            crash_point("after_claim")
            await self._repertoire.learn(granted, begin + self._lease / 2)
        return granted

    def _pass_over(self, error: Exception) -> None:
        """Have the next call wait after an error that passes; raise any other."""
        is_passing = is_upgrade(error) and self._outage.pauses < UPGRADE_REPEATS
        if not (is_passing or is_transient(error)):
            raise error
        pause = self._outage.next()
        self._retry_at = time.monotonic() + pause
        self._reach.failed()
        self._rouse()
        _log.warning("claiming failed and will be repeated in %.1f s: %s", pause, first_line(error))

    async def _wait_out(self) -> None:
        while not self._stopping:
            pause = max(self._retry_at - time.monotonic(), self._reach.pause())
            if pause <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._halt.wait()

    async def _rest(self) -> None:
        """Sleep until a queue may have work."""
        pause = self._pause
        # Waking or asking in vain makes the first question come later: others are quicker, or not ready.
        self._pause = min(1.6 * self._pause, LONGEST_POLL)
        while not await self._sleep(pause):
            due = await self._next_due()
            if due == 0:
                for queue in self._queues:
                    queue.is_full = True
                return
            pause = self._longest_pause() if due is None else min(due, self._longest_pause())

    def _longest_pause(self) -> float:
        if self._listener is not None and self._listener.is_listening(WAKE_CHANNEL):
            return LONG_POLL * random.uniform(0.9, 1.0)  # noqa: S311 - spreads workers, no secret
        self._pause = min(1.6 * self._pause, LONGEST_POLL)
        return self._pause * random.uniform(0.9, 1.0)  # noqa: S311 - spreads workers, no secret

    async def _sleep(self, seconds: float) -> bool:
        """Return true when a queue was woken or this is to stop, false when it is time to ask."""
        self._attention.clear()
        if not self._asks_again and not self._is_called():
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._attention.wait()
        self._asks_again = False
        return self._is_called()

    def _is_called(self) -> bool:
        return self._stopping or any(queue.is_hungry for queue in self._queues)

    async def _next_due(self) -> float | None:
        """Return the seconds until a message is due; an outage counts as if there were none."""
        await self._wait_out()
        try:
            due = await self._database.next_due(self._repertoire.queues, self._repertoire.keys)
        except Exception as error:  # noqa: BLE001 - raised again unless it passes
            self._pass_over(error)
            return LONGEST_POLL
        self._outage.reset()
        return due

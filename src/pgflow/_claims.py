"""Claims tasks for a worker: as many as it has slots for, woken by notifications, polling underneath."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgflow.database import is_transient
from pgflow.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from pgflow._repertoire import Repertoire
    from pgflow.database import Database
    from pgflow.records import GrantedTask

FIRST_POLL = 0.05
LONGEST_POLL = 1.0
"""Seconds between polls of an idle queue; notifications come sooner, but may be missed."""
MAX_IDLE_CLAIMS = 1.5
"""Claims a second of an idle worker, over all its queues."""
LINGER = 0.003
"""Seconds that a claim waits for more slots when only a few are free."""
DEFERENCE = 0.01
"""Seconds at most that a claim which expects little waits for reports under way: they make further tasks due."""
DEFERENCE_STEP = 0.001

_log = logging.getLogger("pgflow.worker")


@dataclass(frozen=True, slots=True)
class Slots:
    """What the claims are for."""

    total: int
    free: Callable[[], int]
    """How many tasks may be claimed now."""
    unreported: Callable[[], int]
    """How many tasks have ended whose report is still under way."""
    changed: asyncio.Event
    """Set whenever slots may have become free."""
    fill: Callable[[Sequence[GrantedTask]], None]
    """Takes what was granted, also when the worker is stopping already."""


class Claims:
    """One loop for each queue; a claim under way is never cancelled, since its grants would be lost."""

    def __init__(
        self,
        database: Database,
        worker_id: UUID,
        repertoire: Repertoire,
        slots: Slots,
        *,
        lease: int,
        listen: bool,
    ) -> None:
        self._database = database
        self._worker_id = worker_id
        self._repertoire = repertoire
        self._slots = slots
        self._lease = lease
        self._listen = listen
        self._turn = asyncio.Lock()
        self._wakes: list[asyncio.Event] = []
        self._stopping = False

    async def run(self) -> None:
        """Claim from all queues until stopped; raise what cannot pass by itself, after all have ended."""
        loops = [asyncio.create_task(self._serve(queue)) for queue in self._repertoire.queues]
        await asyncio.wait(loops, return_when=asyncio.FIRST_EXCEPTION)
        self.stop()
        for result in await asyncio.gather(*loops, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    def stop(self) -> None:
        """Claim no more."""
        self._stopping = True
        for event in (self._slots.changed, *self._wakes):
            event.set()

    async def _serve(self, queue: str) -> None:
        wake = Listener.of(self._database).wake(queue) if self._listen else asyncio.Event()
        self._wakes.append(wake)
        longest = max(LONGEST_POLL, len(self._repertoire.queues) / MAX_IDLE_CLAIMS)
        pause = FIRST_POLL
        is_scarce = True
        while not self._stopping:
            # One claim at a time, in turns: no queue takes all slots while another one waits.
            async with self._turn:
                room = await self._room()
                if is_scarce:
                    await self._defer_to_reports()
                wake.clear()
                granted = await self._claim(queue, room)
            self._slots.fill(granted)
            is_scarce = 4 * len(granted) < room
            if len(granted) < room and not self._stopping:
                pause = FIRST_POLL if granted else min(pause * 1.6, longest)
                await _wait(wake, pause * random.uniform(0.9, 1.1))  # noqa: S311 - spreads workers, no secret

    async def _room(self) -> int:
        """Wait for free slots; for more than a few of them, if that is a matter of moments."""
        lingered = False
        while not self._stopping:
            free = self._slots.free()
            if (lingered and free) or 4 * free >= self._slots.total:
                return free
            if free:
                lingered = True
                await asyncio.sleep(LINGER)
            else:
                self._slots.changed.clear()
                await self._slots.changed.wait()
        return 0

    async def _defer_to_reports(self) -> None:
        """Wait for reports under way, so that one claim brings what would else take several."""
        for _ in range(round(DEFERENCE / DEFERENCE_STEP)):
            if self._stopping or not self._slots.unreported():
                return
            await asyncio.sleep(DEFERENCE_STEP)

    async def _claim(self, queue: str, room: int) -> list[GrantedTask]:
        if room == 0 or self._stopping:
            return []
        try:
            return await self._database.claim_tasks(
                queue, self._worker_id, room, self._lease, self._repertoire.keys
            )
        except Exception as error:
            if not is_transient(error):
                raise
            _log.warning("claiming failed and will be repeated: %s", error)
            return []


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()

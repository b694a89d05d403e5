"""Gathers outcomes into batches and has them sent, what opens the way to further steps apart from the items of maps.

Batches grow with the load, since outcomes gather while the previous batch is under way.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgflow._sending import Entry, Sender
    from pgflow._slots import Slots
    from pgflow.handlers import Execution, Outcome

LINGER = 0.001
MOMENTS = 5
"""Seconds, and so many times, that items wait for others while many more are about to end."""
LONGEST_SPACE = 0.010
"""Seconds between two calls at most."""
SLOW = 0.015
"""Seconds of a call above which batches shrink: whoever comes next has to wait for it."""
SMALL = 100
"""Outcomes of a batch that is never made smaller: a commit has its price, too."""


class Reporter:
    """Two lanes, so that a step that others wait for is not stuck behind the items of a large map."""

    def __init__(
        self,
        sender: Sender,
        slots: Slots,
        *,
        batch_size: int,
        reported: Callable[[Sequence[Execution]], None],
    ) -> None:
        self._sender = sender
        self._slots = slots
        self._reported = reported
        self._steps = _Lane(batch_size)
        self._items = _Lane(batch_size)
        self._closing = False

    def __len__(self) -> int:
        return len(self._steps.pending) + len(self._items.pending)

    def add(self, execution: Execution, outcome: Outcome) -> None:
        """Queue an outcome."""
        lane = self._items if execution.task.step_type == "map" else self._steps
        lane.pending.append((execution, outcome))
        lane.wake.set()

    def close(self) -> None:
        """Let `run` return once everything queued is reported."""
        self._closing = True
        self._steps.wake.set()
        self._items.wake.set()

    async def run(self) -> None:
        """Report until closed."""
        lanes = [asyncio.create_task(self._serve(lane)) for lane in (self._steps, self._items)]
        try:
            await asyncio.gather(*lanes)
        finally:
            for lane in lanes:
                lane.cancel()

    async def _serve(self, lane: _Lane) -> None:
        while lane.pending or not self._closing:
            await lane.wake.wait()
            lane.wake.clear()
            await asyncio.sleep(0)  # what ends in the same turn of the loop goes together
            while lane.pending:
                await (self._linger if lane is self._items else self._space)(lane)
                batch = lane.take()
                begin = time.monotonic()
                await self._sender.send(batch)
                lane.adapt(len(batch), time.monotonic() - begin)
                self._reported([execution for execution, _ in batch])

    async def _space(self, lane: _Lane) -> None:
        """Let twice the time pass between calls that a call takes, while others end meanwhile."""
        if self._slots.is_busy() and not lane.is_worth_a_call and not self._closing:
            await asyncio.sleep(max(0.0, lane.rested_at - time.monotonic()))

    async def _linger(self, lane: _Lane) -> None:
        """Wait a few moments for a batch worth a commit, while several more end in each of them."""
        for _ in range(MOMENTS):
            expected = min(len(self._slots), self._slots.pace.rate() * LINGER)
            if self._closing or expected < 1 or lane.is_worth_a_call:
                return
            await asyncio.sleep(LINGER)


class _Lane:
    """Outcomes that are reported one batch after the other."""

    def __init__(self, batch_size: int) -> None:
        self.pending: list[Entry] = []
        self.wake = asyncio.Event()
        self._smallest = min(SMALL, batch_size)
        self._largest = batch_size
        self.limit = self._smallest
        self.rested_at = 0.0
        """When twice the time has passed since the last call that it took."""

    @property
    def is_worth_a_call(self) -> bool:
        """Tell whether there is enough for a batch that is not small."""
        return len(self.pending) >= self._smallest

    def take(self) -> list[Entry]:
        """Remove and return a batch."""
        batch = self.pending[: self.limit]
        del self.pending[: self.limit]
        return batch

    def adapt(self, size: int, seconds: float) -> None:
        """Grow while calls with full batches are quick; shrink when one is slow."""
        self.rested_at = time.monotonic() + min(2 * seconds, LONGEST_SPACE)
        if seconds > SLOW:
            self.limit = max(self._smallest, min(self.limit, size) * 2 // 3)
        elif size >= self.limit:
            self.limit = min(self._largest, self.limit * 3 // 2)

"""Slots: which of a worker's tasks run, which wait for their turn, and how many more it may claim.

Handlers that are over faster than a claim takes would leave slots empty, so a worker claims ahead by as many
tasks as end during two claims. Slow handlers make that none: what waits here is withheld from other workers.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Sized

    from pgflow.handlers import Execution, Performer

WINDOW = 0.1
"""Seconds over which the pace is measured."""
PATIENCE = 0.5
"""Seconds that a task claimed ahead waits for a slot before other workers may have it."""
QUICK = 100
"""Tasks that end in a second below which none is claimed ahead."""
SMOOTHING = 0.3


class Pace:
    """How many tasks end in a second: in the last window, so that it forgets quick handlers at once."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._ended = 0
        self._rate = 0.0

    def count(self) -> None:
        """Note the end of a task."""
        self._ended += 1

    def rate(self) -> float:
        """Return tasks a second."""
        now = time.monotonic()
        elapsed = now - self._since
        if elapsed >= WINDOW:
            self._rate = self._ended / elapsed
            self._since, self._ended = now, 0
        return self._rate


class Slots:
    """Hands tasks to the performer as its slots free; every method belongs to the event loop."""

    def __init__(
        self,
        performer: Performer,
        *,
        held: Sized,
        changed: asyncio.Event,
        concurrency: int,
        batch_size: int,
        give_back: Callable[[Sequence[Execution]], None],
    ) -> None:
        self.changed = changed
        """Set whenever slots may have become free."""
        self.pace = Pace()
        self.concurrency = concurrency
        self._performer = performer
        self._held = held
        self._batch_size = batch_size
        self._give_back = give_back
        self._waiting: dict[Execution, float] = {}
        self._of_queue: Counter[str] = Counter()
        self._claim_seconds = 0.0
        self._reserved = 0
        self._loop = asyncio.get_running_loop()
        self._is_refilling = False
        self._patience: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return how many tasks run or wait for a slot."""
        return len(self._performer) + len(self._waiting)

    def is_busy(self) -> bool:
        """Tell whether more tasks are in hand, and another one ends during each call: so calls may wait for company."""
        return len(self) > 0 and self.pace.rate() * self._claim_seconds >= 1

    def of_queue(self, queue: str) -> int:
        """Return how many of them are of one queue."""
        return self._of_queue[queue]

    def ahead(self) -> int:
        """Return how many tasks may be claimed that no slot is free for: twice what ends during a claim."""
        rate = self.pace.rate()
        return min(self._batch_size, int(2 * rate * self._claim_seconds)) if rate >= QUICK else 0

    def room(self) -> int:
        """Return how many tasks may be claimed now."""
        if len(self._held) - len(self) >= 3 * self._batch_size:
            return 0  # reporting does not keep up
        free = self.concurrency + self.ahead() - len(self) - self._reserved
        return max(0, min(free, self._batch_size))

    def reserve(self, count: int) -> None:
        """Keep room for what a call under way may bring, so that no other call fills it."""
        self._reserved += count

    def release(self, count: int) -> None:
        """Give reserved room up, or make it available to what the call has brought."""
        self._reserved -= count
        self.changed.set()

    def claimed(self, seconds: float) -> None:
        """Note how long a claim took."""
        before = self._claim_seconds or seconds
        self._claim_seconds = before + SMOOTHING * (seconds - before)

    def start(self, executions: Sequence[Execution]) -> None:
        """Begin as many as slots are free; the others wait."""
        for execution in executions:
            self._of_queue[execution.task.queue_name] += 1
        free = 0 if self._waiting else max(0, self.concurrency - len(self._performer))
        if free:
            self._performer.start(executions[:free])
        now = time.monotonic()
        for execution in executions[free:]:
            self._waiting[execution] = now
        if self._waiting:
            self._refill_soon()
            self._arm(PATIENCE)

    def ended(self, execution: Execution) -> None:
        """Note that the performer is done with a task."""
        self._left(execution)
        self.pace.count()
        if self._waiting:
            self._refill_soon()

    def drop(self, execution: Execution) -> bool:
        """Forget a task that waits for a slot; false if it does not."""
        if self._waiting.pop(execution, None) is None:
            return False
        self._left(execution)
        return True

    def withdraw(self) -> list[Execution]:
        """Take back every task whose handler has not been called."""
        withdrawn = [*self._waiting, *self._performer.withdraw()]
        self._waiting.clear()
        for execution in withdrawn:
            self._left(execution)
        return withdrawn

    def close(self) -> None:
        """Stop the clock."""
        if self._patience is not None:
            self._patience.cancel()

    def _left(self, execution: Execution) -> None:
        self._of_queue[execution.task.queue_name] -= 1
        self.changed.set()

    def _refill_soon(self) -> None:
        # Once for all that end in this turn of the loop: starting one by one costs a thread's wake-up each.
        if not self._is_refilling:
            self._is_refilling = True
            self._loop.call_soon(self._refill)

    def _refill(self) -> None:
        self._is_refilling = False
        free = self.concurrency - len(self._performer)
        batch = [execution for execution, _ in zip(self._waiting, range(free), strict=False)]
        for execution in batch:
            del self._waiting[execution]
        if batch:
            self._performer.start(batch)

    def _arm(self, seconds: float) -> None:
        if self._patience is None:
            self._patience = self._loop.call_later(seconds, self._lose_patience)

    def _lose_patience(self) -> None:
        self._patience = None
        long_ago = time.monotonic() - PATIENCE
        late = [execution for execution, since in self._waiting.items() if since <= long_ago]
        for execution in late:
            self.drop(execution)
        if late:
            self._give_back(late)
        if self._waiting:
            oldest = next(iter(self._waiting.values()))
            self._arm(max(0.0, oldest - long_ago))

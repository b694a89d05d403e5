"""Slots: which of a worker's tasks run, which wait for their turn, and how many more it may claim.

Handlers that are over faster than a claim takes would leave slots empty, so a worker claims ahead by as many
tasks as end during two claims. Slow handlers make that none: what waits here is withheld from other workers.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from pgflow._trials import Trial, suspects_among

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence, Sized

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
        share: Callable[[Sequence[Execution]], Awaitable[None]] | None = None,
    ) -> None:
        self.changed = changed
        """Set whenever slots may have become free."""
        self.pace = Pace()
        self.concurrency = concurrency
        self._performer = performer
        self._held = held
        self._batch_size = batch_size
        self._give_back = give_back
        self._share = share
        self._shared: dict[Execution, None] = {}
        self._trial: Trial | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._waiting: dict[Execution, float] = {}
        self._of_queue: Counter[str] = Counter()
        self._claim_seconds = 0.0
        self._reserved = 0
        self._loop = asyncio.get_running_loop()
        self._is_refilling = False
        self._patience: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return how many tasks run or wait for a slot."""
        tried = 0 if self._trial is None else len(self._trial.waiting)
        return len(self._performer) + len(self._waiting) + len(self._shared) + tried

    def is_busy(self) -> bool:
        """Tell whether more tasks are in hand, and another one ends during each call: so calls may wait for company."""
        return len(self) > 0 and self.pace.rate() * self._claim_seconds >= 1

    @property
    def is_trying(self) -> bool:
        """Tell whether suspects have the worker to themselves, or wait for that: nothing else is to be claimed."""
        return self._trial is not None

    def of_queue(self, queue: str) -> int:
        """Return how many of them are of one queue."""
        return self._of_queue[queue]

    def ahead(self) -> int:
        """Return how many tasks may be claimed that no slot is free for: twice what ends during a claim."""
        rate = self.pace.rate()
        return min(self._batch_size, int(2 * rate * self._claim_seconds)) if rate >= QUICK else 0

    def room(self) -> int:
        """Return how many tasks may be claimed now."""
        if self.is_trying:
            return 0
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
        """Begin as many as slots are free; the others wait. Suspects wait until nothing else is in hand."""
        for execution in executions:
            self._of_queue[execution.task.queue_name] += 1
        if self._trial is None and (group := suspects_among(executions, self.concurrency)):
            self._trial = Trial(group)
        if self._trial is not None:
            self._clear_for(self._trial, executions)
            return
        recovered = [one for one in executions if one.task.losses] if self._share else []
        if recovered:
            self._shared.update(dict.fromkeys(recovered))
            self._call(self._begin_shared(recovered))
        self._take(
            executions if not recovered else [one for one in executions if one not in self._shared]
        )

    def _take(self, executions: Sequence[Execution]) -> None:
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
        tried = self._trial.waiting if self._trial is not None else {}
        for place in (self._waiting, self._shared, tried):
            if execution in place:
                place.pop(execution)
                self._left(execution)
                return True
        return False

    def settled(self) -> None:
        """Note that tasks are no longer held: a trial begins, or is over, when nothing else is in hand."""
        trial = self._trial
        if trial is None or len(self._held) > len(trial.waiting):
            return
        if not trial.waiting:
            self._trial = None
            self.changed.set()
        elif not trial.has_begun:
            trial.has_begun = True
            self._call(self._begin(trial))

    def _call(self, call: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _begin_shared(self, recovered: Sequence[Execution]) -> None:
        if self._share is not None:
            await self._share(recovered)
        ready = [execution for execution in recovered if execution in self._shared]
        for execution in ready:
            del self._shared[execution]
        self._take(ready)

    async def _begin(self, trial: Trial) -> None:
        if len(trial.waiting) > 1 and self._share is not None:
            await self._share(list(trial.waiting))
        group = list(trial.waiting)
        trial.waiting.clear()
        if group:
            self._performer.start(group)
        self.settled()

    def _clear_for(self, trial: Trial, executions: Sequence[Execution]) -> None:
        """Give back what is not part of a trial and has not begun: nobody else is to suffer by it."""
        others = [one for one in [*self._waiting, *executions] if one not in trial.waiting]
        self._waiting.clear()
        for execution in others:
            self._left(execution)
        if others:
            self._give_back(others)
        self.settled()

    def withdraw(self) -> list[Execution]:
        """Take back every task whose handler has not been called."""
        tried = [] if self._trial is None else list(self._trial.waiting)
        withdrawn = [*self._waiting, *self._shared, *tried, *self._performer.withdraw()]
        self._waiting.clear()
        self._shared.clear()
        if self._trial is not None:
            self._trial.waiting.clear()
        for execution in withdrawn:
            self._left(execution)
        return withdrawn

    def close(self) -> None:
        """Stop the clock."""
        if self._patience is not None:
            self._patience.cancel()
        for call in self._calls:
            call.cancel()

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

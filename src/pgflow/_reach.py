"""Whether a worker reaches its server, as its event loop and the thread of its leases see it together.

After an outage that outlasted leases the tasks of all workers look abandoned. So nobody claims until its own thread
has written again, and then for a moment more: the others renew their leases meanwhile.
"""

from __future__ import annotations

import time

LONGEST_RETRY = 3.0
"""Seconds between two attempts of the thread at most; a sixth of the lease, if that is less."""
ASK_AGAIN = 0.1
"""Seconds after which a claim asks anew whether the outage is over."""


class Reach:
    """Told of failures by both, of success by the thread; a single number changes at a time, so it needs no lock."""

    def __init__(self, lease: int) -> None:
        self.retry = min(LONGEST_RETRY, lease / 6)
        self._patience = lease / 3
        self._lost_at: float | None = None
        self._back_at = float("-inf")

    @property
    def is_lost(self) -> bool:
        """Tell whether a call has failed since the thread last wrote."""
        return self._lost_at is not None

    def failed(self) -> None:
        """Note that a call failed by the fault of the server or the way to it."""
        if self._lost_at is None:
            self._lost_at = time.monotonic()

    def reached(self) -> None:
        """Note that the thread has written."""
        lost_at, self._lost_at = self._lost_at, None
        now = time.monotonic()
        if lost_at is not None and now - lost_at > self._patience:
            self._back_at = now

    def pause(self) -> float:
        """Return the seconds that a claim has to wait."""
        now, lost_at = time.monotonic(), self._lost_at
        if lost_at is not None and now - lost_at > self._patience:
            return ASK_AGAIN
        return max(0.0, self._back_at + 2 * self.retry + ASK_AGAIN - now)

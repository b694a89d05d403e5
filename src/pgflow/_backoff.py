"""Pauses between repeats of what the server, or the way to it, made fail: full jitter below a growing ceiling."""

from __future__ import annotations

import random


class Backoff:
    """Seconds to wait, from 0 to a ceiling that doubles with each pause: many who lost one server do not return as one."""

    def __init__(self, first: float, longest: float) -> None:
        """Start with pauses of up to `first` seconds; none is longer than `longest`."""
        self._first = first
        self._longest = longest
        self._ceiling = first
        self.pauses = 0
        """How many it has given since the start or the latest reset."""

    def next(self) -> float:
        """Return the next pause in seconds."""
        self.pauses += 1
        ceiling, self._ceiling = self._ceiling, min(2 * self._ceiling, self._longest)
        return random.uniform(0, ceiling)  # noqa: S311 - spreads repeats, no secret

    def reset(self) -> None:
        """Begin anew: it went well."""
        self._ceiling = self._first
        self.pauses = 0

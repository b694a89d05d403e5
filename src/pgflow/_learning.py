"""Reading what a worker has to know about tasks that were just granted, while their leases run."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, TypeVar

from pgflow._backoff import Backoff
from pgflow._logs import first_line

if TYPE_CHECKING:
    from collections import OrderedDict
    from collections.abc import Awaitable, Callable, Hashable, Iterable

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")

LEAST = 0.5
"""Seconds that reading may take in any case."""
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 3.0
"""Seconds between two attempts, at most; chance makes each shorter."""

_log = logging.getLogger("pgflow.worker")


async def patiently(read: Callable[[], Awaitable[None]], until: float, what: str) -> None:
    """Read until it succeeds, or until a moment of the monotonic clock; raises nothing.

    What stays unknown is handed back, and comes again.
    """
    patience = max(LEAST, until - time.monotonic())
    backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
    try:
        async with asyncio.timeout(patience):
            while True:
                try:
                    return await read()
                except Exception as error:  # noqa: BLE001 - told in the log; in the end the tasks go back
                    _log.warning("%s could not be read: %s", what, first_line(error))
                await asyncio.sleep(backoff.next())
    except TimeoutError:
        _log.warning("%s could not be read within %.1f s", what, patience)


def unknown(kept: OrderedDict[K, V], keys: Iterable[K]) -> list[K]:
    """Return the keys that are not in mind; the others count as used."""
    new = []
    for key in keys:
        if key in kept:
            kept.move_to_end(key)
        else:
            new.append(key)
    return new


def keep(kept: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    """Keep a value in mind, and forget what was of no use for longest."""
    kept[key] = value
    while len(kept) > most:
        kept.popitem(last=False)

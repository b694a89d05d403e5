"""What every engine of the comparison offers, and the no-op work that all of them are given.

The harness starts `python -m benchmarks.peers.host <engine>` in the interpreter that has the engine's packages, and
speaks JSON lines with it: one command a line, one answer a line. This module needs nothing but the standard library.
"""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CHAIN_LENGTH = 20

Link = list[int]
"""When a link's handler began and ended, in nanoseconds of the monotonic clock, which all processes share."""


Gathered = dict[str, int | bool]
"""What the last step of a fan finds in the results that it gets: count, sum, in_order, ended_ns."""


class Engine(ABC):
    """One engine on one empty database (or Redis); `url` is where. All times are nanoseconds, monotonic."""

    name: ClassVar[str]
    package: ClassVar[str]
    """The distribution whose version is shown."""
    notes: ClassVar[str]
    """The settings, and what was made by hand; shown below the tables."""

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    async def prepare(self) -> None:
        """Install the engine's schema, and connect the client that starts runs."""

    def worker_command(self, processes: int) -> list[list[str]]:
        """Return the commands that start so many worker processes; each prints `ready` once it is."""
        command = [sys.executable, "-m", "benchmarks.peers.host", self.name, self.url, "--worker"]
        return [command] * processes

    async def work(self, ready: Callable[[], None]) -> None:
        """Be a worker until killed; call `ready` when connected."""
        raise NotImplementedError

    @abstractmethod
    async def fan(self, size: int) -> Gathered:
        """Run one step → so many items → one step that gets all results."""

    @abstractmethod
    async def diamonds(self, numbers: Sequence[int]) -> list[list[int]]:
        """Start all diamonds and wait for them; return for each number what `bottom` returned."""

    @abstractmethod
    async def chain(self) -> list[Link]:
        """Run a chain of links."""


# The handlers


def produce(size: int) -> list[int]:
    """Return the items of a fan."""
    return list(range(size))


def item(number: int) -> int:
    """Do nothing."""
    return number


def gather(results: Sequence[int]) -> Gathered:
    """Look at every result of a fan."""
    return {
        "count": len(results),
        "sum": sum(results),
        "in_order": all(number == place for place, number in enumerate(results)),
        "ended_ns": time.monotonic_ns(),
    }


def left(number: int) -> int:
    """Add one."""
    return number + 1


def right(number: int) -> int:
    """Double."""
    return number * 2


def bottom(left_result: int, right_result: int) -> list[int]:
    """Return both, and the time."""
    return [left_result, right_result, time.monotonic_ns()]


def link(links: Sequence[Link]) -> list[Link]:
    """Append this link's times."""
    return [*links, [time.monotonic_ns(), time.monotonic_ns()]]

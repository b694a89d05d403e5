"""Flows that feature tests run in worker processes."""

from __future__ import annotations

import os
import time
from typing import Any

from pgflow import Flow, current_task
from tests.support.worker_flows import crash, hang, journal

lattice = Flow[dict[str, int]]("lattice", base_delay=0, jitter=0)
"""Two maps side by side that meet: counters of dependencies, tasks and steps all matter."""


@lattice.step()
def spread(given: dict[str, int]) -> list[int]:
    return list(range(given["count"]))


@lattice.map(over=spread)
def double(number: int) -> int:
    return 2 * number


@lattice.map(over=spread)
def negate(number: int) -> int:
    return -number


@lattice.map(over=double)
def restore(number: int) -> int:
    return number // 2


@lattice.step(depends_on=(restore, negate, double))
def balance(numbers: list[int], negatives: list[int], doubles: list[int]) -> int:
    return sum(numbers) + sum(negatives) + sum(doubles)


brief = Flow[list[int]]("brief")


@brief.map()
def stamp(number: int) -> int:
    time.sleep(0.005)
    return number


ill = Flow[list[str]]("ill", base_delay=0, max_attempts=1)


@ill.map(isolation="process", failure_policy="continue")
def suffer(how: str) -> Any:
    return float("nan") if how == "bad return" else crash(how)


def hang_in_c(path: str) -> None:
    """Tell the process, then hold the GIL for ever."""
    journal(path, os.getpid())
    hang(None)


def complain(number: int) -> None:
    """Log a line, then fail."""
    current_task().logger.info("looking at %d", number)
    raise ValueError(f"{number} is wrong")


grumpy = Flow[list[int]]("grumpy", base_delay=0, max_attempts=2)
grumpy.map(name="complain", failure_policy="continue")(complain)

"""Flows that every release of pgflow can run; old releases import this, so it uses what the first one had."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pgflow import Flow, current_task

steady = Flow[int]("steady", max_attempts=4, base_delay=1, timeout=30)


@steady.step()
async def numbers(count: int) -> list[int]:
    return list(range(count))


@steady.map(over=numbers)
async def square(number: int) -> int:
    """Take a moment, so that an upgrade falls into it; every seventh item fails at first."""
    await asyncio.sleep(0.01)
    if number % 7 == 3 and current_task().attempt == 1:
        raise ValueError(f"{number} fails at first")
    return number * number


@steady.step(depends_on=(square,))
async def total(squares: list[int]) -> int:
    return sum(squares)


@steady.step(depends_on=(numbers,))
def count(given: list[int]) -> int:
    return len(given)


@steady.step(depends_on=(total, count))
async def report(total: int, count: int) -> dict[str, int]:
    return {"total": total, "count": count}


def expected(count: int) -> dict[str, int]:
    """Return a run's output."""
    return {"total": sum(number * number for number in range(count)), "count": count}


def code_of() -> Path:
    """Return the directory of the pgflow that this process works with."""
    import pgflow

    return Path(pgflow.__file__).parent

"""The flow of a very large map: its items are made by one step, and read as a stream by another."""

from __future__ import annotations

import time
from collections.abc import Iterator  # noqa: TC003 - the codec reads the annotation

from pgflow import Flow

million = Flow[int]("bench_million")


@million.step()
def source(count: int) -> list[int]:
    """Return the items 1 … count - 1; in place of item 0 the negative time of this call's end."""
    items = list(range(count))
    items[0] = -time.monotonic_ns()
    return items


@million.map(over=source)
def each(number: int) -> int:
    """Return the item; for item 0 how long after its parent it was called, in nanoseconds."""
    return number if number > 0 else time.monotonic_ns() + number


@million.step(depends_on=[each])
def tally(each: Iterator[int]) -> dict[str, int | bool]:
    """Return what tells whether every item arrived once, in its place, without keeping any."""
    delay = next(each)
    begin = time.monotonic_ns()
    count, total, in_order = 1, 0, True
    for number in each:
        in_order = in_order and number == count
        count += 1
        total += number
    elapsed = time.monotonic_ns() - begin
    return {
        "count": count,
        "total": total,
        "in_order": in_order,
        "delay": delay,
        "reading": elapsed,
    }

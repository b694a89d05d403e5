"""Handlers that the tests' plans name; workers in processes of their own know these and nothing else."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import date  # noqa: TC003 - handlers' annotations
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from pgflow import current_task
from pgflow.client import Client, start_in
from pgflow.plan import Handlers, Plan

if TYPE_CHECKING:
    from collections.abc import Mapping

handlers = Handlers()


class Sale(BaseModel):
    """What was sold in a month."""

    month: str
    total: float


@dataclass
class Summary:
    """What a list of numbers comes to."""

    count: int
    total: float


@handlers.register(description="Sales of each month of a year.", max_attempts=2)
async def sales(year: int, region: Literal["north", "south"] = "north") -> list[Sale]:
    await asyncio.sleep(0)
    return [Sale(month=f"{year}-{month:02}", total=float(month * 10)) for month in range(1, 4)]


@handlers.register()
def double(sale: Sale, factor: float = 2) -> Sale:
    """Multiply the total of one sale.

    Not part of the description.
    """
    return Sale(month=sale.month, total=sale.total * factor)


@handlers.register()
def summarize(rows: list[Sale]) -> Summary:
    """Count sales and add them up."""
    return Summary(len(rows), sum(row.total for row in rows))


@handlers.register()
def square(number: int) -> int:
    """Square a number."""
    return number * number


@handlers.register()
async def numbers(size: int) -> list[int]:
    """Return the numbers below a size."""
    return list(range(size))


@handlers.register()
def add_up(numbers: list[int]) -> int:
    """Add up numbers."""
    return sum(numbers)


@handlers.register()
async def letter(title: str, total: float, since: date | None = None, worker: bool = False) -> str:
    """Write a line of text."""
    text = f"{title}: {total:g}" + (f" since {since:%d.%m.%Y}" if since else "")
    return f"{text} by {os.getpid()}" if worker else text


@handlers.register(max_attempts=3, base_delay=0)
async def follow_up(flow: str, size: int, fail_first: int = 0) -> str:
    """Start another plan in the transaction of this task."""
    task = current_task()
    async with task.transaction() as connection:
        run = await Client(task.database).start(flow, {"size": size}, connection=connection)
        if task.attempt <= fail_first:
            raise ConnectionError("after the start")
    return str(run.id)


@handlers.register(max_attempts=3, base_delay=0)
def follow_up_sync(flow: str, size: int, fail_first: int = 0) -> str:
    """Do so in a thread."""
    task = current_task()
    with task.transaction() as connection:
        run_id = start_in(connection, flow, {"size": size})
        if task.attempt <= fail_first:
            raise ConnectionError("after the start")
    return str(run_id)


@handlers.register()
def whatever(value: object = None) -> object:
    """Return what it was given."""
    return value


@handlers.register(max_attempts=1)
def refuse(value: object) -> int:
    """Fail."""
    message = f"no: {value}"
    raise ValueError(message)


def plan_of(slug: str, *steps: Mapping[str, object]) -> Plan:
    """Read a plan that must be right."""
    return Plan.read({"slug": slug, "steps": list(steps)}, handlers)

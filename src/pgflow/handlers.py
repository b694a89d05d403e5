"""Performing tasks: what a handler sees (`current_task`), and how its attempt ends (`perform`).

Never raises for faults of user code: those are outcomes. Claiming and reporting belong to the worker.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pgflow._context import Services, TaskContext, current_task, log_fields
from pgflow._execution import Execution, State, Stop
from pgflow._handler import Handler
from pgflow._outcomes import (
    Completed,
    Failed,
    InDoubt,
    Outcome,
    Released,
    Settled,
    Split,
    failure,
    lost,
)
from pgflow._performer import Performer
from pgflow.flow import Step

if TYPE_CHECKING:
    from pgflow.records import GrantedTask

__all__ = [
    "Completed",
    "Execution",
    "Failed",
    "Handler",
    "InDoubt",
    "Outcome",
    "Performer",
    "Released",
    "Services",
    "Settled",
    "Split",
    "State",
    "Stop",
    "TaskContext",
    "current_task",
    "failure",
    "log_fields",
    "lost",
    "perform",
]


async def perform(
    task: GrantedTask, handler: Handler | Step[Any], services: Services | None = None
) -> Outcome:
    """Perform one task to its end or its timeout; cancelling gives it up.

    A worker performs many at once, through the same Performer.
    """
    if services is None:
        services = Services()
    if services.loop is None:
        services.loop = asyncio.get_running_loop()
    if isinstance(handler, Step):
        handler = Handler(handler)
    ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def end(_: Execution, outcome: Outcome) -> None:
        if not ended.done():
            ended.set_result(outcome)

    performer = Performer(services, concurrency=1, ended=end)
    try:
        performer.start([Execution(task, handler, services)])
        return await ended
    finally:
        await performer.close()

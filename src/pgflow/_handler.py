"""Handler: a step's function made callable with JSON, one attempt at a time; user faults become outcomes."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pgflow._context import current
from pgflow._crashpoints import crash_point
from pgflow._outcomes import Completed, failure
from pgflow._streams import deferred_arguments, deferred_arguments_sync
from pgflow.codec import codec_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from pgflow._context import TaskContext
    from pgflow._outcomes import Outcome
    from pgflow.flow import Step
    from pgflow.records import GrantedTask

Kind: TypeAlias = Literal["async", "thread", "process"]


class Handler:
    """What is needed to perform one step; safe to share between threads."""

    __slots__ = ("codec", "function", "key", "kind", "non_retryable", "step")

    def __init__(self, step: Step[Any]) -> None:
        """Raise DefinitionError if the annotations of the step's function cannot be used."""
        self.step = step
        self.key = (step.flow.slug, step.slug)
        self.function = step.function
        self.codec = codec_of(step)
        self.non_retryable = step.non_retryable
        self.kind: Kind
        if step.isolation is not None:
            self.kind = step.isolation
        else:
            self.kind = "async" if is_coroutine_function(step.function) else "thread"

    def __repr__(self) -> str:
        return f"<handler {'.'.join(self.key)} ({self.kind})>"

    async def attempt(self, task: GrantedTask, context: TaskContext) -> Outcome:
        """Call an async handler in the calling task's context; never raises, not even CancelledError."""
        current.set(context)
        try:
            crash_point("before_perform")
            streams = await deferred_arguments(task, self.codec, context) if task.deferred else None
            arguments = self.codec.decode_arguments(
                task.input,
                task.flow_input,
                task_index=task.task_index,
                streams=streams,
                items=task.items,
            )
            value = await self.function(*arguments)
            output = self.codec.encode_output(value, task.task_index, items=task.items)
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is its outcome
            return failure(error, self.non_retryable)
        crash_point("after_perform")
        return Completed(output)

    def attempt_sync(self, task: GrantedTask, context: TaskContext) -> Outcome:
        """Call a handler in this thread and context; never raises. An awaitable result is run to its end."""
        current.set(context)
        try:
            crash_point("before_perform")
            streams = deferred_arguments_sync(task, self.codec, context) if task.deferred else None
            arguments = self.codec.decode_arguments(
                task.input,
                task.flow_input,
                task_index=task.task_index,
                streams=streams,
                items=task.items,
            )
            value = self.function(*arguments)
            if hasattr(value, "__await__"):
                value = asyncio.run(awaited(value))
            output = self.codec.encode_output(value, task.task_index, items=task.items)
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is its outcome
            return failure(error, self.non_retryable)
        crash_point("after_perform")
        return Completed(output)


def is_coroutine_function(function: Any) -> bool:
    """Tell whether calling it gives a coroutine, also for callable objects and partials."""
    call = getattr(type(function), "__call__", None)  # noqa: B004 - its kind matters, not whether it is callable
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


async def awaited(value: Awaitable[Any]) -> Any:
    """Make any awaitable a coroutine."""
    return await value

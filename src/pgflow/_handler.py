"""Handler: a step's function made callable with JSON, one attempt at a time; user faults become outcomes."""

from __future__ import annotations

import asyncio
import inspect
from types import CodeType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pgflow._context import current
from pgflow._crashpoints import crash_point
from pgflow._outcomes import Completed, Failed, failure
from pgflow._redaction import Redaction
from pgflow._streams import deferred_arguments, deferred_arguments_sync
from pgflow.codec import Where, codec_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from pgflow._context import TaskContext
    from pgflow._outcomes import Outcome
    from pgflow.flow import Step
    from pgflow.records import GrantedTask, RawJson

Kind: TypeAlias = Literal["async", "thread", "process"]


class Handler:
    """What is needed to perform one step; safe to share between threads."""

    __slots__ = (
        *("_origin", "_where", "codec", "function", "key", "kind", "non_retryable"),
        *("reads_run_input", "redaction", "step"),
    )

    def __init__(self, step: Step[Any]) -> None:
        """Raise DefinitionError if the annotations of the step's function cannot be used."""
        self.step = step
        self.key = (step.flow.slug, step.slug)
        self.function = step.function
        self.codec = codec_of(step)
        self.non_retryable = step.non_retryable
        self.redaction = Redaction.of(step.flow.redact)
        """What errors and logs must not quote; none for most flows."""
        self._where = Where(*self.key)
        self._origin = Where(step.flow.slug)
        self.reads_run_input = names_attribute(step.function, "run_input")
        """Whether its source names it; what it calls may use it all the same."""
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
        value: Any = None
        try:
            crash_point("before_perform")
            streams = await deferred_arguments(task, self.codec, context) if task.deferred else None
            value = await self.function(*self._arguments(task, context, streams))
            output = self.encode(value, context, task.task_index, items=task.items)
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is its outcome
            return self._excused(error, context) or self.failed(error, context, value)
        crash_point("after_perform")
        return Completed(output)

    def attempt_sync(self, task: GrantedTask, context: TaskContext) -> Outcome:
        """Call a handler in this thread and context; never raises. An awaitable result is run to its end."""
        current.set(context)
        value: Any = None
        try:
            crash_point("before_perform")
            streams = deferred_arguments_sync(task, self.codec, context) if task.deferred else None
            value = self.function(*self._arguments(task, context, streams))
            if hasattr(value, "__await__"):
                value = asyncio.run(awaited(value))
            output = self.encode(value, context, task.task_index, items=task.items)
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is its outcome
            return self._excused(error, context) or self.failed(error, context, value)
        crash_point("after_perform")
        return Completed(output)

    def open_input(self, raw: RawJson, context: TaskContext) -> RawJson:
        """Return a task's input, or that of one of its items, as it was before it was sealed; raise SealError."""
        slugs = self.step.dependency_slugs
        opened = context.services.vault.open_task_input(
            raw, self._where, slugs, item=self.step.takes_element
        )
        context.witness(opened)
        return opened

    def encode(
        self, value: object, context: TaskContext, task_index: int, *, items: int | None = None
    ) -> str:
        """Return an output as it is stored; raise EncodingError."""
        text = self.codec.encode_output(value, task_index, items=items)
        vault = context.services.vault
        if not vault.seals:
            return text
        return vault.seal(text, self._where, whole=self.step.step_type == "map" and items is None)

    def failed(self, error: BaseException, context: TaskContext, value: object = None) -> Failed:
        """Describe how an attempt failed, without what the flow redacts; `value` is what the handler returned."""
        if self.redaction is None:
            return failure(error, self.non_retryable)
        secrets = self.redaction.secrets([*context.witnessed, value])
        return failure(error, self.non_retryable, scrub=secrets.scrub)

    def censored(self, outcome: Outcome, context: TaskContext) -> Outcome:
        """Return an outcome that something else than the handler brought about, without what the flow redacts."""
        if self.redaction is None or not isinstance(outcome, Failed):
            return outcome
        secrets = self.redaction.secrets(context.witnessed)
        details = {
            name: secrets.scrub(text) if isinstance(text, str) else text
            for name, text in outcome.details.items()
        }
        return Failed(secrets.scrub(outcome.error), details)

    def _excused(self, error: BaseException, context: TaskContext) -> Outcome | None:
        """Have the task released if the server broke the handler's transaction: the attempt has not failed."""
        if not context.transacts:
            return None
        # The processes of isolated handlers start without the driver.
        from pgflow._transactions import excused  # noqa: PLC0415

        return excused(error, context.task)

    def _arguments(
        self, task: GrantedTask, context: TaskContext, streams: dict[str, object] | None
    ) -> list[Any]:
        flow_input = task.flow_input
        if flow_input is not None:
            flow_input = context.services.vault.open(flow_input, self._origin)
            context.witness(flow_input)
        return self.codec.decode_arguments(
            self.open_input(task.input, context),
            flow_input,
            task_index=task.task_index,
            streams=streams,
            items=task.items,
        )


def names_attribute(function: Any, name: str) -> bool:
    """Tell whether the code of a function, or one that it wraps or contains, names an attribute."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    codes = [code] if code is not None else []
    while codes:
        found = codes.pop()
        if name in found.co_names:
            return True
        codes += [constant for constant in found.co_consts if isinstance(constant, CodeType)]
    return False


def is_coroutine_function(function: Any) -> bool:
    """Tell whether calling it gives a coroutine, also for callable objects and partials."""
    call = getattr(type(function), "__call__", None)  # noqa: B004 - its kind matters, not whether it is callable
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


async def awaited(value: Awaitable[Any]) -> Any:
    """Make any awaitable a coroutine."""
    return await value

"""Batches: a task that carries several items of a map, worked through with a handler that takes one.

Every item has its own arguments, context, timeout and outcome. How a handler is run is the performer's business.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from pgflow._context import TaskContext, current
from pgflow._crashpoints import crash_point
from pgflow._handler import awaited
from pgflow._outcomes import Completed, Failed, Released, Split, timed_out
from pgflow.codec import split_array
from pgflow.records import RawJson

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Awaitable, Callable

    from pgflow._execution import Execution
    from pgflow._handler import Handler
    from pgflow._outcomes import ItemOutcome, Outcome
    from pgflow.records import GrantedTask

BREATH = 64
"""Items of an async handler that never waits, after which the event loop gets its turn."""


class ItemContext(TaskContext):
    """One item of a batch, as its handler sees it; its progress is a part of the batch's."""

    __slots__ = ("_items", "_number")

    def __init__(self, batch: TaskContext, number: int) -> None:
        super().__init__(
            batch.task, batch.services, batch.kind, batched=True, redaction=batch.redaction
        )
        self._number = number
        self._items = cast("int", batch.task.items)
        if batch.redaction is not None and batch.witnessed:
            self.witness(RawJson(_items_of(batch.witnessed[0])[number]))

    @property
    def index(self) -> int:
        """Return the position in the map."""
        return self.task.task_index + self._number

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the item is, 0 to 1; the task's progress is that of all its items."""
        super().progress((self._number + min(1.0, max(0.0, fraction))) / self._items, message)

    def item(self, raw: bytes) -> GrantedTask:
        """Return the item as a task of its own."""
        return replace(self.task, task_index=self.index, input=RawJson(raw), items=None)


class Batch:
    """How far a batch has come. One handler at a time adds results; the performer may look at any time."""

    __slots__ = ("_size", "_task", "results")

    @classmethod
    def of(cls, task: GrantedTask, handler: Handler | None) -> Batch | None:
        """Return a batch if the task is one and the handler takes its items one by one."""
        if task.items is None or handler is None or handler.codec.batching.is_whole:
            return None
        return cls(task)

    def __init__(self, task: GrantedTask) -> None:
        self._task = task
        self._size = cast("int", task.items)
        self.results: list[ItemOutcome] = []

    def outcome(self, *, timed_out_now: bool = False) -> Outcome:
        """Return what to report: the items that have not ended go back, but for one that is too late."""
        results = self.results[:]  # a thread that was given up may still add to it
        if timed_out_now and len(results) < self._size:
            results.append(timed_out(self._task))
        if not results:
            return Released()
        results += [Released()] * (self._size - len(results))
        outputs = [result.output for result in results if isinstance(result, Completed)]
        if len(outputs) == self._size:
            return Completed("[" + ",".join(outputs) + "]")
        return Split(results)


def arguments_of(handler: Handler, context: TaskContext) -> list[list[Any] | Failed]:
    """Decode the items of a batch: at once if all are right, else one by one."""
    codec, task = handler.codec, context.task
    try:
        opened = handler.open_input(task.input, context)
        return [*codec.decode_batch(opened, task_index=task.task_index)]
    except Exception:  # noqa: BLE001 - validators are user code; below shows which item it was
        arguments: list[list[Any] | Failed] = []
    try:
        raws = split_array(task.input)
    except Exception as error:  # noqa: BLE001 - nested too deep for any parser
        return [handler.failed(error, context)] * cast("int", task.items)
    for index, raw in enumerate(raws, task.task_index):
        try:
            opened = handler.open_input(RawJson(raw), context)
            arguments.append(codec.decode_arguments(opened, None, task_index=index))
        except Exception as error:  # noqa: BLE001 - validators are user code
            arguments.append(handler.failed(error, context))
    return arguments


@lru_cache(maxsize=4)
def _items_of(raw: bytes) -> list[bytes]:
    """Split a batch's input, which each of its items asks for."""
    return split_array(raw)


async def attempt_items(execution: Execution, handler: Handler) -> Outcome:
    """Call an async handler for one item after the other; never raises."""
    batch, task = execution.batch, execution.task
    assert batch is not None
    function, encode = handler.function, handler.encode
    result: ItemOutcome
    for number, arguments in enumerate(arguments_of(handler, execution.context)):
        if number % BREATH == BREATH - 1:
            await _breathe()
        if not execution.next_item():
            break
        if isinstance(arguments, Failed):
            batch.results.append(arguments)
            continue
        context = ItemContext(execution.context, number)
        context.fetched_input = execution.context.fetched_input
        current.set(context)
        value: Any = None
        try:
            crash_point("before_perform")
            value = await function(*arguments)
            result = Completed(encode(value, context, task.task_index + number))
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is its outcome
            result = handler.failed(error, context, value)
        if not _keep(execution, result):
            break
        crash_point("after_perform")
    return batch.outcome()


def attempt_items_sync(
    execution: Execution, handler: Handler, context: contextvars.Context
) -> Outcome:
    """Call a handler in this thread for one item after the other, each in a copy of the context; never raises."""
    batch = execution.batch
    assert batch is not None
    for number, arguments in enumerate(arguments_of(handler, execution.context)):
        if not execution.next_item():
            break
        if isinstance(arguments, Failed):
            batch.results.append(arguments)
            continue
        result = context.copy().run(_attempt_sync, execution, handler, number, arguments)
        if execution.stop is not None:
            break
        batch.results.append(result)
    return batch.outcome()


async def attempt_items_apart(
    execution: Execution,
    handler: Handler,
    attempt: Callable[[TaskContext, GrantedTask], Awaitable[Outcome]],
) -> Outcome:
    """Have each item attempted elsewhere, as a task of its own, one after the other; never raises."""
    batch = execution.batch
    assert batch is not None
    try:
        raws = split_array(execution.task.input)
    except Exception as error:  # noqa: BLE001 - nested too deep for any parser
        return handler.failed(error, execution.context)
    for number, raw in enumerate(raws):
        if not execution.next_item(float("inf")):
            break
        context = ItemContext(execution.context, number)
        result = await attempt(context, context.item(raw))
        if not _keep(execution, cast("ItemOutcome", result)):
            break
    return batch.outcome()


def _attempt_sync(
    execution: Execution, handler: Handler, number: int, arguments: list[Any]
) -> Completed | Failed:
    context = ItemContext(execution.context, number)
    current.set(context)
    value: Any = None
    try:
        crash_point("before_perform")
        value = handler.function(*arguments)
        if hasattr(value, "__await__"):
            value = asyncio.run(awaited(value))
        output = handler.encode(value, context, execution.task.task_index + number)
    except BaseException as error:  # noqa: BLE001 - whatever user code raises is its outcome
        return handler.failed(error, context, value)
    crash_point("after_perform")
    return Completed(output)


def _keep(execution: Execution, result: ItemOutcome) -> bool:
    """Record how an item ended; False if no other may follow."""
    batch = execution.batch
    assert batch is not None
    if execution.stop is None:
        batch.results.append(result)
        return True
    if execution.outlive_timeout():
        work = asyncio.current_task()
        assert work is not None
        work.uncancel()
        batch.results.append(timed_out(execution.task))
        return True
    if isinstance(result, Completed):
        batch.results.append(result)
    return False


async def _breathe() -> None:
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        # Whoever stopped the execution has said so in it, and no item is to blame.
        return

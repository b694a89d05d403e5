"""Outputs too large for a task's input: read in pages, as the stream or the list that the handler declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow.codec import Where
from pgflow.records import RawJson, TaskOutput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pgflow._context import TaskContext
    from pgflow.codec import StepCodec
    from pgflow.records import GrantedTask

FIRST_PAGE = 200
MAX_PAGE = 2_000
PAGE_BYTES = 4 * 1024 * 1024
"""Size that pages aim at, so that memory stays bounded whatever the outputs' size is."""


class Pages:
    """Where the reading of one step's outputs stands."""

    def __init__(self, context: TaskContext, step_slug: str, *, passes: bool = True) -> None:
        self._database = context.services.need_database("a large input")
        self._context = context
        self._run_id = context.run_id
        self._step_slug = step_slug
        self._passes = passes
        self._last: RawJson | None = None
        self._after = -1
        self._rows = FIRST_PAGE

    async def next(self) -> list[TaskOutput]:
        """Return the next page, opened; empty at the end. Raises SealError."""
        page = await self._database.step_output(
            self._run_id, self._step_slug, self._after, self._rows
        )
        if page:
            self._after = page[-1].task_index
            size = sum(len(row.output or b"") for row in page) // len(page) + 1
            self._rows = max(1, min(MAX_PAGE, PAGE_BYTES // size))
        return self._opened(page)

    def _opened(self, page: list[TaskOutput]) -> list[TaskOutput]:
        context = self._context
        vault = context.services.vault
        where = Where(context.flow_slug, self._step_slug)
        opened = [
            TaskOutput(
                row.task_index, None if row.output is None else vault.open(row.output, where)
            )
            for row in page
        ]
        if context.redaction is not None and page:
            if self._passes:
                # What a stream has carried past cannot be kept; a failure is about what came last.
                context.witnessed[:] = [raw for raw in context.witnessed if raw is not self._last]
            self._last = RawJson(b"[" + b",".join([row.output or b"null" for row in opened]) + b"]")
            context.witness(self._last)
        return opened


async def all_outputs(context: TaskContext, step_slug: str) -> list[RawJson | None]:
    """Return all outputs of a step, by index."""
    pages = Pages(context, step_slug, passes=False)
    outputs: list[RawJson | None] = []
    while page := await pages.next():
        outputs += [row.output for row in page]
    return outputs


async def deferred_arguments(
    task: GrantedTask, codec: StepCodec, context: TaskContext
) -> dict[str, object]:
    """Return the values of deferred dependencies for an async handler."""
    values: dict[str, object] = {}
    for slug in task.deferred:
        if codec.wants_stream(slug) == "async":
            values[slug] = _stream(Pages(context, slug), codec, slug)
        else:
            outputs = await all_outputs(context, slug)
            values[slug] = codec.decode_items(slug, outputs)
    return values


def deferred_arguments_sync(
    task: GrantedTask, codec: StepCodec, context: TaskContext
) -> dict[str, object]:
    """Return the values of deferred dependencies for a handler in a thread."""
    services = context.services
    if services.deferred is not None:
        return {slug: codec.decode_items(slug, services.deferred[slug]) for slug in task.deferred}
    values: dict[str, object] = {}
    for slug in task.deferred:
        if codec.wants_stream(slug) == "sync":
            values[slug] = _stream_sync(Pages(context, slug), codec, slug, context)
        else:
            outputs = services.wait_for(all_outputs(context, slug))
            values[slug] = codec.decode_items(slug, outputs)
    return values


async def _stream(pages: Pages, codec: StepCodec, slug: str) -> AsyncIterator[object]:
    while page := await pages.next():
        for row in page:
            yield codec.decode_item(slug, row.output, row.task_index)


def _stream_sync(
    pages: Pages, codec: StepCodec, slug: str, context: TaskContext
) -> Iterator[object]:
    while page := context.services.wait_for(pages.next()):
        for row in page:
            yield codec.decode_item(slug, row.output, row.task_index)

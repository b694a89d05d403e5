"""The worker's half of a task in a process of its own; the other half is _isolated_child.py."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pgflow._isolation import ProcessCrashed
from pgflow._outcomes import Completed, Failed
from pgflow._streams import all_outputs
from pgflow.codec import Where, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pgflow._context import Services, TaskContext
    from pgflow._handler import Handler
    from pgflow._isolation import IsolatedProcesses
    from pgflow._outcomes import Outcome
    from pgflow.records import GrantedTask


async def perform_isolated(
    processes: IsolatedProcesses,
    handler: Handler,
    context: TaskContext,
    started: Callable[[], None],
    task: GrantedTask | None = None,
) -> Outcome:
    """Perform a task in another process; raise ProcessCrashed if it dies. Cancelling kills it.

    `task` is the context's own, unless it is one item of that.
    """
    request = await _request(handler, task or context.task, context)
    try:
        reply = await processes.run(
            request, lambda message: _answer(message, context.services, context), started
        )
    except ProcessCrashed as crash:
        limit = handler.step.memory_limit
        if limit is None:
            raise
        raise ProcessCrashed(f"{crash}, under a memory_limit of {limit} MiB") from crash
    match reply:
        case {"outcome": "completed", "output": str(output)}:
            vault, step = context.services.vault, handler.step
            whole = step.step_type == "map" and (task or context.task).items is None
            return Completed(vault.seal(output, Where(*handler.key), whole=whole))
        case {"outcome": "failed", "error": str(error), "details": dict(details)}:
            return Failed(error, details)
        case _:
            raise AssertionError(reply)


async def _request(handler: Handler, task: GrantedTask, context: TaskContext) -> dict[str, Any]:
    step, services = handler.step, context.services
    fields = asdict(task)
    # The other process gets no keys: values are opened and sealed on this side.
    fields["input"] = handler.open_input(task.input, context).decode()
    if task.flow_input is not None:
        opened = services.vault.open(task.flow_input, Where(task.flow_slug))
        fields["flow_input"] = opened.decode()
    deferred: dict[str, list[str | None]] = {}
    for slug in task.deferred:
        outputs = await all_outputs(context, slug)
        deferred[slug] = [None if raw is None else raw.decode() for raw in outputs]
    return {
        "task": fields,
        "deferred": deferred,
        "worker_id": services.worker_id,
        "memory_limit": step.memory_limit,
        "function": [step.function.__module__, step.function.__qualname__],
        "shape": {
            "convention": step.convention,
            "step_type": step.step_type,
            "takes_element": step.takes_element,
            "initial_tasks": step.initial_tasks,
            "batch_size": step.batch_size if handler.codec.batching.is_whole else None,
            "dependencies": step.dependency_slugs,
            "redact": step.flow.redact,
        },
    }


async def _answer(
    message: Mapping[str, Any], services: Services, context: TaskContext
) -> Mapping[str, Any] | None:
    match message:
        case {"progress": str(text)}:
            services.progress[context.key] = text
        case {"log": dict(record)}:
            logging.getLogger(record["name"]).handle(logging.makeLogRecord(record))
        case {"want": "run_input"}:
            return {"run_input": encode(context.run_input)}
        case _:
            raise AssertionError(message)
    return None

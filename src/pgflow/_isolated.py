"""The worker's half of a task in a process of its own; the other half is _isolated_child.py."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pgflow._outcomes import Completed, Failed
from pgflow._streams import all_outputs
from pgflow.codec import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pgflow._context import Services, TaskContext
    from pgflow._handler import Handler
    from pgflow._isolation import IsolatedProcesses
    from pgflow._outcomes import Outcome
    from pgflow.records import GrantedTask

_JSON_COLUMNS = ("input", "flow_input")


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
    request = await _request(handler, task or context.task, context.services)
    reply = await processes.run(
        request, lambda message: _answer(message, context.services, context), started
    )
    match reply:
        case {"outcome": "completed", "output": str(output)}:
            return Completed(output)
        case {"outcome": "failed", "error": str(error), "details": dict(details)}:
            return Failed(error, details)
        case _:
            raise AssertionError(reply)


async def _request(handler: Handler, task: GrantedTask, services: Services) -> dict[str, Any]:
    step = handler.step
    fields = asdict(task)
    for name in _JSON_COLUMNS:
        fields[name] = None if fields[name] is None else bytes(fields[name]).decode()
    deferred: dict[str, list[str | None]] = {}
    for slug in task.deferred:
        database = services.need_database("a large input")
        outputs = await all_outputs(database, task.run_id, slug)
        deferred[slug] = [None if raw is None else raw.decode() for raw in outputs]
    return {
        "task": fields,
        "deferred": deferred,
        "worker_id": services.worker_id,
        "function": [step.function.__module__, step.function.__qualname__],
        "shape": {
            "convention": step.convention,
            "step_type": step.step_type,
            "takes_element": step.takes_element,
            "initial_tasks": step.initial_tasks,
            "batch_size": step.batch_size if handler.codec.batching.is_whole else None,
            "dependencies": step.dependency_slugs,
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

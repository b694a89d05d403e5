"""What a worker can do: the handlers of its flows, the keys it claims with, the queues it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from pgflow.errors import FlowNotFound, UsageError
from pgflow.flow import Flow
from pgflow.handlers import Handler

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow.database import Database

Flows: TypeAlias = (
    "Flow[Any] | Sequence[Flow[Any]] | Mapping[str, Mapping[str, Callable[..., Any]]]"
)


@dataclass(frozen=True, slots=True)
class Repertoire:
    """Handlers by (flow, step), the keys to claim with, and the queues."""

    handlers: dict[tuple[str, str], Handler]
    keys: list[str]
    queues: list[str]
    versions: dict[str, int]

    @property
    def name(self) -> str:
        """Return a name for a worker of these flows."""
        return "+".join(self.versions)


async def prepare(database: Database, flows: Flows, queues: Sequence[str] | None) -> Repertoire:
    """Store the definitions and learn the queues; raise DefinitionError, FlowNotFound or UsageError."""
    versions: dict[str, int] = {}
    if isinstance(flows, Mapping):
        served = [await _dynamic_flow(database, slug, steps) for slug, steps in flows.items()]
        versions = {flow.slug: 0 for flow in served}
    else:
        served = [flows] if isinstance(flows, Flow) else list(flows)
        for flow in served:
            definition = orjson.dumps(flow.definition()).decode()
            versions[flow.slug] = await database.define_flow(flow.slug, definition)
    if not served:
        raise UsageError("a worker needs at least one flow")
    handlers = [Handler(step) for flow in served for step in flow.steps]
    return Repertoire(
        {handler.key: handler for handler in handlers},
        [handler.step.handler_key for handler in handlers],
        await _queues(database, served, queues),
        versions,
    )


async def _queues(
    database: Database, flows: Sequence[Flow[Any]], chosen: Sequence[str] | None
) -> list[str]:
    if chosen is not None:
        for queue in chosen:
            await database.ensure_queue(queue)
        return list(dict.fromkeys(chosen))
    names = [await database.flow_queue_names(flow.slug) for flow in flows]
    return list(dict.fromkeys(name for group in names for name in group))


async def _dynamic_flow(
    database: Database, slug: str, functions: Mapping[str, Callable[..., Any]]
) -> Flow[Any]:
    """Join a flow that the database knows with the functions given for its steps."""
    steps, known = await asyncio.gather(database.flow_steps(slug), database.flow(slug))
    if known is None:
        raise FlowNotFound(slug, await database.flow_slugs())
    missing = [step.step_slug for step in steps if step.step_slug not in functions]
    if missing:
        raise UsageError(
            f"flow {slug} has no function for: {', '.join(missing)}",
            hint="Pass one function for each step: {'step': function, ...}.",
        )
    names = {step.step_slug for step in steps}
    unknown = [name for name in functions if name not in names]
    if unknown:
        raise UsageError(f"flow {slug} has no step: {', '.join(unknown)}")
    entries = []
    for step in steps:
        options: dict[str, Any] = {"depends_on": list(step.deps), "step_type": step.step_type}
        if step.opt_initial_tasks is not None:
            options["initial_tasks"] = step.opt_initial_tasks
        if step.opt_batch_size is not None:
            options["batch_size"] = step.opt_batch_size
        entries.append((step.step_slug, functions[step.step_slug], options))
    return Flow.from_list(slug, entries)

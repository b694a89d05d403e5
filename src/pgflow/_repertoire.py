"""What a worker can do: the handlers of its flows, the keys it claims with, the queues it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from pgflow._flow.options import queue_problem
from pgflow._plan.registry import Handlers
from pgflow._planned import Plans
from pgflow._vault import conditions_problem, conditions_refused
from pgflow.errors import DefinitionError, FlowNotFound, UsageError
from pgflow.flow import Flow
from pgflow.handlers import Handler

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow.database import Database
    from pgflow.records import GrantedTask, StepRecord

Flows: TypeAlias = (
    "Flow[Any] | Sequence[Flow[Any]] | Mapping[str, Mapping[str, Callable[..., Any]]] | Handlers"
)


@dataclass(frozen=True, slots=True)
class Repertoire:
    """Handlers by (flow, step), the keys to claim with, and the queues."""

    handlers: dict[tuple[str, str], Handler]
    keys: list[str] | None
    """None claims whatever is on the queues."""
    queues: list[str]
    versions: dict[str, int]
    is_dynamic: bool = False
    """Whether the database defines the flows, so that they may change under a worker."""

    plans: Plans | None = None
    """Where the database says, run by run, which registered handler performs a step."""

    @property
    def name(self) -> str:
        """Return a name for a worker of these flows."""
        return "+".join(self.versions or self.queues)

    def handler_of(self, task: GrantedTask) -> Handler | None:
        """Return what performs a task, if this worker has it."""
        if self.plans is not None:
            return self.plans.handler_of(task)
        return self.handlers.get((task.flow_slug, task.step_slug))

    async def learn(self, granted: Sequence[GrantedTask]) -> None:
        """Read what `handler_of` needs to know about tasks that were just granted; raises nothing."""
        if self.plans is not None and granted:
            await self.plans.learn(granted)


async def prepare(database: Database, flows: Flows, queues: Sequence[str] | None) -> Repertoire:
    """Store the definitions and learn the queues; raise DefinitionError, FlowNotFound or UsageError."""
    versions: dict[str, int] = {}
    if isinstance(flows, Handlers):
        if not len(flows):
            raise UsageError("a worker needs at least one registered handler")
        served_queues = await _queues(database, [], flows.queues if queues is None else queues)
        return Repertoire({}, None, served_queues, {}, plans=Plans(database, flows))
    if isinstance(flows, Mapping):
        served = [await _dynamic_flow(database, slug, steps) for slug, steps in flows.items()]
        versions = {flow.slug: 0 for flow in served}
    else:
        served = [flows] if isinstance(flows, Flow) else list(flows)
        for flow in served:
            refuse_conditions(database, flow)
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
        isinstance(flows, Mapping),
    )


def refuse_conditions(database: Database, flow: Flow[Any]) -> None:
    """Raise DefinitionError for a flow with conditions where values are sealed."""
    if database.vault.seals and (problem := conditions_problem(flow)):
        raise DefinitionError([problem], flow=flow.slug)


async def refuse_conditions_of(database: Database, flow_slug: str) -> None:
    """Raise DefinitionError for a flow with conditions, as the database defines it, where values are sealed."""
    if not database.vault.seals:
        return
    steps = await database.conditional_steps(flow_slug)
    if problem := conditions_refused(steps):
        raise DefinitionError([problem], flow=flow_slug)


async def refresh(database: Database, repertoire: Repertoire, flows: Flows) -> list[str]:
    """Learn the present steps of flows that the database defines, as far as there are functions for them.

    Returns the queues that were not served before. Handlers and keys of the repertoire change in place.
    """
    assert isinstance(flows, Mapping)
    found = [await _present_flow(database, slug, functions) for slug, functions in flows.items()]
    handlers = [Handler(step) for flow, slugs in found for step in flow.steps if step.slug in slugs]
    keys = [handler.step.handler_key for handler in handlers]
    if keys == repertoire.keys:
        return []
    assert repertoire.keys is not None
    repertoire.handlers.update({handler.key: handler for handler in handlers})
    repertoire.keys[:] = keys
    present = await _queues(database, [flow for flow, _ in found], None)
    added = [queue for queue in present if queue not in repertoire.queues]
    repertoire.queues.extend(added)
    return added


async def _present_flow(
    database: Database, slug: str, functions: Mapping[str, Callable[..., Any]]
) -> tuple[Flow[Any], set[str]]:
    """Return a flow as it is now, and those of its steps that have functions."""
    steps = await database.flow_steps(slug)
    entries = [
        (step.step_slug, functions.get(step.step_slug, _no_function), _options_of(step))
        for step in steps
    ]
    return Flow.from_list(slug, entries), {
        step.step_slug for step in steps if step.step_slug in functions
    }


def _no_function(_: Any) -> None:
    """Stand for the handler of a step that another worker serves."""


def _options_of(step: StepRecord) -> dict[str, Any]:
    options: dict[str, Any] = {"depends_on": list(step.deps), "step_type": step.step_type}
    if step.opt_initial_tasks is not None:
        options["initial_tasks"] = step.opt_initial_tasks
    if step.opt_batch_size is not None:
        options["batch_size"] = step.opt_batch_size
    return options


async def _queues(
    database: Database, flows: Sequence[Flow[Any]], chosen: Sequence[str] | None
) -> list[str]:
    if chosen is not None:
        for queue in chosen:
            if problem := queue_problem(queue):
                raise UsageError(f"queue {queue!r:.140} {problem}")
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
    entries = [(step.step_slug, functions[step.step_slug], _options_of(step)) for step in steps]
    await refuse_conditions_of(database, slug)
    return Flow.from_list(slug, entries, redact=known.redact or ())

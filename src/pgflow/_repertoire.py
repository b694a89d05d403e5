"""What a worker can do: the handlers of its flows, the keys it claims with, the queues it serves."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from pgflow._dynamic import Shapes, steps_to_serve
from pgflow._flow.options import queue_problem
from pgflow._plan.registry import Handlers
from pgflow._planned import Plans
from pgflow._vault import conditions_problem, conditions_refused
from pgflow.errors import DefinitionError, UsageError
from pgflow.flow import Flow
from pgflow.handlers import Handler

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow.database import Database
    from pgflow.flow import Step
    from pgflow.records import GrantedTask

Flows: TypeAlias = (
    "Flow[Any] | Sequence[Flow[Any]] | Mapping[str, Mapping[str, Callable[..., Any]]] | Handlers"
)

_log = logging.getLogger("pgflow.worker")

NO_FLOW = "a worker needs at least one flow"


@dataclass(frozen=True, slots=True)
class Repertoire:
    """Handlers by (flow, step), the keys to claim with, and the queues."""

    handlers: dict[tuple[str, str], Handler]
    keys: list[str] | None
    """None claims whatever is on the queues."""
    queues: list[str]
    versions: dict[str, int]
    shapes: Shapes | None = None
    """Where the database defines the flows: they may change under a worker, and live runs have what they began with."""
    follows_queues: bool = False
    """Whether it serves whatever queues its flows have, rather than chosen ones."""
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
        if self.shapes is not None:
            return self.shapes.handler_of(task)
        return self.handlers.get((task.flow_slug, task.step_slug))

    async def learn(self, granted: Sequence[GrantedTask], until: float) -> None:
        """Read what `handler_of` needs to know about new tasks, until that moment at most; raises nothing."""
        learner = self.shapes if self.plans is None else self.plans
        if learner is not None and granted:
            await learner.learn(granted, until)


async def prepare(database: Database, flows: Flows, queues: Sequence[str] | None) -> Repertoire:
    """Store the definitions and learn the queues; raise DefinitionError, FlowNotFound or UsageError."""
    versions: dict[str, int] = {}
    if isinstance(flows, Handlers):
        if not len(flows):
            raise UsageError("a worker needs at least one registered handler")
        served_queues = await _queues(database, [], flows.queues if queues is None else queues)
        if queues is None:
            await _tell_of_other_queues(database, flows)
        return Repertoire({}, None, served_queues, {}, plans=Plans(database, flows))
    if isinstance(flows, Mapping):
        return await _prepare_dynamic(database, flows, queues)
    served = [flows] if isinstance(flows, Flow) else list(flows)
    for flow in served:
        refuse_conditions(database, flow)
        definition = orjson.dumps(flow.definition()).decode()
        versions[flow.slug] = await database.define_flow(flow.slug, definition)
    if not served:
        raise UsageError(NO_FLOW)
    handlers = [Handler(step) for flow in served for step in flow.steps]
    return Repertoire(
        {handler.key: handler for handler in handlers},
        [handler.step.handler_key for handler in handlers],
        await _queues(database, list(versions), queues),
        versions,
    )


async def _tell_of_other_queues(database: Database, handlers: Handlers) -> None:
    """Warn of plans for these very handlers that wait where a registry, or a handler, had its queue before.

    Serving those queues unasked would be wrong: another registry may have handlers of the same names.
    """
    names = {handler.name for handler in handlers}
    for queue, wanted in await database.queues_of_plans():
        if queue not in handlers.queues and wanted <= names:
            _log.warning(
                "plans wait for %s on the queue %s, which this worker does not serve;"
                " if they are meant for it, store them again, or give a worker --queue %s",
                *(", ".join(sorted(wanted)), queue, queue),
            )


async def _prepare_dynamic(
    database: Database,
    flows: Mapping[str, Mapping[str, Callable[..., Any]]],
    queues: Sequence[str] | None,
) -> Repertoire:
    if not flows:
        raise UsageError(NO_FLOW)
    steps: list[Step[Any]] = []
    for slug, functions in flows.items():
        steps += await steps_to_serve(database, slug, functions, complete=True)
        await refuse_conditions_of(database, slug)
    shapes = Shapes(database)
    shapes.add(Handler(step) for step in steps)
    return Repertoire(
        {},
        _keys(steps),
        await _queues(database, list(flows), queues),
        dict.fromkeys(flows, 0),
        shapes=shapes,
        follows_queues=queues is None,
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
    """Learn the steps that flows of the database have now, and those of live runs, as far as there are functions for them.

    Returns the queues that were not served before. Handlers and keys of the repertoire change in place.
    """
    assert isinstance(flows, Mapping)
    assert repertoire.keys is not None
    assert repertoire.shapes is not None
    steps: list[Step[Any]] = []
    for slug, functions in flows.items():
        steps += await steps_to_serve(database, slug, functions)
    keys, known = _keys(steps), set(repertoire.queues)
    moved = any(step.queue is not None and step.queue not in known for step in steps)
    if keys != repertoire.keys:
        repertoire.shapes.add(Handler(step) for step in steps)
        repertoire.keys[:] = keys
    elif not moved:
        return []
    if not repertoire.follows_queues:
        return []
    present = await _queues(database, list(flows), None)
    added = [queue for queue in present if queue not in known]
    repertoire.queues.extend(added)
    return added


def _keys(steps: Sequence[Step[Any]]) -> list[str]:
    """Return what to claim with, the same for the same steps in whatever order runs began."""
    return sorted({step.handler_key for step in steps})


async def _queues(
    database: Database, slugs: Sequence[str], chosen: Sequence[str] | None
) -> list[str]:
    if chosen is not None:
        for queue in chosen:
            if problem := queue_problem(queue):
                raise UsageError(f"queue {queue!r:.140} {problem}")
            await database.ensure_queue(queue)
        return list(dict.fromkeys(chosen))
    names = [await database.flow_queue_names(slug) for slug in slugs]
    return list(dict.fromkeys(name for group in names for name in group))

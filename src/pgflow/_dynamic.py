"""Flows that the database defines: the steps that they have now, those that live runs of older versions have, and who performs them."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from pgflow._learning import keep, patiently, unknown
from pgflow.codec import decode_json
from pgflow.errors import FlowNotFound, UsageError
from pgflow.flow import Flow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from uuid import UUID

    from pgflow.database import Database
    from pgflow.flow import Step
    from pgflow.handlers import Handler
    from pgflow.records import GrantedTask, StepRecord

    Functions = Mapping[str, Callable[..., Any]]

MOST_STEPS = 10_000
"""How many steps of runs are kept in mind; more than one claim can bring."""


class Shapes:
    """Handlers of every shape that a step has been seen in, since runs of several versions live side by side."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._handlers: dict[tuple[str, str, str, bool], dict[str, Handler]] = {}
        """Those that decode alike together: by flow, step, type, and whether the task gets the run's input."""
        self._arrays: OrderedDict[tuple[UUID, str], str] = OrderedDict()

    def add(self, handlers: Iterable[Handler]) -> None:
        """Take handlers, also for steps that have others."""
        for handler in handlers:
            step = handler.step
            gets_run_input = not step.dependency_slugs and not step.takes_element
            kind = (*handler.key, step.step_type, gets_run_input)
            self._handlers.setdefault(kind, {})[step.handler_key] = handler

    def handler_of(self, task: GrantedTask) -> Handler | None:
        """Return what performs a task."""
        found = self._alike(task)
        if self._is_doubtful(task, found):
            return found.get(self._arrays.get((task.run_id, task.step_slug), ""))
        return next(iter(found.values()), None)

    async def learn(self, granted: Sequence[GrantedTask], until: float) -> None:
        """Read what tells alike shapes apart; raises nothing, and what stays unknown is handed back."""
        steps = {
            (task.run_id, task.step_slug)
            for task in granted
            if self._is_doubtful(task, self._alike(task))
        }
        if new := unknown(self._arrays, steps):
            await patiently(lambda: self._read(new), until, "the arrays of granted tasks")

    def _alike(self, task: GrantedTask) -> dict[str, Handler]:
        kind = (task.flow_slug, task.step_slug, task.step_type, task.flow_input is not None)
        return self._handlers.get(kind, {})

    def _is_doubtful(self, task: GrantedTask, found: Mapping[str, Handler]) -> bool:
        """Tell whether a task alone does not say its shape: a seal is bound to the array that a sealed item comes from."""
        return len(found) > 1 and task.step_type == "map" and self._database.vault.seals

    async def _read(self, steps: Sequence[tuple[UUID, str]]) -> None:
        for run_id, step_slug, key in await self._database.handler_keys(*zip(*steps, strict=True)):
            keep(self._arrays, (run_id, step_slug), key, MOST_STEPS)


async def steps_to_serve(
    database: Database, slug: str, functions: Functions, *, complete: bool = False
) -> list[Step[Any]]:
    """Return the steps with functions that a flow has in the versions of its live runs, then those that it has now.

    Raises FlowNotFound; where it must be `complete`, UsageError for a step of today without a function, and for a function
    that no version has a step for.
    """
    record = await database.flow(slug)
    if record is None:
        raise FlowNotFound(slug, await database.flow_slugs())
    present = await database.flow_steps(slug)
    if complete:
        await _refuse_unlike(database, slug, [step.step_slug for step in present], functions)
    versions = [
        [_entry(step["slug"], step, functions) for step in decode_json(raw)["steps"]]
        for raw in await database.live_versions(slug)
    ]
    versions.append([_entry(step.step_slug, _options_of(step), functions) for step in present])
    flows = [Flow.from_list(slug, entries, redact=record.redact or ()) for entries in versions]
    return [step for flow in flows for step in flow.steps if step.slug in functions]


async def _refuse_unlike(
    database: Database, slug: str, present: Sequence[str], functions: Functions
) -> None:
    missing = [name for name in present if name not in functions]
    if missing:
        raise UsageError(
            f"flow {slug} has no function for: {', '.join(missing)}",
            hint="Pass one function for each step: {'step': function, ...}.",
        )
    others = [name for name in functions if name not in present]
    if others:
        past = await database.steps_of_versions(slug)
        others = [name for name in others if name not in past]
    if others:
        raise UsageError(
            f"flow {slug} has no step: {', '.join(others)}",
            hint=f"Its steps are: {', '.join(present)}.",
        )


def _no_function(_: Any) -> None:
    """Stand for the handler of a step that another worker serves."""


_OPTIONS = ("depends_on", "step_type", "initial_tasks", "batch_size", "queue")


def _entry(slug: str, given: Mapping[str, Any], functions: Functions) -> tuple[Any, ...]:
    options = {name: given[name] for name in _OPTIONS if given.get(name) is not None}
    return (slug, functions.get(slug, _no_function), {"depends_on": []} | options)


def _options_of(step: StepRecord) -> dict[str, Any]:
    return {
        "depends_on": list(step.deps),
        "step_type": step.step_type,
        "initial_tasks": step.opt_initial_tasks,
        "batch_size": step.opt_batch_size,
        "queue": step.opt_queue,
    }

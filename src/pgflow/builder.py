"""FlowBuilder: flows as data, put together step by step, for agents and other processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgflow._flow.limits import HARD, PATTERNS, problems_of, size_problem
from pgflow._flow.options import redact_problems
from pgflow._plan.model import Plan
from pgflow._plan.problems import slug_taken
from pgflow._plan.registry import PLAN_LIMITS
from pgflow._refusals import REFUSALS, problem_of
from pgflow._vault import conditions_refused
from pgflow.codec import Where, decode_json, describe_error, encode
from pgflow.errors import (
    DefinitionError,
    EncodingError,
    FlowNotFound,
    PlanInvalid,
    UsageError,
    did_you_mean,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgflow._flow.limits import Limits
    from pgflow._plan.registry import Handlers
    from pgflow.database import Database
    from pgflow.records import FlowRecord, StepRecord

__all__ = ["FlowBuilder", "StoredFlow"]


@dataclass(frozen=True, slots=True)
class StoredFlow:
    """A flow as the database holds it."""

    flow: FlowRecord
    steps: tuple[StepRecord, ...]
    """In the order in which they were added."""


class FlowBuilder:
    """Creates flows in the database; nothing but data, and no handlers.

    >>> builder = FlowBuilder(db)
    >>> await builder.create_flow("ai_analysis", timeout=120)
    >>> await builder.add_step("ai_analysis", "fetch_data")
    >>> await builder.add_step("ai_analysis", "analyze", ["fetch_data"], step_type="map", timeout=300)
    >>> await builder.add_step("ai_analysis", "summarize", ["analyze"])
    """

    def __init__(self, database: Database, *, limits: Limits | None = None) -> None:
        """Take tighter `limits` for definitions that come from strangers; the hard ones hold in any case.

        Plans are held to `pgflow.plan.PLAN_LIMITS` unless others are given.
        """
        self._database = database
        self._given_limits = limits
        self._limits = limits or HARD

    async def create_flow(
        self,
        slug: str,
        *,
        max_attempts: int = 3,
        base_delay: int = 1,
        timeout: int = 60,  # noqa: ASYNC109 - an option of the flow
        max_delay: int | None = 3600,
        jitter: float = 0.1,
        redact: Sequence[str] = (),
        max_items: int | None = None,
    ) -> FlowRecord:
        """Create a flow without steps; one that exists is returned unchanged. Raises DefinitionError.

        `redact` has paths of values that logs, errors, views and events do not show, such as `items.*.token`; a run
        in which a map would get more than `max_items` fails.
        """
        problems = redact_problems(redact, self._limits.max_redact_paths)
        if max_items is None:
            max_items = self._limits.max_items
        options = (max_attempts, base_delay, timeout, max_delay, jitter, tuple(redact), max_items)
        names = (
            "max_attempts",
            "base_delay",
            "timeout",
            "max_delay",
            "jitter",
            "redact",
            "max_items",
        )
        self._refuse(
            slug, problems + problems_of(dict(zip(names, options, strict=True)), (), self._limits)
        )
        try:
            return await self._database.create_flow(slug, *options)
        except REFUSALS as error:
            raise DefinitionError([problem_of(error)], flow=slug) from error

    async def add_step(
        self,
        flow: str,
        step: str,
        depends_on: Sequence[str] = (),
        *,
        step_type: str = "single",
        max_attempts: int | None = None,
        base_delay: int | None = None,
        timeout: int | None = None,  # noqa: ASYNC109 - an option of the step
        start_delay: int | None = None,
        max_delay: int | None = None,
        jitter: float | None = None,
        queue: str | None = None,
        initial_tasks: int | None = None,
        if_: Mapping[str, Any] | None = None,
        if_not: Mapping[str, Any] | None = None,
        when_unmet: str = "skip",
        when_exhausted: str = "fail",
        max_failed_tasks: int | None = None,
        max_failed_percent: float | None = None,
        batch_size: int | None = None,
    ) -> None:
        """Add a step after those that it depends on; options left out are the flow's.

        A map has a task for each element of its dependency's output (of the run's input without
        one), or `initial_tasks`; with `batch_size`, one for so many elements. Adding a step again changes nothing. Raises DefinitionError,
        FlowNotFound.
        """
        if isinstance(depends_on, str):
            raise UsageError(f"depends_on is a list of slugs, such as [{depends_on!r}]")
        repeated = sorted({slug for slug in depends_on if list(depends_on).count(slug) > 1})
        if repeated:
            problem = f"step '{step}': it depends twice on {', '.join(repeated)}"
            raise DefinitionError([problem], flow=flow)
        where = Where(flow=flow, step=step)
        numbers = {
            "max_attempts": max_attempts,
            "base_delay": base_delay,
            "timeout": timeout,
            "start_delay": start_delay,
            "max_delay": max_delay,
            "initial_tasks": initial_tasks,
        }
        patterns = {"required_input_pattern": if_, "forbidden_input_pattern": if_not}
        edges = {"slug": step, "depends_on": list(depends_on)}
        problems = problems_of({}, [{**edges, **numbers, **patterns}], self._limits)
        if self._database.vault.seals and (if_ is not None or if_not is not None):
            problems.append(conditions_refused([step]) or "")
        self._refuse(flow, [*problems, *await self._too_many_steps(flow, step)])
        try:
            await self._database.add_step(
                flow,
                step,
                depends_on,
                step_type=step_type,
                max_attempts=max_attempts,
                base_delay=base_delay,
                timeout=timeout,
                start_delay=start_delay,
                required_input_pattern=None if if_ is None else encode(if_, where=where),
                forbidden_input_pattern=None if if_not is None else encode(if_not, where=where),
                when_unmet=when_unmet,
                when_exhausted=when_exhausted,
                max_delay=max_delay,
                jitter=jitter,
                queue=queue,
                initial_tasks=initial_tasks,
                max_failed_tasks=max_failed_tasks,
                max_failed_percent=max_failed_percent,
                batch_size=batch_size,
            )
        except REFUSALS as error:
            constraint = error.diag.constraint_name
            if constraint == "steps_flow_slug_fkey":
                raise FlowNotFound(flow, await self._database.flow_slugs()) from error
            problem = problem_of(error)
            if constraint == "deps_flow_slug_dep_slug_fkey":
                problem = await self._missing(flow, depends_on)
            raise DefinitionError([f"step '{step}': {problem}"], flow=flow) from error

    async def define_flow(self, slug: str, definition: Mapping[str, Any]) -> int:
        """Store a whole definition, as `Flow.definition` words it, and return its version; idempotent.

        A changed shape becomes a new version; live runs keep theirs. Raises DefinitionError with all problems of one kind
        at once: first what goes beyond the limits, then what the database cannot store.

        >>> await builder.define_flow("ai_analysis", {
        ...     "options": {"timeout": 120, "redact": ["*.token"]},
        ...     "steps": [{"slug": "fetch"}, {"slug": "analyze", "step_type": "map", "depends_on": ["fetch"]}],
        ... })
        """
        try:
            text = encode(dict(definition), where=Where(flow=slug))
        except (EncodingError, TypeError, ValueError) as error:
            raise DefinitionError(
                [f"it is no JSON object: {describe_error(error)}"], flow=slug
            ) from error
        plain = decode_json(text)
        given = plain.get("options")
        options: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
        steps = [step for step in _list(plain.get("steps")) if isinstance(step, dict)]
        if self._limits.max_items is not None and options.get("max_items") is None:
            options["max_items"] = self._limits.max_items
            if given is None or isinstance(given, dict):
                text = encode(plain | {"options": options})
        problems = problems_of(options, steps, self._limits)
        problems += [
            problem for problem in (size_problem(len(text.encode()), self._limits),) if problem
        ]
        paths = options.get("redact")
        problems += redact_problems([] if paths is None else paths, self._limits.max_redact_paths)
        if self._database.vault.seals:
            conditional = [
                str(step.get("slug"))
                for step in steps
                if any(step.get(name) is not None for name in PATTERNS)
            ]
            problems += [problem for problem in (conditions_refused(conditional),) if problem]
        self._refuse(slug, problems)
        try:
            return await self._database.define_flow(slug, text)
        except REFUSALS as error:
            raise DefinitionError([problem_of(error)], flow=slug) from error

    async def define_plan(self, plan: Plan, handlers: Handlers) -> int:
        """Store a plan, of which workers need to know only the handlers, and return its version; idempotent.

        A changed plan becomes a new version; live runs keep theirs. Raises PlanInvalid with all its problems, also for the
        slug of a flow that is no plan: a plan never replaces what somebody wrote as code.
        """
        limits = self._given_limits or PLAN_LIMITS
        plan = Plan.read(plan, handlers, limits=limits)
        if await self._database.flow(plan.slug) is not None and not await self._is_plan(plan.slug):
            raise PlanInvalid([slug_taken(plan.slug)], flow=plan.slug)
        builder = FlowBuilder(self._database, limits=limits)
        return await builder.define_flow(plan.slug, plan.definition(handlers))

    async def _is_plan(self, slug: str) -> bool:
        try:
            await self.get_plan(slug)
        except UsageError:
            return False
        return True

    async def get_plan(self, slug: str) -> Plan:
        """Return a plan as it was stored. Raises FlowNotFound, and UsageError for a flow that is no plan."""
        await self.get_flow(slug)
        raw = await self._database.plan_definition(slug)
        try:
            return Plan.from_definition(slug, decode_json(raw or b"null"))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(f"flow {slug} was not defined by a plan") from error

    async def list_flows(self) -> list[FlowRecord]:
        """Return all flows."""
        return await self._database.flows()

    async def get_flow(self, slug: str) -> StoredFlow:
        """Return a flow with its steps. Raises FlowNotFound."""
        flow = await self._database.flow(slug)
        if flow is None:
            raise FlowNotFound(slug, await self._database.flow_slugs())
        return StoredFlow(flow, tuple(await self._database.flow_steps(slug)))

    async def delete_flow(self, slug: str, *, cancel: bool = False) -> None:
        """Delete a flow with all its runs.

        Refused with a UsageError while runs live, unless `cancel` ends them first. Raises
        FlowNotFound.
        """
        await self.get_flow(slug)
        while live := await self._database.delete_flow_unless_live(slug):
            if not cancel:
                noun = "run lives" if len(live) == 1 else "runs live"
                raise UsageError(
                    f"flow {slug} can't be deleted: {len(live)} {noun}, such as {live[0]}",
                    hint="Cancel them first, or pass cancel=True.",
                )
            for run_id in live:
                await self._database.cancel_run(run_id, "its flow is being deleted")

    def _refuse(self, flow: str, problems: list[str]) -> None:
        if problems:
            raise DefinitionError(problems, flow=str(flow))

    async def _too_many_steps(self, flow: str, step: str) -> list[str]:
        """Count what is there already, where the limits are tighter than the database's own."""
        if self._limits.max_steps >= HARD.max_steps:
            return []
        known = [record.step_slug for record in await self._database.flow_steps(flow)]
        if step in known or len(known) < self._limits.max_steps:
            return []
        return [f"step '{step}': the flow has {len(known)} steps, more are not possible"]

    async def _missing(self, flow: str, depends_on: Sequence[str]) -> str:
        known = [step.step_slug for step in await self._database.flow_steps(flow)]
        missing = [
            f"'{slug}'{did_you_mean(slug, known)}" for slug in depends_on if slug not in known
        ]
        return f"it depends on a step that does not exist: {'; '.join(missing)}"


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []

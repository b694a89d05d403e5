"""Plan and PlanStep: what a model writes. Data that names registered handlers, and nothing else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, Self, cast

from pydantic import BaseModel, ConfigDict, Field

from pgflow._flow.checks import order
from pgflow.errors import PlanInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgflow._flow.limits import Limits
    from pgflow._plan.problems import PlanProblem
    from pgflow._plan.registry import Handlers

RUN: Final = "run"
"""Names the run's input in a binding; no step can be called so."""
ITEM: Final = "item"
"""Names the element in a map's binding; no step of a plan can be called so."""
_SOURCE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*(\.[^.\s]+)*")

Schema = dict[str, Any]


class Source(NamedTuple):
    """What a binding names: a step, `run` or `item`, and a path into its value."""

    name: str
    path: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> Self | None:
        """Read `fetch`, `fetch.total`, `run.city` or `item.0`; None if it is none of them."""
        if not _SOURCE.fullmatch(text):
            return None
        name, *path = text.split(".")
        return cls(name, tuple(path))


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )


class PlanStep(_Strict):
    """One step: a registered handler, and where its parameters come from."""

    slug: str
    """Name of the step: letters, digits and _."""
    handler: str
    """Name of a registered handler."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Constants, by the handler's parameter."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Other parameters and their sources: a step's slug for its output, "run" for the run's input, "item" for the element in a step with `over`; "slug.field" for a part."""
    over: str | None = None
    """Makes it a map: the step (or "run") whose array it goes over, one task for each element."""
    depends_on: list[str] = Field(default_factory=list)
    """Steps that must end before it, beyond those in `inputs` and `over`."""
    max_attempts: Annotated[int, Field(ge=1)] | None = None
    timeout: Annotated[int, Field(ge=1)] | None = None
    """Seconds that one attempt may take."""
    base_delay: Annotated[int, Field(ge=0)] | None = None
    """Seconds: the first retry waits twice as long, each further one twice as long as the one before."""
    when_exhausted: Literal["fail", "skip", "skip-cascade"] | None = None
    """What becomes of the run when no attempt succeeds."""
    max_failed_percent: Annotated[float, Field(ge=0, le=100)] | None = None
    """So many percent of a map's elements may fail; they are null in its output."""

    @property
    def sources(self) -> dict[str, Source]:
        """The sources of `inputs`, read."""
        found = {name: Source.of(text) for name, text in self.inputs.items()}
        return {name: source for name, source in found.items() if source is not None}

    @property
    def dependencies(self) -> list[str]:
        """The steps that it waits for, each once."""
        names = [source.name for source in self.sources.values()]
        given = [*([self.over] if self.over is not None else []), *names, *self.depends_on]
        return [name for name in dict.fromkeys(given) if name not in {RUN, ITEM}]


class Plan(_Strict):
    """A flow as data that names registered handlers; `read` checks it all, the constructor only its form.

    >>> plan = Plan.read(answer_of_a_model, handlers)
    >>> await FlowBuilder(db).define_plan(plan, handlers)
    """

    slug: str
    """Name of the plan: letters, digits and _."""
    description: str | None = None
    """What the plan is for, in one sentence."""
    steps: list[PlanStep] = Field(min_length=1)

    @classmethod
    def read(
        cls,
        source: str | bytes | Mapping[str, Any] | Plan,
        handlers: Handlers,
        *,
        limits: Limits | None = None,
    ) -> Plan:
        """Return a plan that can be stored and run. Raises PlanInvalid with all its problems."""
        from pgflow._plan.checks import examine  # noqa: PLC0415 - the checks read the model

        problems, plan = examine(source, handlers, limits)
        if plan is None or problems:
            raise PlanInvalid(problems, flow=_slug_in(source))
        return plan

    @classmethod
    def check(
        cls,
        source: str | bytes | Mapping[str, Any] | Plan,
        handlers: Handlers,
        *,
        limits: Limits | None = None,
    ) -> list[PlanProblem]:
        """Return all that is wrong with a plan; raises nothing, whatever the source holds."""
        from pgflow._plan.checks import examine  # noqa: PLC0415 - as above

        return examine(source, handlers, limits)[0]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON-able data, without what is left to the defaults."""
        return self.model_dump(exclude_defaults=True)

    def definition(self, handlers: Handlers) -> dict[str, Any]:
        """Return it as `pgflow.define_flow` takes it, each step after those that it waits for."""
        by_slug = {step.slug: step for step in self.steps}
        slugs, _ = order({step.slug: step.dependencies for step in self.steps})
        described = {} if self.description is None else {"description": self.description}
        return described | {
            "options": dict(FLOW_OPTIONS),
            "steps": [_defined(by_slug[slug], handlers) for slug in slugs],
        }

    @classmethod
    def from_definition(cls, slug: str, definition: Mapping[str, Any]) -> Plan:
        """Return the plan that a stored definition was made from; raises ValueError for another."""
        return cls.model_validate(
            {
                "slug": slug,
                "description": definition.get("description"),
                "steps": [_step_of(step) for step in definition["steps"]],
            }
        )


def _defined(step: PlanStep, handlers: Handlers) -> Schema:
    given = handlers[step.handler].options
    bound: Schema = {"name": step.handler, "params": step.params, "inputs": step.inputs}
    entry: Schema = {
        "slug": step.slug,
        "step_type": "single" if step.over is None else "map",
        "depends_on": step.dependencies,
        "queue": given.get("queue", handlers.queue),
        "handler": {name: value for name, value in bound.items() if value},
    }
    for name in OPTIONS:
        value = getattr(step, name)
        value = given.get(name) if value is None else value
        if value is not None:
            # The database takes no number of more digits than people write.
            entry[name] = round(value, 6) if isinstance(value, float) else value
    return entry


def plan_schema(names: list[str], limits: Limits) -> Schema:
    """Return the JSON Schema of a plan, made small: no references or titles, the handlers as an enum."""
    from pgflow._plan.schemas import inlined  # noqa: PLC0415 - few processes ask for it

    schema = cast("Schema", _without_null(inlined(Plan.model_json_schema())))
    schema.pop("description", None)
    steps: Schema = schema["properties"]["steps"]
    steps["maxItems"] = limits.max_steps
    steps["items"]["properties"]["handler"]["enum"] = names
    return schema


def _without_null(node: object) -> object:
    """Say `integer` for what may be left out, rather than `integer or null`."""
    if isinstance(node, list):
        return [_without_null(part) for part in cast("list[object]", node)]
    if not isinstance(node, dict):
        return node
    schema = {key: _without_null(value) for key, value in cast("Schema", node).items()}
    parts = schema.get("anyOf")
    if isinstance(parts, list) and {"type": "null"} in parts:
        schema.pop("anyOf")
        schema.pop("default", None)
        schema = (
            next(part for part in cast("list[Schema]", parts) if part != {"type": "null"}) | schema
        )
    return schema


def _slug_in(source: object) -> str | None:
    slug = getattr(source, "slug", None)
    if isinstance(source, dict):
        slug = cast("Schema", source).get("slug")
    return slug if isinstance(slug, str) else None


def _step_of(step: Mapping[str, Any]) -> Schema:
    bound: Mapping[str, Any] = step["handler"]
    is_map = step.get("step_type") == "map"
    deps: list[str] = list(step.get("depends_on", []))
    plain: Schema = {
        "slug": step["slug"],
        "handler": bound["name"],
        "params": bound.get("params", {}),
        "inputs": bound.get("inputs", {}),
        "depends_on": [] if is_map else deps,
    }
    if is_map:
        plain["over"] = deps[0] if deps else RUN
    else:
        named = {source.name for text in plain["inputs"].values() if (source := Source.of(text))}
        plain["depends_on"] = [dep for dep in deps if dep not in named]
    return plain | {name: step[name] for name in OPTIONS if step.get(name) is not None}


FLOW_OPTIONS: Final = {
    "max_attempts": 3,
    "base_delay": 1,
    "timeout": 60,
    "max_delay": 3600,
    "jitter": 0.1,
}
"""What a step gets that names nothing else, as in a Flow."""
OPTIONS: Final = ("max_attempts", "timeout", "base_delay", "when_exhausted", "max_failed_percent")
"""Fields of a step that a definition words alike."""

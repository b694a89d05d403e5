"""All that can be wrong with a plan, found in one pass: its form, its steps, its edges, its limits."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import ValidationError

from pgflow._codec.plain import encode, parse_json
from pgflow._flow.limits import depth_of, problems_of
from pgflow._plan.bindings import binding_problems
from pgflow._plan.edges import edge_problems, slug_problems
from pgflow._plan.model import Plan, PlanStep
from pgflow._plan.problems import (
    PlanProblem,
    likeliest,
    listed,
    move,
    pointer,
    remove,
    replace,
    without_clashes,
)
from pgflow._plan.reading import GivenStep, StepsBySlug, read_steps
from pgflow._plan.registry import PLAN_LIMITS
from pgflow.errors import PgflowError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgflow._flow.limits import Limits
    from pgflow._plan.registry import Handlers

MOST_PROBLEMS: Final = 500
"""More are not looked for: nobody reads them, and a hostile plan could make them cost much."""
_LIMITED = ("max_attempts", "timeout", "base_delay")
_FORM = 'A plan looks like {"slug": "sales", "steps": [{"slug": "fetch", "handler": "a_handler"}]}.'


def examine(
    source: str | bytes | Mapping[str, Any] | Plan, handlers: Handlers, limits: Limits | None
) -> tuple[list[PlanProblem], Plan | None]:
    """Return the problems of a plan in the order of its places, at most MOST_PROBLEMS, and the plan if its form is right."""
    limits = limits or PLAN_LIMITS
    raw, problem = _parsed(source, limits)
    if problem is not None:
        return [problem], None
    problems, plan = _form(raw)
    steps = read_steps(raw, handlers)
    if oversized := list(_oversized(steps, limits)):
        return [*problems, *oversized], plan
    by_slug = StepsBySlug(steps)
    found = chain(
        slug_problems(raw, steps),
        _handler_problems(steps, handlers),
        edge_problems(steps, by_slug),
        binding_problems(steps, by_slug),
        _limit_problems(steps, limits),
    )
    problems += islice(found, MOST_PROBLEMS - len(problems))
    if plan is not None and not problems:
        problems += _size_problems(plan, handlers, limits)
    return without_clashes(sorted(problems, key=_place)), plan


def _parsed(source: object, limits: Limits) -> tuple[Any, PlanProblem | None]:
    try:
        if isinstance(source, Plan):
            source = source.plain()
        text = source if isinstance(source, str | bytes) else encode(source)
        size = len(text.encode() if isinstance(text, str) else text)
        if size > limits.max_definition_bytes:
            return None, _too_large(size, limits)
        return parse_json(text), None
    except (PgflowError, ValueError, TypeError, RecursionError) as error:
        reason = getattr(error, "message", str(error)) or type(error).__name__
        mend = "Answer with one JSON object and nothing around it."
        return None, PlanProblem("", "not-json", f"it is no JSON: {reason:.300}", mend)


# The form


def _form(raw: object) -> tuple[list[PlanProblem], Plan | None]:
    try:
        return [], Plan.model_validate(raw)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        return [_form_problem(one["loc"], one, raw) for one in details[:MOST_PROBLEMS]], None


def _form_problem(
    place: tuple[int | str, ...], detail: Mapping[str, Any], raw: object
) -> PlanProblem:
    where, kind = pointer(*place), str(detail["type"])
    name = str(place[-1]) if place else ""
    if kind == "extra_forbidden":
        fields = PlanStep.model_fields if len(place) > 1 else Plan.model_fields
        owner: object = raw
        for key in place[:-1]:
            owner = cast("Any", owner)[key]
        free = [field for field in fields if field not in cast("Mapping[str, Any]", owner)]
        known = likeliest(name, free)
        reason = f"there is no field '{name:.140}'"
        if known is not None:
            patch = (move(where, pointer(*place[:-1], known)),)
            return PlanProblem(where, "unknown-field", reason, f"Call it '{known}'.", patch)
        mend = f"Leave it out; the fields are {listed(fields)}."
        return PlanProblem(where, "unknown-field", reason, mend, (remove(where),))
    if kind == "missing":
        mend = f"Add '{name}'. {_FORM}"
        return PlanProblem(where, "missing-field", f"'{name}' is missing", mend)
    said = str(detail["msg"]).removeprefix("Input ")
    if kind == "model_type":
        said = "should be an object"
    if kind == "too_short":
        return PlanProblem(where, "no-steps", "it has no steps", _FORM)
    if kind.startswith(("greater", "less")):
        reason = f"{name} is out of range: it {said}"
        return PlanProblem(where, "out-of-range", reason, f"Write a value that {said[7:]}.")
    mend = f"Write {said.removeprefix('should be ')}." if said.startswith("should be ") else _FORM
    if not place:
        mend = _FORM
    return PlanProblem(where, "wrong-type", f"{name or 'it'} {said}", mend)


# Handlers and limits


def _handler_problems(steps: list[GivenStep], handlers: Handlers) -> Iterator[PlanProblem]:
    names = [handler.name for handler in handlers]
    for step in steps:
        name = step.raw.get("handler")
        if not isinstance(name, str) or step.handler is not None:
            continue
        known = likeliest(name, names)
        reason = f"{step.label} names the handler '{name:.140}', which is not registered"
        if known is not None:
            patch = (replace(step.at("handler"), known),)
            yield PlanProblem(
                step.at("handler"), "unknown-handler", reason, f"Write '{known}'.", patch
            )
        else:
            mend = f"Write one of {listed(names, 50)}."
            yield PlanProblem(step.at("handler"), "unknown-handler", reason, mend)


def _too_large(size: int, limits: Limits) -> PlanProblem:
    reason = f"it takes {size} bytes, at most {limits.max_definition_bytes} are possible"
    return PlanProblem(
        "", "limit", reason, "Keep large values out of params: let a handler read them."
    )


def _size_problems(plan: Plan, handlers: Handlers, limits: Limits) -> Iterator[PlanProblem]:
    """Measure a plan that is right as it will be stored, with its handlers' options."""
    definition = plan.definition(handlers)
    if limits.max_items is not None:
        definition["options"]["max_items"] = limits.max_items
    size = len(encode(definition).encode())
    if size > limits.max_definition_bytes:
        yield _too_large(size, limits)


def _oversized(steps: list[GivenStep], limits: Limits) -> Iterator[PlanProblem]:
    """Tell what has to be mended before it is worth looking at each edge."""
    if len(steps) > limits.max_steps:
        reason = f"it has {len(steps)} steps, at most {limits.max_steps} are possible"
        mend = "Do with fewer steps: a map works on each element of a list in one step."
        yield PlanProblem("/steps", "limit", reason, mend)
        return
    for step in steps:
        count, most = len(step.parents), limits.max_dependencies
        if count > most:
            reason = f"{step.label} waits for {count} steps, at most {most} are possible"
            mend = "Let steps between them gather the outputs."
            yield PlanProblem(step.at(), "limit", reason, mend)


def _limit_problems(steps: list[GivenStep], limits: Limits) -> Iterator[PlanProblem]:
    for step in steps:
        for name in _LIMITED:
            for text in problems_of({name: step.raw.get(name)}, (), limits):
                most = limits.max_attempts if name == "max_attempts" else None
                most = limits.max_timeout if name == "timeout" else most
                most = limits.max_delay if name == "base_delay" else most
                patch = (replace(step.at(name), most),)
                yield PlanProblem(
                    step.at(name), "limit", f"{step.label}: {text}", f"Write at most {most}.", patch
                )
        if depth_of(step.params) > limits.max_pattern_depth:
            reason = (
                f"{step.label}: params are nested deeper than {limits.max_pattern_depth} levels"
            )
            yield PlanProblem(step.at("params"), "limit", reason, "Write flatter values.")


def _place(problem: PlanProblem) -> list[tuple[int, str]]:
    """Order by place, numbers as numbers."""
    parts = problem.pointer.split("/")
    return [(int(part), "") if part.isdecimal() and len(part) < 9 else (-1, part) for part in parts]  # noqa: PLR2004 - an index

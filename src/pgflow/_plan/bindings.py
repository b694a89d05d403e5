"""What can be wrong with how a plan binds the parameters of its handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from pgflow._codec.plain import encode
from pgflow._plan.edges import MOST_TRIED
from pgflow._plan.model import ITEM, RUN, Source
from pgflow._plan.problems import (
    Patch,
    PlanProblem,
    add,
    likeliest,
    listed,
    move,
    pointer,
    remove,
    replace,
)
from pgflow._plan.schemas import Missing, at_path, described, fits, items_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgflow._plan.reading import GivenStep, Reference, StepsBySlug
    from pgflow._plan.registry import HandlerParameter, RegisteredHandler
    from pgflow._plan.schemas import Schema


def binding_problems(steps: Sequence[GivenStep], by_slug: StepsBySlug) -> Iterator[PlanProblem]:
    """Name parameters that are unknown, unbound or bound twice, and what they cannot be bound to."""
    for step in steps:
        yield from _source_problems(step)
        if step.handler is None:
            continue
        claimed: set[str] = set()
        yield from _unknown_parameters(step, step.handler, claimed)
        yield from _constants(step, step.handler)
        for reference in step.inputs:
            parameter = step.handler.parameters.get(reference.parameter or "")
            if parameter is not None:
                yield from _type_problems(step, reference, parameter, by_slug)
        yield from _unbound(step, step.handler, by_slug, claimed)


def _source_problems(step: GivenStep) -> Iterator[PlanProblem]:
    for reference in step.inputs:
        if Source.of(reference.text) is None:
            reason = f"{reference.text!r:.140} is no source of an input"
            mend = f"Write a step's slug, '{RUN}', or '{ITEM}' in a map, and '.field' for a part of it."
            yield PlanProblem(reference.pointer, "bad-source", reason, mend)
    is_item_used = any(reference.name == ITEM for reference in step.inputs)
    if step.over is not None and not is_item_used and step.handler is not None:
        free = _free(step, step.handler)
        if not free:
            reason = f"{step.label} goes over '{step.over.name:.140}', and uses no {ITEM}"
            mend = f"Bind a parameter to '{ITEM}', or take `over` away."
            yield PlanProblem(step.at("inputs"), "item-unused", reason, mend)


def _unknown_parameters(
    step: GivenStep, handler: RegisteredHandler, claimed: set[str]
) -> Iterator[PlanProblem]:
    """Also tell which parameters are bound once the mends are made."""
    names = list(handler.parameters)
    bound = {*step.params, *(str(reference.parameter) for reference in step.inputs)}
    given = [("params", name) for name in step.params]
    given += [("inputs", str(reference.parameter)) for reference in step.inputs]
    for where, name in given:
        if name in handler.parameters:
            continue
        free = [known for known in names if known not in bound]
        known = likeliest(name, [word for word in free if word not in claimed])
        place = step.at(where, name)
        reason = f"{step.label}: handler '{handler.name}' has no parameter '{name:.140}'"
        if known is not None:
            claimed.add(known)
            patch: Patch = (move(place, step.at(where, known)),)
            yield PlanProblem(place, "unknown-parameter", reason, f"Call it '{known}'.", patch)
        else:
            mend = f"Leave it out; it has {listed(names) or 'no parameters'}."
            yield PlanProblem(place, "unknown-parameter", reason, mend, (remove(place),))
    for reference in step.inputs:
        if reference.parameter in step.params and reference.parameter in handler.parameters:
            place = step.at("params", reference.parameter)
            reason = f"{step.label}: '{reference.parameter:.140}' stands in params and in inputs"
            mend = "Leave one of them out."
            yield PlanProblem(place, "bound-twice", reason, mend, (remove(place),))


def _constants(step: GivenStep, handler: RegisteredHandler) -> Iterator[PlanProblem]:
    for name, value in step.params.items():
        parameter = handler.parameters.get(name)
        if parameter is None or parameter.port.is_plain:
            continue
        place = step.at("params", name)
        kind = described(parameter.schema)
        try:
            parameter.port.adapter.validator.validate_json(encode(value))
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_context=False):
                where = place + pointer(*_real(detail["loc"], value))
                reason = f"{step.label}: {name} does not fit: {detail['msg']}"
                mend, patch = _closest(where, detail, parameter, value)
                yield PlanProblem(where, "bad-value", reason, mend or f"Write {kind}.", patch)
        except Exception as error:  # noqa: BLE001 - validators of the handler's own types may raise anything
            reason = f"{step.label}: {name} does not fit: {error!s:.300}"
            yield PlanProblem(place, "bad-value", reason, f"Write {kind}.")


def _real(location: Sequence[int | str], value: Any) -> list[int | str]:
    """Keep the keys that lead into the value; pydantic adds names of union members and the like."""
    keys: list[int | str] = []
    for key in location:
        if isinstance(value, dict) and key in value:
            value = cast("dict[object, object]", value)[key]
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = cast("list[object]", value)[key]
        else:
            continue
        keys.append(key)
    return keys


def _closest(
    where: str, detail: Any, parameter: HandlerParameter, value: object
) -> tuple[str, Patch]:
    """Suggest the word of a list of words that is most like the one given."""
    words = [word for word in parameter.schema.get("enum", []) if isinstance(word, str)]
    if detail["type"] not in {"enum", "literal_error"} or not words or not isinstance(value, str):
        return "", ()
    known = likeliest(value, words)
    if known is None:
        return f"Write one of {listed(words)}.", ()
    return f"Write '{known}'.", (replace(where, known),)


def _type_problems(
    step: GivenStep,
    reference: Reference,
    parameter: HandlerParameter,
    by_slug: StepsBySlug,
) -> Iterator[PlanProblem]:
    source = _schema_of(step, reference.name, by_slug)
    found = at_path(source, reference.path)
    if isinstance(found, Missing):
        known = likeliest(found.key, found.known)
        reason = (
            f"{step.label}: {described(source)} of '{reference.name}' has no '{found.key:.140}'"
        )
        if known is not None:
            keys = [known if key == found.key else key for key in reference.path]
            text = ".".join((reference.name, *keys))
            patch: Patch = (replace(reference.pointer, text),)
            yield PlanProblem(reference.pointer, "no-such-field", reason, f"Write '{text}'.", patch)
        else:
            mend = (
                f"Name one of its fields: {listed(found.known)}."
                if found.known
                else "Take the path away."
            )
            yield PlanProblem(reference.pointer, "no-such-field", reason, mend)
    elif not fits(found, parameter.schema):
        reason = (
            f"{step.label}: '{parameter.name}' takes {described(parameter.schema)},"
            f" and '{reference.text}' is {described(found)}"
        )
        sources = [
            text for text in _sources_for(step, parameter, by_slug) if text != reference.text
        ]
        mend = f"Bind it to what fits: {listed(sources)}." if sources else "Bind it to what fits."
        patch = (replace(reference.pointer, sources[0]),) if len(sources) == 1 else ()
        yield PlanProblem(reference.pointer, "type-mismatch", reason, mend, patch)


def _schema_of(step: GivenStep, name: str, by_slug: StepsBySlug) -> Schema:
    if name == ITEM and step.over is not None:
        over = by_slug.get(step.over.name)
        return {} if over is None or over is step else items_of(over.output_schema)
    source = by_slug.get(name)
    return {} if source is None or source is step else source.output_schema


def _free(step: GivenStep, handler: RegisteredHandler) -> list[HandlerParameter]:
    """Return the parameters that need a value and have none."""
    bound = {*step.params, *(reference.parameter for reference in step.inputs)}
    # What is bound to something malformed is not unbound as well.
    for name in ("params", "inputs"):
        given = step.raw.get(name)
        bound |= set(cast("dict[str, object]", given)) if isinstance(given, dict) else set()
    return [
        parameter
        for name, parameter in handler.parameters.items()
        if parameter.is_required and name not in bound
    ]


def _unbound(
    step: GivenStep,
    handler: RegisteredHandler,
    by_slug: StepsBySlug,
    claimed: set[str],
) -> Iterator[PlanProblem]:
    has_inputs = isinstance(step.raw.get("inputs"), dict)
    for parameter in _free(step, handler):
        if parameter.name in claimed:
            continue
        name, place = parameter.name, step.at("inputs", parameter.name)
        sources = _sources_for(step, parameter, by_slug)
        reason = (
            f"{step.label}: '{name}' of handler '{handler.name}' has no value;"
            f" it takes {described(parameter.schema)}"
        )
        mend = f"Bind it in inputs, or give a constant in params; what fits: {listed([*sources, RUN])}."
        patch: Patch = ()
        if len(sources) == 1:
            mend = f"Bind it in inputs to '{sources[0]}', or give a constant in params."
            patch = (add(place, sources[0]),)
            if not has_inputs:
                patch = (add(step.at("inputs"), {}), *patch)
                has_inputs = True
        yield PlanProblem(place, "unbound-parameter", reason, mend, patch)


def _sources_for(step: GivenStep, parameter: HandlerParameter, by_slug: StepsBySlug) -> list[str]:
    """Return what the parameter can be bound to without a cycle, by the types as far as they are known."""
    if step.is_map:
        item = _schema_of(step, ITEM, by_slug)
        return [ITEM] if fits(item, parameter.schema) else []
    if not parameter.schema or len(by_slug) > MOST_TRIED:
        return []
    return [
        slug
        for slug, other in by_slug.items()
        if other is not step
        and other.output_schema
        and fits(other.output_schema, parameter.schema)
        and not by_slug.leads_to(slug, step.slug)
    ]

"""What can be wrong with the names of a plan's steps, and with the edges between them."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, cast

from pgflow._flow.checks import order, shown_loop
from pgflow._flow.options import slug_problem
from pgflow._plan.model import ITEM, RUN, Source
from pgflow._plan.problems import Patch, PlanProblem, likeliest, listed, remove, replace
from pgflow._plan.schemas import described, is_array

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgflow._plan.reading import GivenStep, Reference, StepsBySlug

MOST_TRIED = 200
"""Steps up to which mends are looked for that need a walk through the graph for each of them."""

# Names


def slug_problems(raw: object, steps: Sequence[GivenStep]) -> Iterator[PlanProblem]:
    """Name bad slugs of the plan and its steps, and those that are used twice."""
    slug = cast("dict[str, object]", raw).get("slug") if isinstance(raw, dict) else None
    if isinstance(slug, str) and (problem := slug_problem(slug, "the slug of a plan")):
        better = _soundly(slug, set())
        yield PlanProblem(
            "/slug", "bad-slug", problem, f"Write '{better}'.", (replace("/slug", better),)
        )
    taken = {step.slug for step in steps if step.slug is not None}
    first: dict[str, int] = {}
    for step in steps:
        if step.slug is None:
            continue
        bad = slug_problem(step.slug, "the slug of a step")
        if step.slug == ITEM:
            bad = f"'{ITEM}' is a reserved word and cannot be the slug of a step"
        if bad:
            better = _soundly(step.slug, taken, step.index + 1)
            renames = [
                replace(reference.pointer, reference.renamed(better))
                for other in steps
                for reference in other.references
                if reference.name == step.slug and step.slug not in {RUN, ITEM}
            ]
            patch = (replace(step.at("slug"), better), *renames)
            mend = f"Write '{better}', also where it is named."
            yield PlanProblem(step.at("slug"), "bad-slug", bad, mend, patch)
        elif step.slug in first:
            better = _soundly(step.slug, taken, step.index + 1)
            reason = f"step {step.index} has the slug of step {first[step.slug]}, '{step.slug}'"
            patch = (replace(step.at("slug"), better),)
            mend = f"Give it another, such as '{better}', and name that where it is meant."
            yield PlanProblem(step.at("slug"), "duplicate-step", reason, mend, patch)
        else:
            first[step.slug] = step.index


def _soundly(slug: str, taken: set[str], number: int = 2) -> str:
    """Return a slug that can be one, like what was written, and take it."""
    word = re.sub(r"[^a-zA-Z0-9_]+", "_", slug[:100]).strip("_") or "step"
    word = f"_{word}" if word[0].isdigit() else word
    if word in {RUN, ITEM}:
        word = f"{word}_step"
    better = word
    while better in taken:
        number, better = number + 1, f"{word}_{number}"
    taken.add(better)
    return better


# Edges


def edge_problems(steps: Sequence[GivenStep], by_slug: StepsBySlug) -> Iterator[PlanProblem]:
    """Name references that lead nowhere, or where they must not lead, and cycles."""
    for step in steps:
        for reference in step.references:
            yield from _reference_problems(step, reference, by_slug)
        yield from _repeated(step, by_slug)
        if step.over is not None:
            yield from _map_problems(step, step.over, by_slug)
        elif step.raw.get("max_failed_percent") is not None:
            where = step.at("max_failed_percent")
            reason = f"{step.label} has max_failed_percent, and is no map"
            yield PlanProblem(where, "maps-only", reason, "Leave it out.", (remove(where),))
    yield from _cycles(by_slug)


def _reference_problems(
    step: GivenStep, reference: Reference, by_slug: StepsBySlug
) -> Iterator[PlanProblem]:
    name, where = reference.name, reference.pointer
    is_input = reference.parameter is not None
    if is_input and Source.of(reference.text) is None:
        return  # told with the bindings
    if name == RUN and (is_input or reference is step.over):
        return
    if name == ITEM and is_input:
        if step.over is None:
            reason = f"{step.label} uses '{ITEM}', and goes over no array"
            mend = "Add `over`, the step whose array it goes over, or name a step here."
            yield PlanProblem(where, "item-outside-map", reason, mend)
        return
    if name == step.slug and name in by_slug:
        reason = f"{step.label} depends on itself"
        patch: Patch = () if is_input or reference is step.over else (remove(where),)
        mend = "Take it out." if patch else "Name the step whose output it needs."
        yield PlanProblem(where, "self-dependency", reason, mend, patch)
    elif name not in by_slug:
        yield _unknown_step(step, reference, by_slug)


def _unknown_step(step: GivenStep, reference: Reference, by_slug: StepsBySlug) -> PlanProblem:
    name, where = reference.name, reference.pointer
    others = [slug for slug in by_slug if slug != step.slug]
    words = [*others, *([RUN] if reference not in step.depends_on else [])]
    words += [ITEM] if reference.parameter is not None and step.is_map else []
    known = likeliest(name, words)
    reason = f"{step.label} names the step '{name:.140}', which does not exist"
    if known is not None:
        patch: Patch = (replace(where, reference.renamed(known)),)
        return PlanProblem(
            where, "unknown-step", reason, f"Write '{reference.renamed(known)}'.", patch
        )
    if reference in step.depends_on:
        mend = f"Take it out, or add that step; there are {listed(others) or 'no other steps'}."
        return PlanProblem(where, "unknown-step", reason, mend, (remove(where),))
    mend = f"Write one of {listed(words)}, or add that step."
    return PlanProblem(where, "unknown-step", reason, mend)


def _repeated(step: GivenStep, by_slug: StepsBySlug) -> Iterator[PlanProblem]:
    seen: set[str] = set()
    for reference in step.depends_on:
        if reference.name in seen and reference.name in by_slug and reference.name != step.slug:
            reason = f"{step.label} depends on '{reference.name}' twice"
            patch = (remove(reference.pointer),)
            yield PlanProblem(
                reference.pointer, "duplicate-dependency", reason, "Name it once.", patch
            )
        seen.add(reference.name)


# Maps


def _map_problems(step: GivenStep, over: Reference, by_slug: StepsBySlug) -> Iterator[PlanProblem]:
    for reference in step.inputs:
        if reference.name in by_slug and reference.name != step.slug:
            reason = f"{step.label} is a map, and takes '{reference.name}' beside its items"
            mend = (
                f"A map gets its {ITEM}, the run's input ('{RUN}') and params: have '{over.name}' put"
                " what is needed into each item, or take `over` away and give the handler the array."
            )
            yield PlanProblem(reference.pointer, "map-input", reason, mend)
    for reference in step.depends_on:
        if reference.name in by_slug and reference.name not in {over.name, step.slug}:
            reason = f"{step.label} is a map, and waits for '{reference.name}' beside '{over.name}'"
            mend = f"Let '{over.name}' depend on it instead."
            where = reference.pointer
            yield PlanProblem(where, "map-dependency", reason, mend, (remove(where),))
    source = by_slug.get(over.name)
    if source is None or source is step or is_array(source.output_schema) is not False:
        return
    kind = described(source.output_schema)
    arrays = [
        slug
        for slug, other in by_slug.items()
        if other is not step and is_array(other.output_schema)
    ]
    reason = f"{step.label} goes over '{over.name}', which returns {kind}, no array"
    mend = "Go over a step that returns an array"
    mend += (
        f": {listed(arrays)}." if arrays else ", or take `over` away and bind the value in inputs."
    )
    tried = arrays if len(by_slug) <= MOST_TRIED else []
    free = [slug for slug in tried if not by_slug.leads_to(slug, step.slug)]
    patch = (replace(over.pointer, free[0]),) if len(free) == 1 else ()
    yield PlanProblem(over.pointer, "not-an-array", reason, mend, patch)


# Cycles


def _cycles(by_slug: StepsBySlug) -> Iterator[PlanProblem]:
    _, loops = order({slug: step.parents for slug, step in by_slug.items()})
    for loop in loops:
        edges = [
            reference
            for parent, child in pairwise(loop)
            for reference in by_slug[child].references
            if reference.name == parent
        ]
        reference = min(edges, key=lambda edge: _worth(edge, by_slug))
        step = reference.step
        reason = f"the steps wait for each other: {shown_loop(loop)}"
        if reference in step.depends_on:
            patch: Patch = (remove(reference.pointer),)
            mend = f"Take '{reference.name}' out of depends_on of {step.label}."
        else:
            patch = ()
            mend = f"Bind this to another step, one that does not wait for {step.label}."
        yield PlanProblem(reference.pointer, "cycle", reason, mend, patch)


def _worth(edge: Reference, by_slug: StepsBySlug) -> tuple[bool, bool, int]:
    """Order the edges of a cycle: the one that is most likely a mistake comes first."""
    parent = by_slug[edge.name]
    carries = edge not in edge.step.depends_on
    points_back = parent.index < edge.step.index
    return (carries, points_back, edge.step.index)

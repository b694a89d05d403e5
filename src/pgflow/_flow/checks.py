"""All that can be wrong with a flow, found in one pass without recursion."""

from __future__ import annotations

import heapq
import inspect
from collections import Counter
from typing import TYPE_CHECKING, Any

from pgflow._flow.limits import HARD, problems_of, size_problem
from pgflow._flow.options import (
    FLOW_CHECKS,
    MAP_CHECKS,
    STEP_CHECKS,
    option_problems,
    redact_problems,
    slug_problem,
)
from pgflow._flow.step import RENAMED, MapStep, Step
from pgflow.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pgflow.flow import Flow

_MOST_GUESSES = 1000
_LONGEST_CYCLE = 12
_NO_ARRAYS = {"str", "int", "float", "bool", "bytes", "dict", "None", "Decimal", "datetime", "date"}


def check_flow(flow: Flow[Any], steps: list[Step[Any]]) -> tuple[list[str], list[Step[Any]]]:
    """Return every problem, and the steps in topological order (definition order where free)."""
    problems = [p for p in (slug_problem(flow.slug, "the name of a flow"),) if p]
    problems += option_problems(flow.options, FLOW_CHECKS)
    problems += redact_problems(flow.redact, HARD.max_redact_paths)
    if not steps:
        problems.append("it has no steps")
    by_slug: dict[str, Step[Any]] = {}
    for step in steps:
        by_slug.setdefault(str(step.slug), step)
    for slug, count in Counter(str(step.slug) for step in steps).items():
        if count > 1:
            problems.append(f"step '{slug}': defined {count} times")
    for step in steps:
        problems += [f"step '{step.slug}': {problem}" for problem in _step_problems(step, by_slug)]
    problems += _queue_problems(steps)
    problems += problems_of(flow.options, map(_as_defined, steps))
    ordered, cycles = _sort(by_slug)
    problems += cycles
    if not problems and (problem := _size_problem(flow, steps)):
        problems.append(problem)
    return problems, ordered


def _as_defined(step: Step[Any]) -> dict[str, Any]:
    """Return what of a step has limits, in the words of `define_flow`; the values may be of any kind."""
    options = {RENAMED.get(name, name): value for name, value in step.options.items()}
    return options | {"slug": step.slug, "depends_on": step.dependencies}


def _size_problem(flow: Flow[Any], steps: list[Step[Any]]) -> str | None:
    from json import dumps  # noqa: PLC0415 - keeps `import pgflow` light

    definition = {"options": flow.options, "steps": [step.definition() for step in steps]}
    return size_problem(len(dumps(definition, ensure_ascii=False).encode("utf-8", "replace")))


def _step_problems(step: Step[Any], by_slug: Mapping[str, Step[Any]]) -> Iterable[str]:
    is_map = isinstance(step, MapStep)
    if problem := slug_problem(step.slug, "the name of a step"):
        yield problem
    options = step.options
    if "batch_size" in options and not step.takes_element:
        options = {name: value for name, value in options.items() if name != "batch_size"}
        why = "this one has a fixed number of tasks" if is_map else "this one is no map"
        yield f"batch_size is for maps over the items of an array, and {why}"
    yield from option_problems(options, MAP_CHECKS if is_map else STEP_CHECKS)
    yield from _dependency_problems(step, by_slug)
    if is_map and len(step.dependencies) > 1:
        names = ", ".join(step.dependency_slugs)
        yield f"a map takes one array, or none; it was given {len(step.dependencies)}: {names}"
    yield from _handler_problems(step)


def _dependency_problems(step: Step[Any], by_slug: Mapping[str, Step[Any]]) -> Iterable[str]:
    foreign = {
        dependency.slug: dependency.flow.slug
        for dependency in step.dependencies
        if isinstance(dependency, Step) and dependency.flow is not step.flow
    }
    for slug, count in Counter(step.dependency_slugs).items():
        if count > 1:
            yield f"depends on '{slug}' {count} times"
        if slug == step.slug:
            yield "depends on itself"
        elif slug in foreign:
            yield (
                f"depends on '{slug}' of another flow, '{foreign[slug]}';"
                " an edge stays within one flow"
            )
        elif slug not in by_slug:
            # Likeness is measured against every slug, so only in flows that a person wrote.
            others = [name for name in by_slug if name != step.slug]
            hint = did_you_mean(slug, others) if len(others) <= _MOST_GUESSES else ""
            yield f"depends on '{slug}', which does not exist{hint}"
    over = (
        by_slug.get(step.dependency_slugs[0]) if step.takes_element and step.dependencies else None
    )
    if over is not None and not isinstance(over, MapStep) and (kind := _not_an_array(over)):
        yield f"maps over '{over.slug}', which returns {kind}; it must return a list"


def _not_an_array(step: Step[Any]) -> str | None:
    """Name the return annotation if it can be told at a glance that it is no array."""
    annotations: dict[str, object] = getattr(step.function, "__annotations__", {})
    if "return" not in annotations:
        return None
    returned = annotations["return"]
    text = returned if isinstance(returned, str) else getattr(returned, "__name__", str(returned))
    return text if text.partition("[")[0] in _NO_ARRAYS else None


def _handler_problems(step: Step[Any]) -> Iterable[str]:
    function: object = step.function
    if not callable(function):
        yield f"its handler is not callable: {function!r}"
        return
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        yield "its handler is a generator; return a list instead of using yield"
    name = getattr(function, "__qualname__", "")
    if step.isolation == "process" and "<" in name:
        yield (
            f"isolation='process' needs a handler that another process can import, and {name} is"
            " local; define it at the top level of a module"
        )
    if step.memory_limit is not None and step.isolation != "process":
        yield "memory_limit needs isolation='process': threads share their worker's memory"
    yield from _argument_problems(step)


def _argument_problems(step: Step[Any]) -> Iterable[str]:
    try:
        signature = inspect.signature(step.function)
    except (TypeError, ValueError):
        return  # some builtins have no signature
    expected = 1 if step.convention == "mapping" else max(1, len(step.dependencies))
    try:
        signature.bind(*range(expected))
    except TypeError:
        takes = f"its handler takes {signature}"
        if step.convention == "mapping":
            yield f"{takes}, but must take one mapping"
        elif step.dependencies and step.takes_element:
            yield f"{takes}, but must take one item of '{step.dependency_slugs[0]}'"
        elif step.dependencies:
            names = ", ".join(step.dependency_slugs)
            noun = "argument" if expected == 1 else "arguments"
            yield f"{takes}, but must take {expected} {noun}, the outputs of: {names}"
        else:
            what = "one item of the run's input" if step.takes_element else "the run's input"
            yield f"{takes}, but must take one argument, {what}"


def _queue_problems(steps: list[Step[Any]]) -> Iterable[str]:
    seen: dict[str, str] = {}
    for step in steps:
        queue = step.queue
        if isinstance(queue, str) and seen.setdefault(queue.lower(), queue) != queue:
            yield (
                f"step '{step.slug}': queue '{queue}' is the same as '{seen[queue.lower()]}' to"
                " pgmq, for which letter case does not count; write both alike"
            )


def _sort(by_slug: Mapping[str, Step[Any]]) -> tuple[list[Step[Any]], list[str]]:
    """Order the steps by dependency; what cannot be ordered is reported as cycles."""
    slugs, loops = order({slug: step.dependency_slugs for slug, step in by_slug.items()})
    cycles = [f"step '{loop[0]}': is in a cycle: {shown_loop(loop)}" for loop in loops]
    return [by_slug[slug] for slug in slugs], cycles


def shown_loop(loop: Sequence[str]) -> str:
    """Draw a cycle, the middle of a long one left out."""
    shown = loop if len(loop) <= _LONGEST_CYCLE else [*loop[:5], "...", *loop[-3:]]
    return " -> ".join(shown)


def order(dependencies: Mapping[str, Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Order slugs after those that they depend on, as given where free; also return the loops, each closed.

    Dependencies that do not exist, and those on oneself, do not count.
    """
    names = list(dependencies)
    index = {slug: position for position, slug in enumerate(names)}
    parents = {
        slug: [dep for dep in dict.fromkeys(deps) if dep in index and dep != slug]
        for slug, deps in dependencies.items()
    }
    children: dict[str, list[str]] = {slug: [] for slug in names}
    waiting: dict[str, int] = {}
    for slug, deps in parents.items():
        waiting[slug] = len(deps)
        for dep in deps:
            children[dep].append(slug)
    ready = [index[slug] for slug in names if not waiting[slug]]
    ordered: list[str] = []
    while ready:
        slug = names[heapq.heappop(ready)]
        ordered.append(slug)
        del waiting[slug]
        for child in children[slug]:
            waiting[child] -= 1
            if not waiting[child]:
                heapq.heappush(ready, index[child])
    return ordered, list(_loops(waiting, parents))


def _loops(unordered: Mapping[str, int], parents: Mapping[str, list[str]]) -> Iterable[list[str]]:
    """Walk from each unordered step to an unordered parent until the walk meets itself."""
    walk_of: dict[str, str] = {}
    for start in unordered:
        walk: list[str] = []
        slug = start
        while slug not in walk_of:
            walk_of[slug] = start
            walk.append(slug)
            slug = next(parent for parent in parents[slug] if parent in unordered)
        if walk_of[slug] == start:
            yield [*walk[walk.index(slug) :], slug][::-1]

"""How large a definition may be, and what it may ask for: limits for everybody, and tighter ones for strangers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

_INTEGER = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a definition may ask for; as they are here they hold for every flow, in Python and in SQL alike.

    Give tighter ones to a FlowBuilder that takes definitions from strangers: agents, HTTP. Durations are seconds.

    >>> builder = FlowBuilder(db, limits=Limits(max_steps=50, max_items=10_000, max_timeout=600))
    """

    max_steps: int = 20_000
    max_dependencies: int = 10_000
    """Of one step."""
    max_definition_bytes: int = 16 * 1024 * 1024
    """Of the whole definition as JSON."""
    max_pattern_bytes: int = 64 * 1024
    max_pattern_depth: int = 32
    """Levels of lists and objects in a condition."""
    max_tasks: int = 10_000_000
    """Of a map with a fixed number of tasks."""
    max_attempts: int = _INTEGER
    max_timeout: int = _INTEGER
    max_delay: int = _INTEGER
    """Of base_delay, max_delay and start_delay."""
    max_redact_paths: int = 100
    max_items: int | None = None
    """Of any map while a run goes on: the run fails when a step returns more for a map to go over. None: any number."""


HARD: Final = Limits()
"""What holds for every flow; `pgflow._limits()` has the same numbers."""

_NUMBERS: Final = {
    "max_attempts": "max_attempts",
    "timeout": "max_timeout",
    "base_delay": "max_delay",
    "max_delay": "max_delay",
    "start_delay": "max_delay",
    "initial_tasks": "max_tasks",
}
PATTERNS: Final = ("required_input_pattern", "forbidden_input_pattern")


def problems_of(
    options: Mapping[str, object], steps: Iterable[Mapping[str, Any]], limits: Limits = HARD
) -> list[str]:
    """Name all that goes beyond the limits in a flow's options and steps, worded as `define_flow` takes them."""
    problems = [*_beyond(options, limits)]
    if limits.max_items is not None:
        items = options.get("max_items")
        if _is_number(items) and cast("int", items) > limits.max_items:
            problems.append(f"max_items must be at most {limits.max_items}, not {items}")
    count = 0
    for count, step in enumerate(steps, 1):
        problems += [f"step '{step.get('slug')}': {text}" for text in _beyond(step, limits)]
        if count > limits.max_steps:
            break
    if count > limits.max_steps:
        problems.append(f"it has more than {limits.max_steps} steps; split it into several flows")
    return problems


def size_problem(size: int, limits: Limits = HARD) -> str | None:
    """Say if a definition of so many bytes is too large."""
    if size <= limits.max_definition_bytes:
        return None
    return f"its definition takes {size} bytes, at most {limits.max_definition_bytes} are possible"


def depth_of(value: object) -> int:
    """Count the levels of lists and objects, without recursion: 0 for a scalar."""
    level: list[object] = [value] if isinstance(value, list | tuple | Mapping) else []
    depth = 0
    while level:
        depth += 1
        if depth > HARD.max_pattern_depth * 4:
            break  # far too deep already, or it contains itself
        below: list[object] = []
        for part in level:
            if isinstance(part, Mapping):
                below += cast("Mapping[object, object]", part).values()
            else:
                below += cast("list[object]", part)
        level = [part for part in below if isinstance(part, list | tuple | Mapping)]
    return depth


def _beyond(options: Mapping[str, object], limits: Limits) -> Iterable[str]:
    for name, limit in _NUMBERS.items():
        value, most = options.get(name), cast("int", getattr(limits, limit))
        if _is_number(value) and most < cast("float", value) <= _INTEGER:
            yield f"{name} must be at most {most}, not {value}"
    depends_on = options.get("depends_on")
    if isinstance(depends_on, list | tuple) and len(depends_on) > limits.max_dependencies:
        count = len(cast("list[object]", depends_on))
        yield f"it has {count} dependencies, at most {limits.max_dependencies} are possible"
    for name in PATTERNS:
        pattern = options.get(name)
        if pattern is not None and (problem := _pattern_problem(pattern, limits)):
            yield f"{name} {problem}"


def _pattern_problem(pattern: object, limits: Limits) -> str | None:
    from json import dumps  # noqa: PLC0415 - few steps have conditions

    if depth_of(pattern) > limits.max_pattern_depth:
        return f"is nested deeper than {limits.max_pattern_depth} levels"
    try:
        size = len(dumps(pattern, ensure_ascii=False).encode("utf-8", "replace"))
    except (TypeError, ValueError):
        return None  # its own check says what is wrong
    if size > limits.max_pattern_bytes:
        return f"takes more than {limits.max_pattern_bytes} bytes"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

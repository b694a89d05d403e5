"""Reads flows given as a list of tuples, the form in which the seed writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_PAIR, _TRIPLE = 2, 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One tuple of the list, understood."""

    name: str
    function: Callable[..., Any]
    depends_on: tuple[str, ...]
    is_map: bool
    over: bool
    """Runs over its dependency's array; else a map has a fixed number of tasks."""
    options: dict[str, Any]


def read_entries(entries: Iterable[Any], problems: list[str]) -> Iterator[Entry]:
    """Yield what can be understood, and add what cannot to `problems`."""
    previous: tuple[str, ...] = ()
    for position, entry in enumerate(entries):
        if not isinstance(entry, tuple) or len(entry) not in {_PAIR, _TRIPLE}:
            problems.append(
                f"entry {position}: must be (name, function) or (name, function, options),"
                f" not {entry!r}"
            )
            continue
        given: tuple[Any, ...] = entry
        if len(given) == _TRIPLE and not isinstance(given[2], Mapping):
            problems.append(f"step '{given[0]}': options must be a mapping, not {given[2]!r}")
            continue
        name = str(given[0])
        if len(given) == _PAIR:
            yield Entry(name, given[1], previous, is_map=False, over=False, options={})
        else:
            yield _with_options(name, given[1], dict(given[2]), problems)
        previous = (name,)


def _with_options(
    name: str, function: Callable[..., Any], options: dict[str, Any], problems: list[str]
) -> Entry:
    depends_on = options.pop("depends_on", None) or ()
    if isinstance(depends_on, str) or not isinstance(depends_on, Iterable):
        problems.append(f"step '{name}': depends_on must be a list of names, not {depends_on!r}")
        depends_on = ()
    dependencies = tuple(str(dep) for dep in depends_on)
    step_type = options.pop("step_type", None)
    if step_type is not None and step_type != "single" and step_type != "map":  # noqa: PLR1714 - of any kind, so perhaps not hashable
        problems.append(f"step '{name}': step_type must be 'single' or 'map', not {step_type!r}")
    is_map = step_type == "map" or (step_type is None and options.get("initial_tasks") is not None)
    if is_map and dependencies:
        # The array's length rules; the number given for it is the seed's advance estimate.
        options.pop("initial_tasks", None)
    elif step_type == "single" and options.get("initial_tasks") == 1:
        options.pop("initial_tasks")
    return Entry(name, function, dependencies, is_map, bool(is_map and dependencies), options)

"""Random definitions, inputs and outputs: small, but with every feature that a step can have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from tests.model.definitions import SQL_NULL, Definition, Json, Options, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 1000
"""Leases and delays are multiples of this, so that what a schedule takes itself does not count."""

ARRAYS: tuple[Json, ...] = ([2], [2, 3], [], [2, "two", None, [3], {"a": 2}])
OTHERS: tuple[Json, ...] = (7, {"a": 2}, None, SQL_NULL, "text", [], {"a": [2, 3]}, [2])

FEATURES: tuple[dict[str, Json], ...] = (
    {},
    {},
    {"max_attempts": 1, "when_exhausted": "skip"},
    {"max_attempts": 1, "when_exhausted": "skip-cascade"},
    {"max_attempts": 1},
    {"max_attempts": 3, "base_delay": SECONDS},
    {"start_delay": SECONDS},
    {"queue": "side"},
    {"timeout": 3 * SECONDS},
)
MAP_FEATURES: tuple[dict[str, Json], ...] = (
    {},
    {"batch_size": 2},
    {"batch_size": 2},
    {"batch_size": 3, "max_failed_tasks": 2},
    {"max_failed_tasks": 1},
    {"max_failed_tasks": 2, "max_attempts": 1},
)
PATTERNS: tuple[tuple[str, Json], ...] = (
    ("required_input_pattern", [2]),
    ("forbidden_input_pattern", [2]),
    ("required_input_pattern", {"a": 2}),
    ("forbidden_input_pattern", {}),
)
MODES = ("skip", "skip-cascade", "fail")

options = st.builds(
    Options,
    max_attempts=st.sampled_from((2, 1, 3, 0)),
    base_delay=st.sampled_from((0, SECONDS)),
    timeout=st.sampled_from((SECONDS, 2 * SECONDS)),
    max_delay=st.sampled_from((None, 3 * SECONDS)),
)


@st.composite
def steps(draw: st.DrawFn, slug: str, known: Sequence[str], *, tame: bool = False) -> Step:
    """Give a step that may depend on the known ones; a tame one has no condition."""
    kind = draw(st.integers(0, 4))
    is_map = kind < 2
    most = min(1 if is_map else 2, len(known))
    count = draw(st.integers(0, most)) if kind % 2 else most
    first = draw(st.integers(0, len(known) - 1)) if count else 0
    deps = {known[(first + number) % len(known)] for number in range(count)}
    given: dict[str, Json] = dict(draw(st.sampled_from(FEATURES)))
    if is_map:
        given |= draw(st.sampled_from(MAP_FEATURES))
        if not deps and draw(st.booleans()):
            given |= {"initial_tasks": 2}
            given.pop("batch_size", None)
    if not tame and (condition := draw(st.integers(0, 9))) < len(PATTERNS):
        name, pattern = PATTERNS[condition]
        given[name] = {min(deps): pattern} if deps else {"a": 2}
        given["when_unmet"] = draw(st.sampled_from(MODES))
    return Step(slug, "map" if is_map else "single", tuple(sorted(deps)), **given)


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    """Give a flow of a few steps."""
    found: list[Step] = []
    tame = draw(st.booleans())
    for number in range(draw(st.integers(1, 5))):
        found.append(draw(steps(f"s{number}", [one.slug for one in found], tame=tame)))
    return Definition(draw(options), tuple(found))


def input_for(plan: Sequence[Step], choice: int) -> Json:
    """Choose the input of a run, nearly always one that its root maps can go over."""
    goes_over_input = any(one.goes_over_array and not one.depends_on for one in plan)
    values = (*ARRAYS * 2, {"a": 2}) if goes_over_input else ({"a": 2}, {}, {"a": 3}, [2])
    return values[choice % len(values)]


def output_for(children: Sequence[Step], choice: int) -> Json:
    """Choose an output, nearly always an array where a map goes over it."""
    feeds_map = any(child.goes_over_array for child in children)
    values = (*ARRAYS * 3, *OTHERS[:3]) if feeds_map else OTHERS
    return values[choice % len(values)]

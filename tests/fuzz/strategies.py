"""What fuzzing feeds: texts that were made to break something, JSON of every kind, definitions that are almost right."""

from __future__ import annotations

import os
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

SCALE: Final = int(os.environ.get("PGFLOW_FUZZ", "1"))
"""Many times the examples, for a search by night: PGFLOW_FUZZ=50 make test."""


def fuzz(examples: int) -> settings:
    """Bound a test, so that all of tests/fuzz takes well under a minute; random, so that each run looks elsewhere."""
    return settings(
        max_examples=examples * SCALE,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


NASTY: Final = [
    "", " ", "run", "a", "_", "A", "a" * 47, "a" * 48, "a" * 128, "a" * 129, "1a", "a-b", "a b", "a\n", "\na", "a\0b",
    "a;drop table pgflow.runs", "a'", 'a"', "a\\", "$$", "--", "a--", "/*", "%s", "%(a)s", "{}", "{0}", "pgmq", "pgflow",
    "\uff41", "é", "İ", "ß", "\ud800", "\u202e", "\ufeffa", "\U0001d4ea", "null", "None", "true", "../a", "a.b", "q_a", "a" * 5000,
]  # fmt: skip

ANY_TEXT = st.text(max_size=40) | st.sampled_from(NASTY)
STORABLE_TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40
)
NEAR_SLUGS = st.text("aZ_09 -\n.é'\";", max_size=12) | st.from_regex(
    r"[a-zA-Z_][a-zA-Z0-9_]{0,50}", fullmatch=True
)

NUMBERS = (
    st.integers()
    | st.floats()
    | st.sampled_from([2**31, 2**63, 2**64, -(2**63), 10**400, 1e308, 5e-324, -0.0])
)
SCALARS = st.none() | st.booleans() | NUMBERS | ANY_TEXT


def json_of(
    text: st.SearchStrategy[str], scalars: st.SearchStrategy[Any]
) -> st.SearchStrategy[Any]:
    """Return JSON values of these texts and scalars."""
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(text, inner, max_size=5),
        max_leaves=25,
    )


STORABLE_JSON = json_of(
    STORABLE_TEXT,
    st.none() | st.booleans() | STORABLE_TEXT
    | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip

SLUGS = st.sampled_from(["a", "b", "c", "d", "map_it"])
"""Few, so that steps meet."""

_RIGHT: Final[dict[str, st.SearchStrategy[Any]]] = {
    "step_type": st.sampled_from(["single", "map"]),
    "depends_on": st.lists(SLUGS, max_size=2, unique=True),
    "max_attempts": st.integers(0, 5),
    "base_delay": st.integers(0, 5),
    "timeout": st.integers(1, 100),
    "start_delay": st.integers(0, 5),
    "max_delay": st.integers(0, 100),
    "jitter": st.floats(0, 1),
    "queue": st.sampled_from(["gpu", "cpu"]),
    "initial_tasks": st.integers(1, 3),
    "batch_size": st.integers(1, 3),
    "max_failed_tasks": st.integers(0, 3),
    "max_failed_percent": st.integers(0, 100),
    "required_input_pattern": st.dictionaries(SLUGS, st.integers(0, 1), max_size=1),
    "forbidden_input_pattern": st.dictionaries(SLUGS, st.integers(0, 1), max_size=1),
    "when_unmet": st.sampled_from(["fail", "skip", "skip-cascade"]),
    "when_exhausted": st.sampled_from(["fail", "skip", "skip-cascade"]),
}
_JUNK = json_of(
    STORABLE_TEXT, st.none() | st.booleans() | st.integers(-(2**70), 2**70) | STORABLE_TEXT
)


def _fields(junk: float) -> st.SearchStrategy[dict[str, Any]]:
    """Return options of a step, of which about so large a share is junk."""

    @st.composite
    def build(draw: st.DrawFn) -> dict[str, Any]:
        names = draw(st.lists(st.sampled_from(sorted(_RIGHT)), max_size=4, unique=True))
        step = {
            name: draw(_JUNK if draw(st.floats(0, 1)) < junk else _RIGHT[name]) for name in names
        }
        step["slug"] = draw(_JUNK | NEAR_SLUGS) if draw(st.floats(0, 1)) < junk else draw(SLUGS)
        return step

    return build()


DEFINITIONS = st.one_of(
    _JUNK,
    st.fixed_dictionaries({"steps": st.lists(_fields(0.3) | _JUNK, max_size=4)}, optional={"options": _JUNK}),
    st.fixed_dictionaries(
        {"steps": st.lists(_fields(0.0), max_size=4, unique_by=lambda step: step["slug"])},
        optional={"options": st.fixed_dictionaries({}, optional={
            "timeout": st.integers(1, 9), "redact": st.lists(st.sampled_from(["a", "*.b", "a..b"]), max_size=2),
            "max_items": st.integers(1, 3),
        })},
    ),
)  # fmt: skip

"""Plans from anywhere: checking one raises nothing but PlanInvalid, and each that is accepted can be stored."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgflow import FlowBuilder, PlanInvalid
from pgflow.database import Database
from pgflow.plan import Plan
from tests.support.plan_handlers import handlers
from tests.support.plan_mends import mended

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ["a", "b", "c", "run", "item", "a.total", "b.0", "c.x.y", "", "A b", "é", "a" * 130, "$"]
WORDS = st.sampled_from([*NAMES, *(handler.name for handler in handlers)])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text() | WORDS, inner, max_size=3)
    ),
    max_leaves=8,
)
PARAMETERS = st.sampled_from(
    ["year", "region", "sale", "factor", "rows", "number", "size", "numbers", "value", "title", "x"]
)


def mostly(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(usual, usual, usual, usual, usual, JSON)


STEPS = st.fixed_dictionaries(
    {"slug": mostly(st.sampled_from("abc")), "handler": mostly(WORDS)},
    optional={
        "params": mostly(st.dictionaries(PARAMETERS, JSON, max_size=2)),
        "inputs": mostly(st.dictionaries(PARAMETERS, WORDS, max_size=2)),
        "over": mostly(WORDS),
        "depends_on": mostly(st.lists(WORDS, max_size=3)),
        "max_attempts": JSON,
        "timeout": mostly(st.integers(-1, 5000)),
        "when_exhausted": mostly(st.sampled_from(["fail", "skip", "skip-cascade"])),
        "max_failed_percent": JSON,
        "extra": JSON,
    },
)
PLANS = st.fixed_dictionaries(
    {"slug": mostly(WORDS), "steps": mostly(st.lists(mostly(STEPS), max_size=4))},
    optional={"description": JSON, "extra": JSON},
)
SOUND_STEPS = st.one_of(
    st.fixed_dictionaries(
        {"handler": st.just("numbers"), "params": st.fixed_dictionaries({"size": st.integers(0)})},
        optional={"max_attempts": st.integers(1, 20), "timeout": st.integers(1, 3600)},
    ),
    st.fixed_dictionaries(
        {
            "handler": st.just("whatever"),
            "inputs": st.dictionaries(st.just("value"), st.sampled_from(["run", "@", "run.a"])),
        },
        optional={"when_exhausted": st.sampled_from(["fail", "skip", "skip-cascade"])},
    ),
    st.fixed_dictionaries(
        {
            "handler": st.just("square"),
            "over": st.sampled_from(["run", "@"]),
            "inputs": st.just({"number": "item"}),
        },
        optional={"max_failed_percent": st.floats(0, 100), "base_delay": st.integers(0, 3600)},
    ),
    st.fixed_dictionaries(
        {
            "handler": st.just("whatever"),
            "params": st.fixed_dictionaries(
                {"value": JSON.filter(lambda value: "\\u0000" not in json.dumps(value))}
            ),
            "depends_on": st.just(["@"]),
        }
    ),
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PLANS | JSON | st.text() | st.binary())
def test_anything_is_either_a_plan_or_has_problems(source: Any) -> None:
    problems = Plan.check(source, handlers)
    if problems:
        with pytest.raises(PlanInvalid) as caught:
            Plan.read(source, handlers)
        assert caught.value.details == problems
        assert all(one.reason and one.mend and one.code for one in problems)
    else:
        assert Plan.check(Plan.read(source, handlers), handlers) == []
    json.dumps([one.as_dict() for one in problems])
    if isinstance(source, dict) and problems and problems[0].code != "not-json":
        mended(source, [one.as_dict() for one in problems])  # every patch can be applied


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(SOUND_STEPS, min_size=1, max_size=6), st.data())
def test_what_is_accepted_can_be_stored(
    database_url: str, steps: list[dict[str, Any]], data: st.DataObject
) -> None:
    plan = {"slug": "p", "steps": joined(steps, lambda most: data.draw(st.integers(0, most)))}
    problems = Plan.check(plan, handlers)
    # Numbers that are no JSON are the one thing that these may have wrong.
    if {one.code for one in problems} <= {"not-json", "not-an-array"} and problems:
        return
    assert problems == []

    async def store() -> None:
        async with Database.connect(database_url) as db:
            builder = FlowBuilder(db)
            version = await builder.define_plan(Plan.read(plan, handlers), handlers)
            assert await builder.define_plan(await builder.get_plan("p"), handlers) == version

    asyncio.run(store())


def joined(steps: list[dict[str, Any]], choose: Callable[[int], int]) -> list[dict[str, Any]]:
    """Give the steps names, and let each @ name a step before it (the run's input in the first)."""
    found: list[dict[str, Any]] = []
    for index, step in enumerate(steps):
        source = f"s{choose(index - 1)}" if index else "run"
        one: dict[str, Any] = {"slug": f"s{index}"} | step
        for name in ("over", "inputs"):
            if name in one:
                one[name] = json.loads(json.dumps(one[name]).replace("@", source))
        if "depends_on" in one:
            one["depends_on"] = [source] if index else []
        found.append(one)
    return found

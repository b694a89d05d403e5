"""What bounds a plan, and the work of checking one that means harm."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from pgflow import Limits
from pgflow.plan import Handlers, Plan
from tests.support.plan_handlers import handlers
from tests.support.plan_mends import mended

SECONDS = 5
"""For a check that takes less than one; each of these plans took from 6 to 57 once."""
MOST = 500
NAMES = [f"s{number:02}" for number in range(100)]


def plan(*steps: Any) -> dict[str, Any]:
    return {"slug": "p", "steps": list(steps)}


def step(**fields: Any) -> dict[str, Any]:
    return {"slug": "x", "handler": "whatever", **fields}


def found(source: Any, **options: Any) -> list[tuple[str, str]]:
    return [(one.pointer, one.code) for one in Plan.check(source, handlers, **options)]


def test_limits_hold_for_steps_edges_and_depth() -> None:
    many = plan(*(step(slug=f"s{number}") for number in range(5)))
    assert found(many, limits=Limits(max_steps=4)) == [("/steps", "limit")]
    wide = plan(*many["steps"], step(depends_on=[f"s{number}" for number in range(5)]))
    assert found(wide, limits=Limits(max_dependencies=4)) == [("/steps/5", "limit")]
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    assert found(plan(step(params={"value": deep}))) == [("/steps/0/params", "limit")]


def test_the_limit_of_bytes_counts_bytes() -> None:
    large = plan(step(params={"value": "x" * 300_000}))
    assert found(large) == [("", "limit")]
    assert found(json.dumps(large)) == [("", "limit")]
    chinese = plan(step(params={"value": "\u6d41" * 100_000}))
    assert found(chinese) == [("", "limit")]
    assert found(json.dumps(chinese, ensure_ascii=False).encode()) == [("", "limit")]


def test_a_plan_is_measured_as_it_will_be_stored() -> None:
    source = plan(step(params={"value": 1}))
    stored = len(json.dumps(Plan.read(source, handlers).definition(handlers)))
    assert len(json.dumps(source)) < 200 < stored
    assert found(source, limits=Limits(max_definition_bytes=200)) == [("", "limit")]
    assert found(source, limits=Limits(max_definition_bytes=stored)) == []


def hostile() -> dict[str, list[dict[str, Any]]]:
    """Return steps of plans that are within all limits."""
    unknown = [[f"{name}x{number:02}" for number in range(100)] for name in NAMES]
    registered = {"params": {"number": 1}, "handler": "square"}
    others = [[other for other in NAMES if other != name] for name in NAMES]
    return {
        "unknown names": [
            {"slug": name, "depends_on": names, **registered}
            for name, names in zip(NAMES, unknown, strict=True)
        ],
        "unknown sources": [
            {"slug": name, "handler": "four", "inputs": {f"p{other}": other for other in names}}
            for name, names in zip(NAMES, unknown, strict=True)
        ],
        "all unbound in a dense graph": [
            {"slug": name, "handler": "four", "depends_on": NAMES[:number]}
            for number, name in enumerate(NAMES)
        ],
        "all unbound where all wait for all": [
            {"slug": name, "handler": "four", "depends_on": names}
            for name, names in zip(NAMES, others, strict=True)
        ],
        "unknown fields": [
            {"slug": name, **registered, **{f"a{number}": 1 for number in range(200)}}
            for name in NAMES
        ],
    }


@pytest.mark.parametrize("which", hostile())
def test_a_hostile_plan_takes_no_long_time(which: str) -> None:
    """Within 100 steps and 256 KiB everything is wrong with it, or could be mended by everything else."""
    registry = Handlers()

    @registry.register()
    def four(a: int, b: int, c: int, d: int) -> int:
        return a + b + c + d

    @registry.register()
    def square(number: int) -> int:
        return number * number

    begin = time.process_time()
    problems = Plan.check(plan(*hostile()[which]), registry)
    assert time.process_time() - begin < SECONDS
    assert len(NAMES) <= len(problems) <= MOST


def test_a_step_that_waits_for_too_many_is_told_before_its_edges() -> None:
    names = [f"n{number}" for number in range(30_000)]
    assert found(plan(step(depends_on=names), step(slug="y", depends_on=["zzz"]))) == [
        ("/steps/0", "limit")
    ]


@pytest.mark.parametrize(
    "bad",
    [
        step(params={"zzz": 1}, inputs={"zzz": "run"}),
        step(over="a", inputs={"value": "item"}, depends_on=["b", "b"]),
        step(over="a", inputs={"value": "item"}, depends_on=["c", "a", "c"]),
        step(max_failed_percent=5, depends_on=["zzz", "zzz", "x", "x"]),
    ],
)
def test_patches_can_be_applied_one_after_the_other(bad: dict[str, Any]) -> None:
    """None touches what an earlier one touches; steps `c` and `x` wait for each other."""
    steps = plan(
        {"slug": "a", "handler": "numbers", "params": {"size": 1}},
        step(slug="b"),
        step(slug="c", depends_on=["x"]),
        bad,
    )
    problems = Plan.check(steps, handlers)
    paths = [one["path"] for problem in problems for one in problem.patch]
    assert len(paths) == len(set(paths))
    for _ in range(2):
        steps = mended(steps, [problem.as_dict() for problem in Plan.check(steps, handlers)])
    assert Plan.check(steps, handlers) == []


def test_a_patch_gives_way_to_one_that_removes_what_it_changes() -> None:
    """The first step's new slug is written where it is named; the map must not wait for it at all."""
    steps = plan(
        step(slug="get it"),
        {"slug": "a", "handler": "numbers", "params": {"size": 1}},
        step(over="a", inputs={"value": "item"}, depends_on=["get it"]),
    )
    problems = Plan.check(steps, handlers)
    assert [(problem.code, len(problem.patch)) for problem in problems] == [
        ("bad-slug", 2),
        ("map-dependency", 0),
    ]

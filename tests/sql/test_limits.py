"""Limits on definitions: the same numbers in SQL and in Python, refused before anything is stored, all at once."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from pgflow import DefinitionError, Flow, Limits
from pgflow._flow.limits import HARD, depth_of, problems_of
from tests.support.sql import Connection, refused, row, rows, run, start, state, value, work

LIMITS = asdict(HARD)
DEEP: Any = {}
for _ in range(HARD.max_pattern_depth):
    DEEP = {"a": DEEP}


def define(connection: Connection, *steps: Any, options: Any = None) -> int:
    definition = Jsonb({"options": options or {}, "steps": list(steps)})
    version: int = value(connection, "select pgflow.define_flow('f', %s)", definition)
    return version


def problems(connection: Connection, *steps: Any, options: Any = None) -> list[str]:
    """Return what define_flow refuses, having seen that nothing was stored."""
    with pytest.raises(psycopg.Error) as caught, connection.transaction():
        define(connection, *steps, options=options)
    assert rows(connection, "select * from pgflow.flows") == []
    head, _, text = (caught.value.diag.message_primary or "").partition(" is not sound: ")
    assert head == 'The definition of flow "f"'
    return text.split("\n")


def test_sql_and_python_have_the_same_limits(connection: Connection) -> None:
    without = {name: limit for name, limit in LIMITS.items() if name != "max_items"}
    assert value(connection, "select pgflow._limits()") == without


BEYOND: list[tuple[dict[str, Any], str]] = [
    ({"initial_tasks": 10_000_001}, "initial_tasks must be at most 10000000, not 10000001"),
    ({"required_input_pattern": DEEP}, "required_input_pattern is nested deeper than 32 levels"),
    ({"forbidden_input_pattern": {"a": "x" * 65536}}, "forbidden_input_pattern takes more than 65536 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "problem"), BEYOND)
def test_what_a_step_may_not_ask_for(
    connection: Connection, options: dict[str, Any], problem: str
) -> None:
    step_type = "map" if "initial_tasks" in options else "single"
    found = problems(connection, {"slug": "a", "step_type": step_type, **options})
    assert found == [f'Step "a": {problem}']
    value(connection, "select pgflow.create_flow('f')")
    message = f'Flow "f" goes beyond the limits: Step "a": {problem}'
    names = [name for name in options if name.endswith("pattern")]
    arguments = {name: Jsonb(options[name]) if name in names else options[name] for name in options}
    with refused(connection, message, "54000"):
        pairs = ", ".join(f"{name} => %({name})s" for name in arguments)
        connection.execute(f"select pgflow.add_step('f', 'a', {pairs})".encode(), arguments)
    assert problems_of({}, [{"slug": "a", **options}]) == [f"step 'a': {problem}"]


@pytest.mark.parametrize("name", ["max_attempts", "timeout", "base_delay", "max_delay"])
def test_what_a_flow_may_not_ask_for(connection: Connection, name: str) -> None:
    """Numbers have the range of the columns; whoever takes definitions from strangers sets tighter limits."""
    limit = LIMITS.get(f"max_{name.removeprefix('max_').removeprefix('base_')}")
    assert limit == 2**31 - 1
    for found in problems(connection, {"slug": "a"}, options={name: limit + 1}):
        assert found.startswith(f"The flow: {name} must be ")
        assert f"{limit}, not {limit + 1}" in found
    beyond: dict[str, Any] = {name: limit + 1}
    with pytest.raises(DefinitionError, match=name):
        flow_of(beyond).definition()
    define(connection, {"slug": "a"}, options={name: limit})
    tight = Limits(max_attempts=10, max_timeout=60, max_delay=30)
    (told,) = problems_of({name: 1000}, [], tight)
    assert told.startswith(f"{name} must be at most ")


def flow_of(options: dict[str, Any]) -> Flow[Any]:
    flow: Flow[Any] = Flow("f", **options)
    flow.step(name="a")(lambda _: None)
    return flow


def test_what_is_just_allowed(connection: Connection) -> None:
    pattern = DEEP["a"]
    assert depth_of(pattern) == HARD.max_pattern_depth
    step = {
        "slug": "a", "step_type": "map", "max_attempts": HARD.max_attempts, "timeout": HARD.max_timeout,
        "start_delay": HARD.max_delay, "initial_tasks": HARD.max_tasks, "required_input_pattern": pattern,
    }  # fmt: skip
    assert define(connection, step) == 1


def test_all_problems_are_told_at_once(connection: Connection) -> None:
    found = problems(
        connection,
        5,
        {"slug": "a b", "timeout": "soon", "queue": "no queue"},
        {"slug": "b", "step_type": "loop", "depends_on": "a", "jitter": 2},
        {"slug": "c", "depends_on": ["x", 5], "max_attempts": 1.5, "when_unmet": "ignore"},
        {"slug": "d", "depends_on": ["d"], "batch_size": "x"},
        {"slug": "b"},
        options={"timeout": 0, "max_items": 0, "redact": ["..", 7]},
    )  # fmt: skip
    assert found == [
        "The flow: max_items must be a whole number from 1 to 2147483647, not 0",
        "The flow: timeout must be a whole number from 1 to 2147483647, not 0",
        'Step 1: its slug must be letters, digits and _, not starting with a digit, at most 128 characters, and not "run"',
        'Step "a b": its slug must be letters, digits and _, not starting with a digit, at most 128 characters, and not "run"',
        'Step "a b": queue must be letters, digits and _, not starting with a digit, at most 47 characters, and not "run"',
        'Step "a b": timeout must be a whole number from 1 to 2147483647, not "soon"',
        'Step "b": depends_on must be a list of slugs',
        'Step "b": jitter must be a number from 0 to 1, not 2',
        'Step "b": step_type must be single or map',
        'Step "c": depends_on must be a list of slugs',
        'Step "c": max_attempts must be a whole number from 0 to 2147483647, not 1.5',
        'Step "c": when_unmet must be fail, skip or skip-cascade',
        'Step "d": batch_size must be a whole number from -2147483648 to 2147483647, not "x"',
        'The flow: redact has "..", which is no path such as "card.number" or "items.*.token"',
        'The flow: redact has 7, which is no path such as "card.number" or "items.*.token"',
        'Step "b" is defined 2 times',
        'Step "c" depends on "x", which does not exist',
        'Step "c" depends on "5", which does not exist',
        'Step "d" depends on itself',
    ]  # fmt: skip


def test_options_that_are_no_object(connection: Connection) -> None:
    assert problems(connection, {"slug": "a"}, options=[1]) == [
        "The options of the flow must be an object"
    ]


def test_too_many_steps(connection: Connection) -> None:
    steps = [{"slug": f"s{number}"} for number in range(HARD.max_steps + 1)]
    with refused(connection, 'Flow "f" has 20001 steps, at most 20000 are possible', "54000"):
        define(connection, *steps)
    flow: Flow[Any] = Flow("f")
    for step in steps:
        flow.step(name=step["slug"])(lambda _: None)
    with pytest.raises(DefinitionError, match="it has more than 20000 steps; split it"):
        flow.definition()


def test_too_many_steps_one_by_one(connection: Connection) -> None:
    value(connection, "select pgflow.create_flow('f')")
    connection.execute(
        "insert into pgflow.steps (flow_slug, step_slug, step_index) values ('f', 'last', 19999)"
    )
    with refused(connection, 'Flow "f" has 20000 steps, more are not possible', "54000"):
        row(connection, "select pgflow.add_step('f', 'more')")


def test_too_many_dependencies(connection: Connection) -> None:
    names = [f"s{number}" for number in range(HARD.max_dependencies + 1)]
    found = problems(
        connection, *({"slug": name} for name in names), {"slug": "z", "depends_on": names}
    )
    assert found == ['Step "z": it has 10001 dependencies, at most 10000 are possible']
    assert problems_of({}, [{"slug": "z", "depends_on": names}]) == [
        "step 'z': it has 10001 dependencies, at most 10000 are possible"
    ]


def test_a_definition_that_is_too_large(connection: Connection) -> None:
    slug = "x" * 128
    steps = [{"slug": f"{slug[:-5]}{number:05}", "note": slug * 8} for number in range(15_000)]
    with (
        pytest.raises(psycopg.Error, match=r"takes .* bytes, at most 16777216 are possible"),
        connection.transaction(),
    ):
        define(connection, *steps)


VALUES = st.recursive(
    st.none() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner)
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(found=VALUES)
def test_depth_is_counted_alike(connection: Connection, found: Any) -> None:
    assert value(connection, "select pgflow._depth(%s)", Jsonb(found)) == depth_of(found)


def test_what_contains_itself_has_a_depth() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert depth_of(endless) > HARD.max_pattern_depth


# Items of a map, at run time


def test_a_root_map_over_too_many_items_does_not_start(connection: Connection) -> None:
    define(connection, {"slug": "m", "step_type": "map"}, options={"max_items": 3})
    start(connection, "f", [1, 2, 3])
    with refused(connection, "Flow f allows maps of 3 items, and the input has 4"):
        start(connection, "f", [1, 2, 3, 4])


def test_a_step_that_gives_a_map_too_many_items_fails_the_run(connection: Connection) -> None:
    define(
        connection,
        {"slug": "a"}, {"slug": "m", "step_type": "map", "depends_on": ["a"]},
        options={"max_items": 3},
    )  # fmt: skip
    good = start(connection, "f")["run_id"]
    work(connection, "f", {"a": [1, 2, 3]})
    assert run(connection, good)["status"] == "completed"
    bad = start(connection, "f")["run_id"]
    work(connection, "f", {"a": [1, 2, 3, 4]})
    ended = run(connection, bad)
    message = (
        "[TOO_MANY_ITEMS] Map step m may have at most 3 items but dependency a produced 4 items"
    )
    assert (ended["status"], ended["error_message"]) == ("failed", message)
    assert state(connection, bad, "m")["status"] == "created"
    error = value(connection, "select error from pgflow.attempts where run_id = %s", bad)
    assert error == "[TOO_MANY_ITEMS] Produced 4 items"


def test_arrays_that_no_map_goes_over_may_be_longer(connection: Connection) -> None:
    define(connection, {"slug": "a"}, {"slug": "b", "depends_on": ["a"]}, options={"max_items": 3})
    run_id = start(connection, "f", list(range(9)))["run_id"]
    work(connection, "f", {"a": list(range(9))})
    assert run(connection, run_id)["status"] == "completed"


def test_without_a_limit_any_number_goes(connection: Connection) -> None:
    define(connection, {"slug": "a"}, {"slug": "m", "step_type": "map", "depends_on": ["a"]})
    assert value(connection, "select opt_max_items from pgflow.flows") is None
    run_id = start(connection, "f")["run_id"]
    work(connection, "f", {"a": list(range(50))})
    assert run(connection, run_id)["status"] == "completed"


def test_limits_are_a_value() -> None:
    assert Limits() == HARD
    assert Limits(max_steps=5).max_steps == 5

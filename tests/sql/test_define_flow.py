"""pgflow.define_flow: what of a definition is stored, and what is refused."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.definitions import define_flow, step, stored_steps
from tests.support.sql import (
    Connection,
    claim,
    complete,
    messages,
    row,
    rows,
    run,
    start,
    state,
    value,
    work,
)

# What is stored


def test_creates_flow_steps_dependencies_and_queue(connection: Connection) -> None:
    define_flow(connection, "f", step("a"), step("b"), step("c", "b", "a"))
    assert [one["step_index"] for one in stored_steps(connection, "f").values()] == [0, 1, 2]
    assert [one["deps_count"] for one in stored_steps(connection, "f").values()] == [0, 0, 2]
    found = rows(connection, "select dep_slug, step_slug from pgflow.deps order by dep_slug")
    assert [tuple(one.values()) for one in found] == [("a", "c"), ("b", "c")]
    assert value(connection, "select count(*) from pgmq.list_queues() where queue_name = 'f'") == 1


def test_stores_the_options_of_the_flow(connection: Connection) -> None:
    define_flow(connection, "f", max_attempts=7, base_delay=8, timeout=9, max_delay=10, jitter=0.5)
    flow = row(connection, "select * from pgflow.flows")
    columns = ("opt_max_attempts", "opt_base_delay", "opt_timeout", "opt_max_delay", "opt_jitter")
    assert tuple(flow[column] for column in columns) == (7, 8, 9, 10, 0.5)


def test_stores_the_options_of_a_step(connection: Connection) -> None:
    options = {
        "max_attempts": 4,
        "base_delay": 5,
        "timeout": 6,
        "start_delay": 7,
        "max_delay": 8,
        "jitter": 0.25,
        "queue": "gpu",
        "initial_tasks": 3,
        "max_failed_tasks": 2,
        "max_failed_percent": 12.5,
    }
    define_flow(connection, "f", step("m", step_type="map", **options))
    stored = stored_steps(connection, "f")["m"]
    assert {name: stored[f"opt_{name}"] for name in options} == options


def test_stores_type_modes_and_patterns(connection: Connection) -> None:
    options = {
        "step_type": "map",
        "when_unmet": "fail",
        "when_exhausted": "skip-cascade",
        "required_input_pattern": {"k": 1},
        "forbidden_input_pattern": {},
    }
    define_flow(connection, "f", step("a"), step("m", "a", **options))
    stored = stored_steps(connection, "f")["m"]
    assert {name: stored[name] for name in options} == options


@pytest.mark.parametrize(
    "absent", [{}, {"max_attempts": None, "base_delay": None, "timeout": None, "queue": None}]
)
def test_absent_and_null_options_of_a_step_are_inherited(
    connection: Connection, absent: dict[str, object]
) -> None:
    define_flow(connection, "f", step("a", **absent), max_attempts=7)
    stored = stored_steps(connection, "f")["a"]
    assert [
        stored[f"opt_{name}"] for name in ("max_attempts", "base_delay", "timeout", "queue")
    ] == [None] * 4
    run_id = start(connection, "f")["run_id"]
    assert state(connection, run_id, "a")["max_attempts"] == 7


def test_a_step_needs_nothing_but_its_slug(connection: Connection) -> None:
    define_flow(connection, "f", {"slug": "a"})
    stored = stored_steps(connection, "f")["a"]
    columns = ("step_type", "deps_count", "when_unmet", "when_exhausted")
    assert tuple(stored[column] for column in columns) == ("single", 0, "skip", "fail")


def test_creates_the_own_queue_of_a_step(connection: Connection) -> None:
    define_flow(connection, "f", step("a"), step("b", queue="gpu"))
    start(connection, "f")
    assert [one["message"]["step_slug"] for one in messages(connection, "f")] == ["a"]
    assert [one["message"]["step_slug"] for one in messages(connection, "gpu")] == ["b"]


def test_is_seen_by_the_contracts_shape(connection: Connection) -> None:
    define_flow(connection, "f", step("a"), step("m", "a", step_type="map"))
    shape = value(connection, "select pgflow._get_flow_shape('f')")
    found = [(one["slug"], one["stepType"], one["dependencies"]) for one in shape["steps"]]
    assert found == [("a", "single", []), ("m", "map", ["a"])]


# Options that only define_flow offers


def test_a_fixed_number_of_tasks_needs_no_array(connection: Connection) -> None:
    define_flow(connection, "f", step("m", step_type="map", initial_tasks=3))
    run_id = start(connection, "f", {"k": 1})["run_id"]
    granted = claim(connection, "f", 10)
    assert sorted(one["task_index"] for one in granted) == [0, 1, 2]
    for one in granted:
        complete(connection, run_id, "m", one["task_index"], one["task_index"])
    assert run(connection, run_id)["output"] == {"m": [0, 1, 2]}


def test_behind_a_dependency_the_array_rules(connection: Connection) -> None:
    define_flow(connection, "f", step("a"), step("m", "a", step_type="map", initial_tasks=7))
    run_id = start(connection, "f")["run_id"]
    work(connection, "f", {"a": [1, 2]})
    assert run(connection, run_id)["output"] == {"m": ["m", "m"]}


# Bad definitions


@pytest.mark.parametrize(
    ("steps", "named"),
    [
        ([step("a"), step("b", "a", "a")], ["b", "a"]),
        ([step("a", "a")], ["a"]),
        ([step("a", "b"), step("b", "a")], ["a", "b"]),
        ([step("b", "missing")], ["b", "missing"]),
        ([step("twice"), step("twice")], ["twice"]),
        ([step("a"), step("b"), step("m", "a", "b", step_type="map")], ["m"]),
        ([step("bad-slug")], ["slug"]),
        ([step("run")], ["slug"]),
        ([step("a", step_type="loop")], ["type"]),
        ([step("a", when_unmet="ignore")], ["when_unmet"]),
        ([step("a", when_exhausted="ignore")], ["when_exhausted"]),
        ([step("a", required_input_pattern=[1])], ["required_input_pattern"]),
        ([step("a", start_delay=-1)], ["start_delay"]),
        ([step("a", timeout=0)], ["timeout"]),
        ([step("a", max_attempts=-1)], ["max_attempts"]),
        ([step("m", step_type="map", initial_tasks=-1)], ["initial_tasks"]),
    ],
)
def test_a_bad_definition_is_refused_and_changes_nothing(
    connection: Connection, steps: list[dict[str, Any]], named: list[str]
) -> None:
    define_flow(connection, "f", step("old"))
    with pytest.raises(psycopg.Error) as caught, connection.transaction():
        define_flow(connection, "f", *steps)
    assert caught.value.sqlstate is not None
    assert caught.value.sqlstate.startswith(("22", "23", "P0"))
    assert [word for word in named if word not in str(caught.value)] == []
    assert list(stored_steps(connection, "f")) == ["old"]


@pytest.mark.parametrize("slug", ["", "a-b", "run", "a" * 129, "a\n"])
def test_a_bad_flow_slug_is_refused(connection: Connection, slug: str) -> None:
    with pytest.raises(psycopg.Error, match="slug_is_valid"), connection.transaction():
        define_flow(connection, slug, step("a"))
    assert rows(connection, "select * from pgflow.flows") == []


@pytest.mark.parametrize(
    "definition", [None, 5, [], "text", {"steps": 5}, {"steps": [5]}, {"steps": [{}]}]
)
def test_a_definition_of_another_form_is_refused(
    connection: Connection, definition: object
) -> None:
    with pytest.raises(psycopg.Error) as caught, connection.transaction():
        value(connection, "select pgflow.define_flow('f', %s)", Jsonb(definition))
    assert caught.value.sqlstate not in ("42P01", "42703", "42883", "XX000", None)
    assert rows(connection, "select * from pgflow.flows") == []

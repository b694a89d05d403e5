"""What a task is given, and what steps and runs put out (section 14 of the contract)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.sql import (
    SQL_NULL,
    Connection,
    Row,
    begin,
    complete,
    define,
    fail,
    finish,
    linear,
    mapped,
    run,
    start,
    state,
    value,
    work,
    worker,
)
from tests.support.tasks import one_step, started_map

ELEMENTS = [1, "text", True, None, {"k": [1]}, [], [1, [2]], 0, "", False]
"""Elements of every JSON type; each must arrive as it is."""


def inputs(granted: list[Row]) -> list[Any]:
    return [one["input"] for one in sorted(granted, key=lambda task: task["task_index"])]


# Inputs


def test_a_root_step_gets_an_empty_object_and_the_runs_input(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    start(connection, "f", {"user": 7})
    (granted,) = begin(connection, "f")
    assert (granted["input"], granted["flow_input"]) == ({}, {"user": 7})


@pytest.mark.parametrize("given", [0, "", False, [], "text", 12, [1, 2]])
def test_the_runs_input_may_be_of_any_type(connection: Connection, given: object) -> None:
    define(connection, "f", {"a": []})
    start(connection, "f", given)
    (granted,) = begin(connection, "f")
    assert granted["flow_input"] == given


def test_a_dependent_step_gets_its_parents_outputs_by_slug(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": [], "c": ["a", "b"]})
    run_id = start(connection, "f", {"user": 7})["run_id"]
    begin(connection, "f", 2)
    complete(connection, run_id, "a", {"x": 1})
    complete(connection, run_id, "b", [2])
    (granted,) = begin(connection, "f")
    assert (granted["input"], granted["flow_input"]) == ({"a": {"x": 1}, "b": [2]}, None)


def test_a_dependent_step_sees_direct_parents_only(connection: Connection) -> None:
    linear(connection)
    run_id = start(connection, "linear")["run_id"]
    for step in ("a", "b"):
        begin(connection, "linear")
        complete(connection, run_id, step, step.upper())
    assert inputs(begin(connection, "linear")) == [{"b": "B"}]


def test_a_skipped_parent_is_absent_from_the_input(connection: Connection) -> None:
    define(
        connection,
        "f",
        {"a": {"when_exhausted": "skip", "max_attempts": 1}, "b": [], "c": ["a", "b"]},
    )
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f", 2)
    fail(connection, run_id, "a")
    complete(connection, run_id, "b", 2)
    assert inputs(begin(connection, "f")) == [{"b": 2}]


def test_the_input_is_an_empty_object_when_all_parents_were_skipped(connection: Connection) -> None:
    define(connection, "f", {"a": {"when_exhausted": "skip", "max_attempts": 1}, "b": ["a"]})
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    fail(connection, run_id, "a")
    (granted,) = begin(connection, "f")
    assert (granted["input"], granted["flow_input"]) == ({}, None)


def test_a_parents_sql_null_output_arrives_as_json_null(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    start(connection, "f")
    finish(connection, "f", "a", SQL_NULL)
    assert inputs(begin(connection, "f")) == [{"a": None}]


@pytest.mark.parametrize("output", [0, "", False, None, [], {}])
def test_falsy_outputs_of_a_parent_survive(connection: Connection, output: object) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    start(connection, "f")
    finish(connection, "f", "a", output)
    assert inputs(begin(connection, "f")) == [{"a": output}]


def test_a_root_maps_task_gets_its_element_of_the_runs_input(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}})
    start(connection, "f", ELEMENTS)
    granted = begin(connection, "f", 20)
    assert inputs(granted) == ELEMENTS
    assert {one["flow_input"] for one in granted} == {None}


def test_a_dependent_maps_task_gets_its_element_of_the_parents_output(
    connection: Connection,
) -> None:
    mapped(connection)
    start(connection, "mapped")
    finish(connection, "mapped", "source", ELEMENTS)
    granted = begin(connection, "mapped", 20)
    assert inputs(granted) == ELEMENTS
    assert {one["flow_input"] for one in granted} == {None}


def test_a_json_null_element_is_not_sql_null(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}})
    run_id = start(connection, "f", [None])["run_id"]
    query = """select jsonb_typeof(granted.input) from pgflow.step_tasks as task,
      pgflow.start_tasks('f', array[task.message_id], %s) as granted where task.run_id = %s"""
    assert value(connection, query, worker(connection), run_id) == "null"


def test_a_map_over_a_map_gets_the_first_maps_outputs(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}, "n": {"deps": ["m"], "step_type": "map"}})
    run_id = start(connection, "f", ["x", "y"])["run_id"]
    begin(connection, "f", 2)
    complete(connection, run_id, "m", ["second"], 1)
    complete(connection, run_id, "m", {"first": 1}, 0)
    assert inputs(begin(connection, "f", 9)) == [{"first": 1}, ["second"]]


# Outputs of steps


@pytest.mark.parametrize("output", [0, "", False, None, [], {}, {"k": 1}, "text"])
def test_a_single_steps_output_is_its_tasks(connection: Connection, output: object) -> None:
    run_id = one_step(connection)
    begin(connection, "f")
    complete(connection, run_id, "a", output)
    assert state(connection, run_id, "a")["output"] == output
    assert value(
        connection, "select output is not null from pgflow.step_states where run_id = %s", run_id
    )


def test_a_single_steps_output_may_be_sql_null(connection: Connection) -> None:
    run_id = one_step(connection)
    begin(connection, "f")
    complete(connection, run_id, "a", SQL_NULL)
    assert value(
        connection, "select output is null from pgflow.step_states where run_id = %s", run_id
    )
    assert state(connection, run_id, "a")["status"] == "completed"


def test_a_maps_output_is_in_the_order_of_its_tasks(connection: Connection) -> None:
    run_id = started_map(connection, 4)
    begin(connection, "mapped", 4)
    for index in (2, 0, 3, 1):
        complete(connection, run_id, "items", f"out {index}", index)
    assert state(connection, run_id, "items")["output"] == ["out 0", "out 1", "out 2", "out 3"]


def test_more_than_ten_tasks_are_ordered_by_number_not_by_text(connection: Connection) -> None:
    run_id = started_map(connection, 12)
    for granted in begin(connection, "mapped", 12)[::-1]:
        complete(connection, run_id, "items", granted["input"], granted["task_index"])
    assert state(connection, run_id, "items")["output"] == list(range(12))


def test_sql_null_and_json_null_both_become_null_elements(connection: Connection) -> None:
    run_id = started_map(connection, 3)
    begin(connection, "mapped", 3)
    for index, output in enumerate((SQL_NULL, None, 1)):
        complete(connection, run_id, "items", output, index)
    assert state(connection, run_id, "items")["output"] == [None, None, 1]


def test_a_map_of_one_task_puts_out_an_array_of_one(connection: Connection) -> None:
    run_id = started_map(connection, 1)
    begin(connection, "mapped")
    complete(connection, run_id, "items", [1, 2])
    assert state(connection, run_id, "items")["output"] == [[1, 2]]


def test_an_unfinished_map_has_no_output(connection: Connection) -> None:
    run_id = started_map(connection, 2)
    begin(connection, "mapped", 2)
    complete(connection, run_id, "items", 1, 0)
    assert value(
        connection,
        "select output is null from pgflow.step_states where run_id = %s and step_slug = 'items'",
        run_id,
    )


def test_an_empty_map_puts_out_an_empty_array(connection: Connection) -> None:
    run_id = started_map(connection, 0)
    assert state(connection, run_id, "items")["output"] == []


# Outputs of runs


def test_a_runs_output_holds_the_completed_leaves(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"], "c": ["a"]})
    run_id = start(connection, "f")["run_id"]
    work(connection, "f", {"b": 1, "c": None})
    assert run(connection, run_id)["output"] == {"b": 1, "c": None}


def test_a_leafs_sql_null_output_is_a_null_member(connection: Connection) -> None:
    run_id = one_step(connection)
    begin(connection, "f")
    complete(connection, run_id, "a", SQL_NULL)
    assert run(connection, run_id)["output"] == {"a": None}


def test_skipped_leaves_are_absent_from_the_runs_output(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": {"required_input_pattern": {"go": True}}})
    run_id = start(connection, "f")["run_id"]
    work(connection, "f", {"a": 1})
    assert run(connection, run_id)["output"] == {"a": 1}


def test_a_completed_parent_of_a_skipped_leaf_is_no_leaf(connection: Connection) -> None:
    define(
        connection,
        "f",
        {"a": [], "b": {"deps": ["a"], "required_input_pattern": {"a": {"go": True}}}, "c": ["a"]},
    )
    run_id = start(connection, "f")["run_id"]
    work(connection, "f", {"a": 1, "c": 3})
    assert run(connection, run_id)["output"] == {"c": 3}


def test_a_run_without_completed_leaves_has_no_output(connection: Connection) -> None:
    define(connection, "f", {"a": {"required_input_pattern": {"go": True}}})
    run_id = start(connection, "f")["run_id"]
    assert run(connection, run_id)["status"] == "completed"
    assert value(connection, "select output is null from pgflow.runs where run_id = %s", run_id)


def test_an_empty_map_as_leaf_gives_an_empty_array(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}})
    run_id = start(connection, "f", [])["run_id"]
    assert run(connection, run_id)["output"] == {"m": []}

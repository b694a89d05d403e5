"""pgflow.start_flow: a run with its states, its first tasks and their messages."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from tests.support.sql import (
    SQL_NULL,
    Connection,
    call,
    define,
    diamond,
    finish,
    jsonb,
    messages,
    refused,
    rows,
    run,
    start,
    state,
    statuses,
    task,
    tasks,
    value,
    work,
)

ROOT_MAP: dict[str, Any] = {"m": {"step_type": "map"}}

# The run


def test_returns_exactly_one_row(connection: Connection) -> None:
    diamond(connection)
    assert len(rows(connection, "select * from pgflow.start_flow('diamond', '{}')")) == 1


def test_returns_the_stored_row(connection: Connection) -> None:
    diamond(connection)
    started = start(connection, "diamond")
    assert run(connection, started["run_id"]) == started


def test_the_row_of_a_new_run(connection: Connection) -> None:
    diamond(connection)
    started = start(connection, "diamond", {"k": [1, None]})
    expected = {
        "flow_slug": "diamond",
        "status": "started",
        "input": {"k": [1, None]},
        "output": None,
        "remaining_steps": 4,
        "completed_at": None,
        "failed_at": None,
    }
    assert {key: started[key] for key in expected} == expected
    assert started["started_at"] == value(connection, "select now()")


def test_each_run_gets_an_id_of_its_own(connection: Connection) -> None:
    diamond(connection)
    assert start(connection, "diamond")["run_id"] != start(connection, "diamond")["run_id"]


def test_a_given_id_is_used(connection: Connection) -> None:
    diamond(connection)
    given = uuid.uuid4()
    assert start(connection, "diamond", run_id=given)["run_id"] == given


def test_a_null_id_is_replaced(connection: Connection) -> None:
    diamond(connection)
    assert start(connection, "diamond", run_id=None)["run_id"] is not None


def test_arguments_are_taken_by_position(connection: Connection) -> None:
    diamond(connection)
    given = uuid.uuid4()
    query = "select run_id from pgflow.start_flow('diamond', '{}'::jsonb, %s)"
    assert value(connection, query, given) == given


def test_the_returned_row_shows_what_followed(connection: Connection) -> None:
    define(connection, "f", ROOT_MAP)
    started = start(connection, "f", [])
    assert (started["status"], started["remaining_steps"], started["output"]) == (
        "completed",
        0,
        {"m": []},
    )


@pytest.mark.parametrize("given", [{}, [], [1], "text", 5, 0, False, None])
def test_any_json_is_an_input(connection: Connection, given: object) -> None:
    define(connection, "f", {"a": []})
    assert start(connection, "f", given)["input"] == given


def test_a_flow_without_steps_completes_at_once(connection: Connection) -> None:
    define(connection, "f", {})
    started = start(connection, "f")
    assert (started["status"], started["output"]) == ("completed", None)
    assert started["completed_at"] is not None


# The states


def test_a_state_for_each_step(connection: Connection) -> None:
    diamond(connection)
    run_id = start(connection, "diamond")["run_id"]
    assert statuses(connection, run_id) == {
        "root": "started",
        "left": "created",
        "right": "created",
        "merge": "created",
    }


def test_states_only_for_steps_of_this_flow(connection: Connection) -> None:
    diamond(connection)
    define(connection, "f", {"a": []})
    run_id = start(connection, "f")["run_id"]
    assert statuses(connection, run_id) == {"a": "started"}


def test_remaining_deps_counts_the_parents(connection: Connection) -> None:
    diamond(connection)
    run_id = start(connection, "diamond")["run_id"]
    found = {
        step: state(connection, run_id, step)["remaining_deps"]
        for step in ("root", "left", "right", "merge")
    }
    assert found == {"root": 0, "left": 1, "right": 1, "merge": 2}


def test_a_single_step_has_one_task(connection: Connection) -> None:
    diamond(connection)
    run_id = start(connection, "diamond")["run_id"]
    waiting, started = state(connection, run_id, "left"), state(connection, run_id, "root")
    assert (waiting["initial_tasks"], waiting["remaining_tasks"], waiting["started_at"]) == (
        1,
        None,
        None,
    )
    assert (started["initial_tasks"], started["remaining_tasks"]) == (1, 1)
    assert started["started_at"] is not None


@pytest.mark.parametrize(
    "items", [[1], [1, 2, 3], [None, None], [1, 1, 1], [[1, 2], []], [{"a": 1}, "x", 0]]
)
def test_a_root_map_has_a_task_per_element(connection: Connection, items: list[object]) -> None:
    define(connection, "f", ROOT_MAP)
    run_id = start(connection, "f", items)["run_id"]
    found = state(connection, run_id, "m")
    assert (found["initial_tasks"], found["remaining_tasks"]) == (len(items), len(items))
    assert [one["task_index"] for one in tasks(connection, run_id)] == list(range(len(items)))


def test_two_root_maps_share_the_input(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}, "n": {"step_type": "map"}})
    run_id = start(connection, "f", [1, 2])["run_id"]
    assert [state(connection, run_id, step)["initial_tasks"] for step in "mn"] == [2, 2]


def test_a_dependent_map_does_not_know_its_tasks(connection: Connection) -> None:
    steps = {
        "a": [],
        "m": {"deps": ["a"], "step_type": "map"},
        "n": {"deps": ["m"], "step_type": "map"},
    }
    define(connection, "f", steps)
    run_id = start(connection, "f", [1, 2])["run_id"]
    assert [state(connection, run_id, step)["initial_tasks"] for step in "amn"] == [1, None, None]


def test_a_map_behind_a_root_map_does_not_know_its_tasks(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}, "n": {"deps": ["m"], "step_type": "map"}})
    run_id = start(connection, "f", [1, 2])["run_id"]
    assert state(connection, run_id, "n")["initial_tasks"] is None


# Tasks and messages


def test_only_roots_start(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": [], "c": ["a", "b"]})
    run_id = start(connection, "f")["run_id"]
    assert [one["step_slug"] for one in tasks(connection, run_id)] == ["a", "b"]


def test_a_task_is_queued_with_its_message(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    run_id = start(connection, "f")["run_id"]
    (message,) = messages(connection, "f")
    found = task(connection, run_id, "a")
    columns = ("status", "attempts_count", "started_at", "message_id")
    assert tuple(found[column] for column in columns) == ("queued", 0, None, message["msg_id"])


def test_root_messages_keep_definition_and_alphabetical_order(connection: Connection) -> None:
    define(connection, "f", {"branch1": [], "branch2": [], "branch3": []})
    start(connection, "f")
    assert [one["message"]["step_slug"] for one in messages(connection, "f")] == [
        "branch1",
        "branch2",
        "branch3",
    ]


def test_no_flow_pays_for_the_runs_of_another(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    define(connection, "g", {"a": []})
    start(connection, "f")
    assert messages(connection, "g") == []


# Refusals


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (SQL_NULL, "Flow f has root map steps but input is NULL"),
        (None, "Flow f has root map steps but input is not an array (got null)"),
        ({}, "Flow f has root map steps but input is not an array (got object)"),
        ("x", "Flow f has root map steps but input is not an array (got string)"),
        (5, "Flow f has root map steps but input is not an array (got number)"),
        (True, "Flow f has root map steps but input is not an array (got boolean)"),
    ],
)
def test_a_root_map_demands_an_array(connection: Connection, given: object, text: str) -> None:
    define(connection, "f", {"a": []} | ROOT_MAP)
    with refused(connection, text, "P0001"):
        start(connection, "f", given)
    assert rows(connection, "select * from pgflow.runs") == []


def test_a_dependent_map_does_not_demand_an_array(connection: Connection) -> None:
    define(connection, "f", {"a": [], "m": {"deps": ["a"], "step_type": "map"}})
    assert start(connection, "f", {"k": 1})["status"] == "started"


def test_an_unknown_flow_is_refused(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation), connection.transaction():
        start(connection, "nowhere")


def test_a_null_input_is_refused(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    with pytest.raises(psycopg.errors.NotNullViolation), connection.transaction():
        start(connection, "f", SQL_NULL)
    assert rows(connection, "select * from pgflow.runs") == []


def test_a_known_id_never_makes_a_second_run(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    first = start(connection, "f")
    with refused(connection, 'duplicate key value violates unique constraint "runs_pkey"', "23505"):
        start(connection, "f", run_id=first["run_id"])
    assert len(messages(connection, "f")) == 1


# Whole runs


@pytest.mark.parametrize(
    ("steps", "given", "outputs", "expected"),
    [
        ({"a": [], "b": ["a"]}, {}, {}, {"b": "b"}),
        ({"a": [], "b": []}, {}, {}, {"a": "a", "b": "b"}),
        ({"a": []}, {}, {"a": None}, {"a": None}),
        (ROOT_MAP, [1, 2], {"m": lambda one: one["input"] * 10}, {"m": [10, 20]}),
        (
            {"a": [], "b": ["a"]},
            5,
            {"a": lambda one: one["flow_input"], "b": lambda one: one["input"]},
            {"b": {"a": 5}},
        ),
    ],
)
def test_a_run_completes(
    connection: Connection,
    steps: dict[str, Any],
    given: object,
    outputs: dict[str, Any],
    expected: object,
) -> None:
    define(connection, "f", steps)
    run_id = start(connection, "f", given)["run_id"]
    work(connection, "f", outputs)
    found = run(connection, run_id)
    assert (found["status"], found["output"], found["remaining_steps"]) == (
        "completed",
        expected,
        0,
    )


def test_a_diamond_merges_after_both_branches(connection: Connection) -> None:
    diamond(connection)
    run_id = start(connection, "diamond")["run_id"]
    finish(connection, "diamond", "root")
    assert statuses(connection, run_id)["merge"] == "created"
    work(connection, "diamond")
    assert run(connection, run_id)["output"] == {"merge": "merge"}


def test_starting_is_possible_from_a_select_over_many(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    query = (
        "select run_id from generate_series(1, 5) as n, lateral pgflow.start_flow('f', to_jsonb(n))"
    )
    assert len({one["run_id"] for one in rows(connection, query)}) == 5
    assert call(connection, "start_flow", flow_slug="f", input=jsonb(6))[0]["input"] == 6

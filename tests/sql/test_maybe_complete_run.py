"""pgflow.maybe_complete_run: a run completes with the outputs of its leaves."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.support.sql import (
    SQL_NULL,
    Connection,
    begin,
    complete,
    define,
    event_names,
    fail,
    payload,
    record_events,
    row,
    run,
    start,
    statuses,
    work,
)


def maybe_complete(connection: Connection, run_id: uuid.UUID) -> None:
    row(connection, "select pgflow.maybe_complete_run(run_id => %s)", run_id)


def exhausted(connection: Connection) -> uuid.UUID:
    """Start a -> (b, c) and complete every step by hand, but not the run."""
    define(connection, "f", {"a": [], "b": ["a"], "c": ["a"]})
    run_id: uuid.UUID = start(connection, "f")["run_id"]
    update = """update pgflow.step_states set status = 'completed', remaining_tasks = 0, remaining_deps = 0,
      started_at = now(), completed_at = now(), output = to_jsonb(step_slug) where run_id = %s"""
    connection.execute(update, [run_id])
    connection.execute("update pgflow.runs set remaining_steps = 0 where run_id = %s", [run_id])
    return run_id


def test_completes_a_run_without_remaining_steps(connection: Connection) -> None:
    run_id = exhausted(connection)
    maybe_complete(connection, run_id)
    found = run(connection, run_id)
    assert (found["status"], found["output"]) == ("completed", {"b": "b", "c": "c"})
    assert found["completed_at"] is not None


def test_leaves_a_run_with_remaining_steps(connection: Connection) -> None:
    run_id = exhausted(connection)
    connection.execute("update pgflow.runs set remaining_steps = 1 where run_id = %s", [run_id])
    before = run(connection, run_id)
    maybe_complete(connection, run_id)
    assert run(connection, run_id) == before


def test_a_second_call_changes_nothing_and_emits_nothing(connection: Connection) -> None:
    record_events(connection)
    run_id = exhausted(connection)
    maybe_complete(connection, run_id)
    before = run(connection, run_id)
    maybe_complete(connection, run_id)
    assert run(connection, run_id) == before
    assert event_names(connection, run_id).count("run:completed") == 1


def test_emits_the_stored_output(connection: Connection) -> None:
    record_events(connection)
    run_id = exhausted(connection)
    maybe_complete(connection, run_id)
    assert payload(connection, run_id, "run:completed")["output"] == {"b": "b", "c": "c"}


def test_a_failed_run_stays_failed(connection: Connection) -> None:
    run_id = exhausted(connection)
    connection.execute(
        "update pgflow.runs set status = 'failed', failed_at = now() where run_id = %s", [run_id]
    )
    before = run(connection, run_id)
    maybe_complete(connection, run_id)
    assert run(connection, run_id) == before


def test_an_unknown_run_is_no_error(connection: Connection) -> None:
    maybe_complete(connection, uuid.uuid4())


# The run's output (contract 14.3)


@pytest.mark.parametrize("output", [0, "", False, None, [], {}, [None], {"k": None}, 1.5, "text"])
def test_the_output_of_a_leaf_is_kept_as_it_is(connection: Connection, output: object) -> None:
    define(connection, "f", {"a": []})
    run_id = start(connection, "f")["run_id"]
    work(connection, "f", {"a": output})
    assert run(connection, run_id)["output"] == {"a": output}


def test_a_leaf_with_sql_null_appears_with_null(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    complete(connection, run_id, "a", SQL_NULL)
    found = run(connection, run_id)
    assert (found["status"], found["output"]) == ("completed", {"a": None})


@pytest.mark.parametrize(
    ("steps", "leaves"),
    [
        ({"a": [], "b": ["a"], "c": ["b"]}, {"c"}),
        ({"a": [], "b": []}, {"a", "b"}),
        ({"a": [], "b": ["a"], "c": ["a"], "d": ["b"]}, {"c", "d"}),
        ({"a": [], "b": ["a"], "lonely": []}, {"b", "lonely"}),
        ({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}, {"d"}),
    ],
)
def test_only_leaves_are_in_the_output(
    connection: Connection, steps: dict[str, Any], leaves: set[str]
) -> None:
    define(connection, "f", steps)
    run_id = start(connection, "f")["run_id"]
    work(connection, "f")
    assert set(run(connection, run_id)["output"]) == leaves


def test_a_map_leaf_appears_with_its_array(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}})
    run_id = start(connection, "f", [3, 1, 2])["run_id"]
    work(connection, "f", {"m": lambda task: task["input"] * 2})
    assert run(connection, run_id)["output"] == {"m": [6, 2, 4]}


def test_empty_maps_as_leaves_give_an_object(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}, "n": {"step_type": "map"}})
    assert start(connection, "f", [])["output"] == {"m": [], "n": []}


def test_skipped_leaves_are_absent(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": {"required_input_pattern": {"never": True}}})
    run_id = start(connection, "f")["run_id"]
    work(connection, "f", {"a": 1})
    assert run(connection, run_id)["output"] == {"a": 1}


def test_no_completed_leaf_gives_null(connection: Connection) -> None:
    define(
        connection, "f", {"a": [], "b": {"deps": ["a"], "when_exhausted": "skip"}}, max_attempts=1
    )
    run_id = start(connection, "f")["run_id"]
    work_one = begin(connection, "f")
    complete(connection, run_id, work_one[0]["step_slug"], 1)
    begin(connection, "f")
    fail(connection, run_id, "b")
    found = run(connection, run_id)
    assert (found["status"], found["output"]) == ("completed", None)
    assert statuses(connection, run_id) == {"a": "completed", "b": "skipped"}


def test_the_parent_of_a_skipped_leaf_is_no_leaf(connection: Connection) -> None:
    steps = {"a": [], "b": {"deps": ["a"], "required_input_pattern": {"never": True}}, "c": []}
    define(connection, "f", steps)
    run_id = start(connection, "f")["run_id"]
    work(connection, "f", {"a": 1, "c": 2})
    assert run(connection, run_id)["output"] == {"c": 2}

"""A result that a map can't go over fails the run (section 9.3 of the contract)."""

from __future__ import annotations

import pytest

from tests.support.sql import (
    SQL_NULL,
    Connection,
    archived,
    begin,
    claim,
    complete,
    define,
    event_names,
    finish,
    mapped,
    messages,
    payload,
    record_events,
    run,
    start,
    state,
    statuses,
    task,
)
from tests.support.tasks import succeed

VIOLATIONS = [
    ({"k": 1}, "object"),
    ("x", "string"),
    (1, "number"),
    (True, "boolean"),
    (None, "null"),
    (SQL_NULL, "null"),
]


@pytest.mark.parametrize(("output", "kind"), VIOLATIONS)
def test_tells_task_and_step_what_was_wrong(
    connection: Connection, output: object, kind: str
) -> None:
    mapped(connection)
    run_id = start(connection, "mapped")["run_id"]
    begin(connection, "mapped")
    returned = complete(connection, run_id, "source", output)
    assert returned["error_message"] == f"[TYPE_VIOLATION] Produced {kind} instead of array"
    assert state(connection, run_id, "source")["error_message"] == (
        f"[TYPE_VIOLATION] Map step items expects array input but dependency source produced {kind}"
    )


def test_fails_task_step_and_run_and_keeps_the_output(connection: Connection) -> None:
    mapped(connection)
    run_id = start(connection, "mapped")["run_id"]
    begin(connection, "mapped")
    returned = complete(connection, run_id, "source", {"k": 1})
    assert (returned["status"], returned["output"]) == ("failed", {"k": 1})
    assert returned["failed_at"] is not None
    assert state(connection, run_id, "source")["status"] == "failed"
    assert state(connection, run_id, "source")["failed_at"] is not None
    assert (run(connection, run_id)["status"], run(connection, run_id)["output"]) == (
        "failed",
        None,
    )
    assert run(connection, run_id)["failed_at"] is not None


@pytest.mark.parametrize("mode", ["skip", "skip-cascade"])
def test_is_a_failure_whatever_when_exhausted_says(connection: Connection, mode: str) -> None:
    define(
        connection, "f", {"a": {"when_exhausted": mode}, "m": {"deps": ["a"], "step_type": "map"}}
    )
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    complete(connection, run_id, "a", 5)
    assert run(connection, run_id)["status"] == "failed"
    assert statuses(connection, run_id) == {"a": "failed", "m": "created"}


def test_is_not_retried(connection: Connection) -> None:
    mapped(connection, max_attempts=10)
    run_id = start(connection, "mapped")["run_id"]
    begin(connection, "mapped")
    complete(connection, run_id, "source", 5)
    assert task(connection, run_id, "source")["status"] == "failed"


def test_archives_every_message_of_the_run_but_not_of_others(connection: Connection) -> None:
    steps = {"a": [], "b": [], "q": {"start_delay": 1000}, "m": {"deps": ["a"], "step_type": "map"}}
    define(connection, "f", steps)
    run_id = start(connection, "f")["run_id"]
    other = start(connection, "f")["run_id"]
    begin(connection, "f", 2)
    complete(connection, run_id, "a", 5)
    assert {one["message"]["run_id"] for one in messages(connection, "f")} == {str(other)}
    assert sorted(one["message"]["step_slug"] for one in archived(connection, "f")) == [
        "a",
        "b",
        "q",
    ]


def test_leaves_other_steps_untouched(connection: Connection) -> None:
    define(
        connection,
        "f",
        {"a": [], "b": [], "m": {"deps": ["a"], "step_type": "map"}, "c": ["a", "b"]},
    )
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f", 2)
    before = [state(connection, run_id, step) for step in ("b", "m", "c")]
    complete(connection, run_id, "a", 5)
    assert [state(connection, run_id, step) for step in ("b", "m", "c")] == before
    assert before[1]["initial_tasks"] is None
    assert task(connection, run_id, "b")["status"] == "started"


def test_one_event_each_for_run_and_step(connection: Connection) -> None:
    record_events(connection)
    mapped(connection)
    run_id = start(connection, "mapped")["run_id"]
    begin(connection, "mapped")
    complete(connection, run_id, "source", 5)
    new = event_names(connection, run_id)[2:]
    assert sorted(new) == ["run:failed", "step:source:failed"]
    told = payload(connection, run_id, "step:source:failed")["error_message"]
    assert told == state(connection, run_id, "source")["error_message"]


def test_an_array_is_no_violation(connection: Connection) -> None:
    mapped(connection)
    run_id = start(connection, "mapped")["run_id"]
    finish(connection, "mapped", "source", [1])
    assert statuses(connection, run_id)["items"] == "started"


def test_a_step_without_map_children_may_put_out_anything(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    run_id = start(connection, "f")["run_id"]
    finish(connection, "f", "a", 5)
    assert run(connection, run_id)["status"] == "started"


def test_a_map_tasks_output_need_not_be_an_array_for_a_map_behind_it(
    connection: Connection,
) -> None:
    define(connection, "f", {"m": {"step_type": "map"}, "n": {"deps": ["m"], "step_type": "map"}})
    run_id = start(connection, "f", [1])["run_id"]
    finish(connection, "f", "m", {"no": "array"})
    assert statuses(connection, run_id)["n"] == "started"


def test_a_late_completion_of_a_queued_task_is_no_violation(connection: Connection) -> None:
    mapped(connection)
    run_id = start(connection, "mapped")["run_id"]
    assert complete(connection, run_id, "source", 5)["status"] == "queued"
    assert run(connection, run_id)["status"] == "started"


def test_a_map_that_its_condition_skips_makes_no_violation(connection: Connection) -> None:
    child = {"deps": ["a"], "step_type": "map", "required_input_pattern": {"a": ["go"]}}
    define(connection, "f", {"a": [], "m": child})
    run_id = start(connection, "f")["run_id"]
    finish(connection, "f", "a", "stop")
    assert run(connection, run_id)["status"] == "completed"
    assert statuses(connection, run_id) == {"a": "completed", "m": "skipped"}


def test_two_in_one_batch_fail_the_run_once(connection: Connection) -> None:
    steps = {"a": [], "b": [], "x": {"deps": ["a"], "step_type": "map"}}
    define(connection, "f", {**steps, "y": {"deps": ["b"], "step_type": "map"}})
    record_events(connection)
    run_id = start(connection, "f")["run_id"]
    assert succeed(connection, claim(connection, "f", 2), 7) == ["finished", "finished"]
    assert sorted(statuses(connection, run_id).values()) == [
        "created",
        "created",
        "failed",
        "started",
    ]
    assert event_names(connection, run_id).count("run:failed") == 1

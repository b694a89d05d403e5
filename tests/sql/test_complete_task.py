"""pgflow.complete_task: one task's result, and what follows from it."""

from __future__ import annotations

import uuid

from tests.support.sql import (
    Connection,
    archived,
    begin,
    call,
    complete,
    define,
    diamond,
    fail,
    finish,
    jsonb,
    messages,
    rows,
    run,
    start,
    state,
    statuses,
    task,
    tasks,
)
from tests.support.tasks import one_step, started_map

# The row returned


def test_returns_the_task_as_it_is_afterwards(connection: Connection) -> None:
    run_id = one_step(connection)
    begin(connection, "f")
    assert complete(connection, run_id, "a", {"x": 1}) == task(connection, run_id, "a")


def test_an_unknown_task_gives_no_row_and_no_error(connection: Connection) -> None:
    run_id = one_step(connection)
    for named in (
        {"run_id": uuid.uuid4(), "step_slug": "a"},
        {"run_id": run_id, "step_slug": "nope"},
    ):
        assert call(connection, "complete_task", task_index=0, output=jsonb(1), **named) == []
    assert (
        call(
            connection, "complete_task", run_id=run_id, step_slug="a", task_index=1, output=jsonb(1)
        )
        == []
    )


# The task


def test_completes_the_task_with_its_output(connection: Connection) -> None:
    run_id = one_step(connection)
    begin(connection, "f")
    done = complete(connection, run_id, "a", [1])
    assert (done["status"], done["output"]) == ("completed", [1])
    assert done["completed_at"] >= done["started_at"]


def test_archives_the_tasks_message(connection: Connection) -> None:
    run_id = one_step(connection)
    begin(connection, "f")
    done = complete(connection, run_id, "a")
    assert messages(connection, "f") == []
    assert [one["msg_id"] for one in archived(connection, "f")] == [done["message_id"]]


def test_a_message_that_is_visible_again_is_no_obstacle(connection: Connection) -> None:
    run_id = one_step(connection)
    begin(connection, "f")
    rows(connection, "update pgmq.q_f set vt = clock_timestamp() - interval '1 minute'")
    complete(connection, run_id, "a")
    assert (run(connection, run_id)["status"], messages(connection, "f")) == ("completed", [])


def test_a_queued_task_is_not_completed(connection: Connection) -> None:
    run_id = one_step(connection)
    returned = complete(connection, run_id, "a", 1)
    assert (returned["status"], returned["output"]) == ("queued", None)
    assert len(messages(connection, "f")) == 1
    assert statuses(connection, run_id) == {"a": "started"}


def test_a_task_waiting_for_its_retry_is_not_completed(connection: Connection) -> None:
    run_id = one_step(connection)
    begin(connection, "f")
    fail(connection, run_id, "a")
    assert complete(connection, run_id, "a", 1)["status"] == "queued"
    assert len(messages(connection, "f")) == 1


def test_the_output_of_a_completed_task_is_not_overwritten(connection: Connection) -> None:
    run_id = started_map(connection, 2)
    begin(connection, "mapped", 2)
    complete(connection, run_id, "items", "first", 0)
    assert complete(connection, run_id, "items", "second", 0)["output"] == "first"
    assert state(connection, run_id, "items")["remaining_tasks"] == 1


# The step


def test_counts_the_steps_tasks_down(connection: Connection) -> None:
    run_id = started_map(connection, 3)
    begin(connection, "mapped", 3)
    complete(connection, run_id, "items", 1, 1)
    found = state(connection, run_id, "items")
    assert (found["status"], found["remaining_tasks"], found["initial_tasks"]) == ("started", 2, 3)


def test_the_last_task_completes_the_step(connection: Connection) -> None:
    run_id = started_map(connection, 2)
    begin(connection, "mapped", 2)
    complete(connection, run_id, "items", "b", 1)
    complete(connection, run_id, "items", "a", 0)
    found = state(connection, run_id, "items")
    assert (found["status"], found["remaining_tasks"], found["output"]) == (
        "completed",
        0,
        ["a", "b"],
    )
    assert found["completed_at"] >= found["started_at"]


def test_the_last_step_completes_the_run(connection: Connection) -> None:
    run_id = one_step(connection)
    begin(connection, "f")
    complete(connection, run_id, "a", 5)
    found = run(connection, run_id)
    assert (found["status"], found["remaining_steps"], found["output"]) == (
        "completed",
        0,
        {"a": 5},
    )
    assert found["completed_at"] is not None


def test_each_completed_step_is_counted_once(connection: Connection) -> None:
    diamond(connection)
    run_id = start(connection, "diamond")["run_id"]
    counted = []
    for step in ("root", "left", "right", "merge"):
        finish(connection, "diamond", step)
        begin(connection, "diamond", 9)
        if state(connection, run_id, step)["status"] != "completed":
            complete(connection, run_id, step)
        counted.append(run(connection, run_id)["remaining_steps"])
    assert counted == [3, 2, 1, 0]


# The children


def test_counts_the_childrens_dependencies_down(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": [], "c": ["a", "b"], "d": ["a"]})
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f", 2)
    complete(connection, run_id, "b")
    assert [state(connection, run_id, step)["remaining_deps"] for step in ("c", "d")] == [1, 1]
    complete(connection, run_id, "a")
    assert [state(connection, run_id, step)["remaining_deps"] for step in ("c", "d")] == [0, 0]


def test_starts_a_child_when_its_last_parent_completes(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": [], "c": ["a", "b"]})
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f", 2)
    complete(connection, run_id, "a")
    assert statuses(connection, run_id)["c"] == "created"
    complete(connection, run_id, "b")
    assert statuses(connection, run_id)["c"] == "started"
    assert [one["message"]["step_slug"] for one in messages(connection, "f")] == ["c"]


def test_a_maps_number_of_tasks_is_the_length_of_its_parents_array(connection: Connection) -> None:
    run_id = started_map(connection, 3)
    found = state(connection, run_id, "items")
    assert (found["initial_tasks"], found["remaining_tasks"]) == (3, 3)


def test_a_map_over_a_map_has_as_many_tasks(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}, "n": {"deps": ["m"], "step_type": "map"}})
    run_id = start(connection, "f", [1, 2])["run_id"]
    begin(connection, "f", 2)
    complete(connection, run_id, "m", [1, 2, 3], 0)
    assert state(connection, run_id, "n")["initial_tasks"] is None
    complete(connection, run_id, "m", None, 1)
    assert state(connection, run_id, "n")["initial_tasks"] == 2


def test_an_empty_array_completes_the_map_and_starts_what_follows(connection: Connection) -> None:
    run_id = started_map(connection, 0)
    assert statuses(connection, run_id) == {
        "source": "completed",
        "items": "completed",
        "total": "started",
    }
    assert tasks(connection, run_id, "items") == []


def test_an_unmet_condition_of_a_child_can_fail_the_run(connection: Connection) -> None:
    child = {"deps": ["a"], "required_input_pattern": {"a": {"go": True}}, "when_unmet": "fail"}
    define(connection, "f", {"a": [], "b": child})
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    returned = complete(connection, run_id, "a", {})
    assert returned["status"] == "completed"
    assert run(connection, run_id)["status"] == "failed"
    assert statuses(connection, run_id) == {"a": "completed", "b": "failed"}
    assert messages(connection, "f") == []


def test_a_condition_of_a_child_is_looked_at_before_the_child_starts(
    connection: Connection,
) -> None:
    define(
        connection,
        "f",
        {"a": [], "b": {"deps": ["a"], "required_input_pattern": {"a": {"go": True}}}},
    )
    run_id = start(connection, "f")["run_id"]
    finish(connection, "f", "a", {"go": False})
    assert statuses(connection, run_id)["b"] == "skipped"
    assert tasks(connection, run_id, "b") == []

"""pgflow.fail_task where when_exhausted lets the run go on: skip and skip-cascade."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sql import (
    Connection,
    archived,
    begin,
    complete,
    define,
    event_names,
    fail,
    messages,
    payload,
    record_events,
    run,
    start,
    state,
    statuses,
    task,
    work,
)

if TYPE_CHECKING:
    import uuid

SKIP = {"when_exhausted": "skip", "max_attempts": 1}
CASCADE = {"when_exhausted": "skip-cascade", "max_attempts": 1}


def failing(connection: Connection, steps: dict[str, object], **options: object) -> uuid.UUID:
    """Start a run of `steps` and fail its step `a`; return the run's id."""
    define(connection, "f", steps, **options)
    run_id: uuid.UUID = start(connection, "f")["run_id"]
    begin(connection, "f")
    assert fail(connection, run_id, "a", "no luck")["status"] == "failed"
    return run_id


@pytest.mark.parametrize("mode", [SKIP, CASCADE])
def test_the_step_is_skipped_with_its_error_kept(
    connection: Connection, mode: dict[str, object]
) -> None:
    run_id = failing(connection, {"a": mode, "z": []})
    found = state(connection, run_id, "a")
    assert (found["status"], found["skip_reason"], found["error_message"]) == (
        "skipped",
        "handler_failed",
        "no luck",
    )
    assert (found["remaining_tasks"], found["failed_at"]) == (None, None)
    assert found["skipped_at"] is not None


@pytest.mark.parametrize("mode", [SKIP, CASCADE])
def test_the_run_goes_on(connection: Connection, mode: dict[str, object]) -> None:
    run_id = failing(connection, {"a": mode, "z": []})
    assert (run(connection, run_id)["status"], run(connection, run_id)["remaining_steps"]) == (
        "started",
        1,
    )
    assert [one["message"]["step_slug"] for one in messages(connection, "f")] == ["z"]


@pytest.mark.parametrize("mode", [SKIP, CASCADE])
def test_a_run_with_nothing_left_completes(connection: Connection, mode: dict[str, object]) -> None:
    run_id = failing(connection, {"a": mode})
    assert (run(connection, run_id)["status"], run(connection, run_id)["output"]) == (
        "completed",
        None,
    )


@pytest.mark.parametrize("mode", [SKIP, CASCADE])
def test_attempts_are_used_up_first(connection: Connection, mode: dict[str, object]) -> None:
    define(connection, "f", {"a": mode | {"max_attempts": 2}})
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    assert fail(connection, run_id, "a")["status"] == "queued"
    assert statuses(connection, run_id) == {"a": "started"}


def test_skip_starts_the_children_without_the_step(connection: Connection) -> None:
    run_id = failing(connection, {"a": SKIP, "b": ["a"]})
    assert statuses(connection, run_id) == {"a": "skipped", "b": "started"}
    assert begin(connection, "f")[0]["input"] == {}


def test_skip_counts_as_resolved_for_a_child_of_several(connection: Connection) -> None:
    run_id = failing(connection, {"a": SKIP, "z": [], "b": ["a", "z"]})
    assert state(connection, run_id, "b")["remaining_deps"] == 1
    begin(connection, "f")
    complete(connection, run_id, "z", 1)
    assert begin(connection, "f")[0]["input"] == {"z": 1}


def test_skip_gives_a_map_child_an_empty_array(connection: Connection) -> None:
    run_id = failing(connection, {"a": SKIP, "m": {"deps": ["a"], "step_type": "map"}, "c": ["m"]})
    found = state(connection, run_id, "m")
    assert (found["status"], found["initial_tasks"], found["output"]) == ("completed", 0, [])
    assert begin(connection, "f")[0]["input"] == {"m": []}


def test_skip_looks_at_the_childrens_conditions(connection: Connection) -> None:
    child = {"deps": ["a"], "required_input_pattern": {"a": {}}}
    run_id = failing(
        connection,
        {"a": SKIP, "b": child, "c": {"deps": ["a"], "forbidden_input_pattern": {"a": {}}}},
    )
    assert statuses(connection, run_id) == {"a": "skipped", "b": "skipped", "c": "started"}
    assert state(connection, run_id, "b")["skip_reason"] == "condition_unmet"


def test_a_childs_condition_may_fail_the_run(connection: Connection) -> None:
    child = {"deps": ["a"], "required_input_pattern": {"a": {}}, "when_unmet": "fail"}
    run_id = failing(connection, {"a": SKIP, "b": child, "c": ["a"]})
    assert run(connection, run_id)["status"] == "failed"
    assert statuses(connection, run_id) == {"a": "skipped", "b": "failed", "c": "created"}
    assert state(connection, run_id, "b")["error_message"] == "Condition not met"
    assert messages(connection, "f") == []


def test_cascade_skips_everything_downstream(connection: Connection) -> None:
    steps: dict[str, object] = {"a": CASCADE, "z": [], "b": ["a"], "c": ["b", "z"], "d": ["z"]}
    run_id = failing(connection, steps)
    assert statuses(connection, run_id) == {
        "a": "skipped",
        "z": "started",
        "b": "skipped",
        "c": "skipped",
        "d": "created",
    }
    reasons = {step: state(connection, run_id, step)["skip_reason"] for step in "abc"}
    assert reasons == {"a": "handler_failed", "b": "dependency_skipped", "c": "dependency_skipped"}
    assert run(connection, run_id)["remaining_steps"] == 2


def test_a_cascade_lets_the_rest_of_the_run_complete(connection: Connection) -> None:
    run_id = failing(connection, {"a": CASCADE, "z": [], "b": ["a"], "d": ["z"]})
    work(connection, "f", {"d": 4})
    assert (run(connection, run_id)["status"], run(connection, run_id)["output"]) == (
        "completed",
        {"d": 4},
    )


@pytest.mark.parametrize("mode", [SKIP, CASCADE])
def test_a_map_is_skipped_as_a_whole_by_its_first_exhausted_task(
    connection: Connection, mode: dict[str, object]
) -> None:
    define(connection, "f", {"m": mode | {"step_type": "map"}, "z": {"start_delay": 100}})
    run_id = start(connection, "f", [1, 2, 3])["run_id"]
    begin(connection, "f", 2)
    complete(connection, run_id, "m", "done", 0)
    fail(connection, run_id, "m", index=1)
    assert (state(connection, run_id, "m")["status"], state(connection, run_id, "m")["output"]) == (
        "skipped",
        None,
    )
    assert [task(connection, run_id, "m", index)["status"] for index in range(3)] == [
        "completed",
        "failed",
        "queued",
    ]
    assert [one["message"]["step_slug"] for one in messages(connection, "f")] == ["z"]
    assert len(archived(connection, "f")) == 3


def test_skip_is_announced_once_with_the_error(connection: Connection) -> None:
    record_events(connection)
    run_id = failing(connection, {"a": SKIP, "b": ["a"]})
    assert event_names(connection, run_id)[2:] == ["step:a:skipped", "step:b:started"]
    told = payload(connection, run_id, "step:a:skipped")
    assert (told["skip_reason"], told["error_message"], told["status"]) == (
        "handler_failed",
        "no luck",
        "skipped",
    )


def test_a_cascade_is_announced_parents_first(connection: Connection) -> None:
    record_events(connection)
    run_id = failing(connection, {"a": CASCADE, "b": ["a"], "c": ["b"]})
    skipped = [name for name in event_names(connection, run_id) if name.endswith("skipped")]
    assert skipped == ["step:a:skipped", "step:b:skipped", "step:c:skipped"]


@pytest.mark.parametrize("mode", [SKIP, CASCADE])
@pytest.mark.parametrize("late", ["complete", "fail"])
def test_late_callbacks_of_a_skipped_map_change_nothing(
    connection: Connection, mode: dict[str, object], late: str
) -> None:
    record_events(connection)
    define(connection, "f", {"m": mode | {"step_type": "map"}, "z": []})
    run_id = start(connection, "f", [1, 2])["run_id"]
    begin(connection, "f", 3)
    fail(connection, run_id, "m", index=0)
    before = (
        run(connection, run_id),
        state(connection, run_id, "m"),
        event_names(connection, run_id),
    )
    returned = (complete if late == "complete" else fail)(connection, run_id, "m", "late", 1)
    assert returned["status"] == "started"
    assert (
        run(connection, run_id),
        state(connection, run_id, "m"),
        event_names(connection, run_id),
    ) == before

"""pgflow._cascade_force_skip_steps: a step and all that depends on it are skipped."""

from __future__ import annotations

import uuid

import pytest

from tests.support.sql import (
    Connection,
    archived,
    begin,
    complete,
    define,
    diamond,
    event_names,
    finish,
    messages,
    payload,
    record_events,
    refused,
    rows,
    run,
    start,
    state,
    statuses,
    tasks,
    value,
)


def skip(
    connection: Connection, run_id: uuid.UUID, step: str, reason: str = "condition_unmet"
) -> int:
    query = (
        "select pgflow._cascade_force_skip_steps(run_id => %s, step_slug => %s, skip_reason => %s)"
    )
    return int(value(connection, query, run_id, step, reason))


def snapshot(connection: Connection, flow: str) -> list[object]:
    queries = (
        "select * from pgflow.runs",
        "select * from pgflow.step_states order by step_slug",
        "select * from pgflow.step_tasks order by step_slug, task_index",
    )
    archive = [one["msg_id"] for one in archived(connection, flow)]
    return [*(rows(connection, query) for query in queries), archive]


def test_returns_how_many_steps_became_skipped(connection: Connection) -> None:
    diamond(connection)
    assert skip(connection, start(connection, "diamond")["run_id"], "root") == 4


def test_a_leaf_alone_counts_1(connection: Connection) -> None:
    diamond(connection)
    run_id = start(connection, "diamond")["run_id"]
    assert skip(connection, run_id, "merge") == 1
    assert statuses(connection, run_id) == {
        "root": "started",
        "left": "created",
        "right": "created",
        "merge": "skipped",
    }


def test_a_second_call_changes_nothing(connection: Connection) -> None:
    record_events(connection)
    diamond(connection)
    run_id = start(connection, "diamond")["run_id"]
    skip(connection, run_id, "root")
    before, events = snapshot(connection, "diamond"), event_names(connection, run_id)
    assert skip(connection, run_id, "root") == 0
    assert (snapshot(connection, "diamond"), event_names(connection, run_id)) == (before, events)


@pytest.mark.parametrize("reason", ["condition_unmet", "handler_failed", "my own reason"])
def test_the_named_step_gets_the_reason_and_the_others_dependency_skipped(
    connection: Connection, reason: str
) -> None:
    diamond(connection)
    run_id = start(connection, "diamond")["run_id"]
    skip(connection, run_id, "left", reason)
    assert state(connection, run_id, "left")["skip_reason"] == reason
    assert state(connection, run_id, "merge")["skip_reason"] == "dependency_skipped"


def test_skipped_steps_have_a_time_and_no_remaining_tasks(connection: Connection) -> None:
    diamond(connection)
    run_id = start(connection, "diamond")["run_id"]
    skip(connection, run_id, "root")
    for step in ("root", "left", "right", "merge"):
        found = state(connection, run_id, step)
        assert (found["status"], found["remaining_tasks"]) == ("skipped", None)
        assert found["skipped_at"] is not None


def test_one_event_each_with_parents_before_children(connection: Connection) -> None:
    record_events(connection)
    # Slugs against the dependency order, so that sorting by slug would be noticed.
    define(connection, "f", {"z": [], "y": ["z"], "x": ["y"], "a": ["x", "z"]})
    run_id = start(connection, "f")["run_id"]
    skip(connection, run_id, "z", "handler_failed")
    names = [f"step:{step}:skipped" for step in "zyxa"]
    assert event_names(connection, run_id)[2:] == names
    found = payload(connection, run_id, "step:y:skipped")
    assert (found["flow_slug"], found["skip_reason"], found["status"]) == (
        "f",
        "dependency_skipped",
        "skipped",
    )


def test_a_step_with_several_parents_is_skipped_with_the_first(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": [], "join": ["a", "b"], "only_b": ["b"]})
    run_id = start(connection, "f")["run_id"]
    assert skip(connection, run_id, "a") == 2
    assert statuses(connection, run_id) == {
        "a": "skipped",
        "b": "started",
        "join": "skipped",
        "only_b": "created",
    }


def test_completed_steps_downstream_stay(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"], "c": ["b"]})
    run_id = start(connection, "f")["run_id"]
    finish(connection, "f", "a")
    connection.execute(
        """update pgflow.step_states set status = 'completed', remaining_tasks = 0, completed_at = now()
        where step_slug = 'b'"""
    )
    assert skip(connection, run_id, "a") == 1
    assert statuses(connection, run_id) == {"a": "completed", "b": "completed", "c": "skipped"}


def test_messages_of_skipped_steps_are_archived(connection: Connection) -> None:
    define(connection, "f", {"a": [], "m": {"deps": ["a"], "step_type": "map"}, "other": []})
    run_id = start(connection, "f")["run_id"]
    finish(connection, "f", "a", [1, 2, 3])
    begin(connection, "f", 1)
    skip(connection, run_id, "m")
    assert [one["message"]["step_slug"] for one in messages(connection, "f")] == ["other"]
    assert [one["message"]["step_slug"] for one in archived(connection, "f")] == [
        "a",
        "m",
        "m",
        "m",
    ]


def test_tasks_keep_their_status(connection: Connection) -> None:
    define(connection, "f", {"a": [], "m": {"deps": ["a"], "step_type": "map"}})
    run_id = start(connection, "f")["run_id"]
    finish(connection, "f", "a", [1, 2])
    begin(connection, "f", 1)
    skip(connection, run_id, "m")
    assert [one["status"] for one in tasks(connection, run_id, "m")] == ["started", "queued"]


def test_messages_of_steps_skipped_earlier_stay(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": []})
    run_id = start(connection, "f")["run_id"]
    connection.execute(
        """update pgflow.step_states set status = 'skipped', skip_reason = 'mine', skipped_at = now(),
        remaining_tasks = null where step_slug = 'b'"""
    )
    assert skip(connection, run_id, "b") == 0
    assert skip(connection, run_id, "a") == 1
    assert [one["message"]["step_slug"] for one in messages(connection, "f")] == ["b"]
    assert state(connection, run_id, "b")["skip_reason"] == "mine"


def test_remaining_steps_drops_by_the_count(connection: Connection) -> None:
    diamond(connection)
    run_id = start(connection, "diamond")["run_id"]
    skip(connection, run_id, "left")
    assert run(connection, run_id)["remaining_steps"] == 2


def test_remaining_deps_are_not_touched(connection: Connection) -> None:
    diamond(connection)
    run_id = start(connection, "diamond")["run_id"]
    skip(connection, run_id, "left")
    assert state(connection, run_id, "merge")["remaining_deps"] == 2


def test_the_run_is_not_completed(connection: Connection) -> None:
    diamond(connection)
    run_id = start(connection, "diamond")["run_id"]
    skip(connection, run_id, "root")
    found = run(connection, run_id)
    assert (found["status"], found["remaining_steps"]) == ("started", 0)


def test_other_runs_are_untouched(connection: Connection) -> None:
    diamond(connection)
    first, second = (start(connection, "diamond")["run_id"] for _ in range(2))
    skip(connection, first, "root")
    assert statuses(connection, second)["root"] == "started"
    assert len(messages(connection, "diamond")) == 1


def test_a_late_completion_of_a_skipped_step_changes_nothing(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    skip(connection, run_id, "a")
    assert complete(connection, run_id, "a", 1)["status"] == "started"
    assert statuses(connection, run_id) == {"a": "skipped", "b": "skipped"}


def test_an_unknown_run_is_refused(connection: Connection) -> None:
    unknown = uuid.uuid4()
    with refused(connection, f"Run not found: {unknown}"):
        skip(connection, unknown, "a")


def test_an_unknown_step_counts_0(connection: Connection) -> None:
    diamond(connection)
    assert skip(connection, start(connection, "diamond")["run_id"], "nowhere") == 0

"""pgflow.complete_task: late calls, and what is announced."""

from __future__ import annotations

import pytest

from tests.support.sql import (
    SQL_NULL,
    Connection,
    begin,
    complete,
    define,
    event_names,
    events,
    fail,
    finish,
    linear,
    mapped,
    messages,
    payload,
    record_events,
    rows,
    run,
    start,
    state,
    statuses,
)
from tests.support.tasks import one_step, started_map


def test_a_failed_run_changes_nothing(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": []}, max_attempts=1)
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f", 2)
    fail(connection, run_id, "a")
    before = run(connection, run_id)
    returned = complete(connection, run_id, "b", 1)
    assert (returned["status"], returned["output"]) == ("started", None)
    assert run(connection, run_id) == before
    assert statuses(connection, run_id) == {"a": "failed", "b": "started"}


@pytest.mark.parametrize("ended", ["skipped", "completed", "failed"])
def test_an_ended_step_only_loses_the_message(connection: Connection, ended: str) -> None:
    define(connection, "f", {"a": [], "b": []})
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f", 2)
    changes = {
        "skipped": "remaining_tasks = null, skipped_at = now(), skip_reason = 'mine'",
        "completed": "remaining_tasks = 0, completed_at = now()",
        "failed": "failed_at = now()",
    }
    update = f"update pgflow.step_states set status = %s, {changes[ended]} where run_id = %s and step_slug = 'a'"
    rows(connection, update, ended, run_id)
    before = state(connection, run_id, "a")
    returned = complete(connection, run_id, "a", 1)
    assert (returned["status"], returned["output"]) == ("started", None)
    assert state(connection, run_id, "a") == before
    assert run(connection, run_id)["remaining_steps"] == 2
    assert [one["message"]["step_slug"] for one in messages(connection, "f")] == ["b"]


# Events


def test_a_completed_step_is_announced_before_its_children(connection: Connection) -> None:
    record_events(connection)
    linear(connection)
    run_id = start(connection, "linear")["run_id"]
    finish(connection, "linear", "a", {"x": 1})
    assert event_names(connection, run_id) == [
        "run:started",
        "step:a:started",
        "step:a:completed",
        "step:b:started",
    ]


def test_the_event_tells_the_stored_output(connection: Connection) -> None:
    record_events(connection)
    run_id = started_map(connection, 2)
    begin(connection, "mapped", 2)
    complete(connection, run_id, "items", "b", 1)
    complete(connection, run_id, "items", "a", 0)
    told = payload(connection, run_id, "step:items:completed")
    assert told["output"] == state(connection, run_id, "items")["output"] == ["a", "b"]
    assert (told["status"], told["event_type"]) == ("completed", "step:completed")


def test_a_task_of_an_unfinished_map_is_not_announced(connection: Connection) -> None:
    record_events(connection)
    run_id = started_map(connection, 2)
    begin(connection, "mapped", 2)
    before = events(connection, run_id)
    complete(connection, run_id, "items", 1, 0)
    assert events(connection, run_id) == before


def test_a_repeated_completion_announces_nothing(connection: Connection) -> None:
    record_events(connection)
    run_id = one_step(connection)
    begin(connection, "f")
    complete(connection, run_id, "a")
    before = events(connection, run_id)
    complete(connection, run_id, "a")
    assert events(connection, run_id) == before
    assert [one["event"] for one in before].count("run:completed") == 1


def test_sql_null_is_a_result_like_any_other(connection: Connection) -> None:
    mapped(connection)
    run_id = started_map(connection, 1, "other")
    begin(connection, "other")
    assert complete(connection, run_id, "items", SQL_NULL)["status"] == "completed"

"""The shipped views of runs and steps, and the columns of all."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.sql import (
    Connection,
    begin,
    complete,
    define,
    fail,
    mapped,
    row,
    rows,
    start,
    work,
)
from tests.support.views import only, picked, view

COLUMNS = {
    "run_summary": """run_id flow_slug flow_version status idempotency_key total_steps done_steps total_tasks
      done_tasks failed_tasks progress started_at finished_at duration error_message""",
    "step_summary": """run_id flow_slug step_slug step_index step_type status deps total_tasks queued_tasks
      started_tasks completed_tasks failed_tasks retried_tasks started_at finished_at duration error_message
      skip_reason""",
    "failed_tasks": """run_id flow_slug step_slug task_index input error_message attempts_count failed_at
      last_worker_id""",
    "task_attempts": "run_id step_slug task_index attempt worker_id started_at ended_at outcome error details",
    "queue_summary": "queue_name visible in_flight_or_delayed oldest_age_seconds total",
    "worker_summary": """worker_id function_name queue_names hostname pid status started_at last_heartbeat_at
      heartbeat_age_seconds tasks_started tasks_completed""",
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns(connection: Connection, name: str) -> None:
    query = "select column_name from information_schema.columns where table_schema = 'pgflow' and table_name = %s"
    found = {one["column_name"] for one in rows(connection, query, name)}
    assert set(COLUMNS[name].split()) <= found


# run_summary


def test_a_run_in_the_middle(connection: Connection) -> None:
    mapped(connection)
    run_id = start(connection, "mapped", idempotency_key="k")["run_id"]
    begin(connection, "mapped")
    complete(connection, run_id, "source", [1, 2, 3, 4])
    begin(connection, "mapped", 2)
    complete(connection, run_id, "items", 1, 0)
    found = only(connection, "run_summary", run_id=run_id)
    expected = {
        "flow_slug": "mapped",
        "flow_version": 1,
        "status": "started",
        "idempotency_key": "k",
        "total_steps": 3,
        "done_steps": 1,
        "done_tasks": 2,
        "failed_tasks": 0,
        "finished_at": None,
        "error_message": None,
    }
    assert picked(found, expected) == expected
    assert found["total_tasks"] in (5, 6)
    assert 0 < found["progress"] < 100


def test_a_completed_run(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    run_id = start(connection, "f")["run_id"]
    work(connection, "f")
    connection.execute("update pgflow.runs set started_at = completed_at - interval '90 seconds'")
    found = only(connection, "run_summary", run_id=run_id)
    expected = {
        "status": "completed",
        "total_steps": 2,
        "done_steps": 2,
        "total_tasks": 2,
        "done_tasks": 2,
    }
    assert picked(found, expected) == expected
    assert found["progress"] == 100
    assert found["duration"] == timedelta(seconds=90)
    assert found["finished_at"] is not None


def test_a_new_run_has_no_progress(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    found = only(connection, "run_summary", run_id=start(connection, "f")["run_id"])
    assert (found["progress"], found["done_steps"], found["done_tasks"]) == (0, 0, 0)


def test_a_failed_run_tells_its_error(connection: Connection) -> None:
    define(connection, "f", {"a": []}, max_attempts=1)
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    fail(connection, run_id, "a", "it broke")
    found = only(connection, "run_summary", run_id=run_id)
    expected = {"status": "failed", "failed_tasks": 1, "error_message": "it broke"}
    assert picked(found, expected) == expected
    assert found["finished_at"] is not None


def test_a_cancelled_run_is_finished(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    run_id = start(connection, "f")["run_id"]
    row(connection, "select * from pgflow.cancel_run(%s, 'enough')", run_id)
    found = only(connection, "run_summary", run_id=run_id)
    assert found["status"] == "cancelled"
    assert found["finished_at"] is not None


def test_a_skipped_step_is_done(connection: Connection) -> None:
    define(connection, "f", {"a": {"required_input_pattern": {"never": 1}}, "b": []})
    found = only(connection, "run_summary", run_id=start(connection, "f")["run_id"])
    assert (found["total_steps"], found["done_steps"]) == (2, 1)


def test_a_run_without_steps(connection: Connection) -> None:
    define(connection, "f", {})
    found = only(connection, "run_summary", run_id=start(connection, "f")["run_id"])
    assert (found["total_steps"], found["total_tasks"], found["progress"]) == (0, 0, 100)


# step_summary


def test_a_step_with_tasks_in_every_status(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}}, base_delay=3600)
    run_id = start(connection, "f", [1, 2, 3, 4, 5])["run_id"]
    begin(connection, "f", 4)
    complete(connection, run_id, "m", 1, 0)
    fail(connection, run_id, "m", index=1)
    found = only(connection, "step_summary", run_id=run_id)
    expected = {
        "flow_slug": "f",
        "step_slug": "m",
        "step_index": 0,
        "step_type": "map",
        "status": "started",
        "deps": [],
        "total_tasks": 5,
        "queued_tasks": 2,
        "started_tasks": 2,
        "completed_tasks": 1,
        "failed_tasks": 0,
        "retried_tasks": 1,
        "finished_at": None,
    }
    assert picked(found, expected) == expected


def test_steps_that_have_not_started_are_listed(connection: Connection) -> None:
    mapped(connection)
    run_id = start(connection, "mapped")["run_id"]
    found = {one["step_slug"]: one for one in view(connection, "step_summary", run_id=run_id)}
    assert {slug: one["status"] for slug, one in found.items()} == {
        "source": "started",
        "items": "created",
        "total": "created",
    }
    assert found["total"]["deps"] == ["items"]
    assert found["total"]["duration"] is None


def test_a_failed_step_tells_its_error(connection: Connection) -> None:
    define(connection, "f", {"a": []}, max_attempts=1)
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    fail(connection, run_id, "a", "it broke")
    found = only(connection, "step_summary", run_id=run_id)
    expected = {"status": "failed", "failed_tasks": 1, "error_message": "it broke"}
    assert picked(found, expected) == expected
    assert found["finished_at"] is not None


def test_a_skipped_step_tells_its_reason(connection: Connection) -> None:
    define(connection, "f", {"a": {"required_input_pattern": {"never": 1}}})
    found = only(connection, "step_summary", run_id=start(connection, "f")["run_id"])
    assert (found["status"], found["skip_reason"], found["total_tasks"]) == (
        "skipped",
        "condition_unmet",
        0,
    )

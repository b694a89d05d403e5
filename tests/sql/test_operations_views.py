"""The shipped views of failures, attempts, queues and workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.sql import (
    Connection,
    begin,
    change,
    claim,
    complete_batch,
    define,
    fail,
    fail_batch,
    row,
    start,
    value,
    worker,
)

if TYPE_CHECKING:
    import uuid
from tests.support.views import only, picked, view

# failed_tasks


def test_a_failed_task_is_listed_with_its_input(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}}, max_attempts=1)
    run_id = start(connection, "f", [{"id": 1}, {"id": 2}])["run_id"]
    begin(connection, "f", 2)
    fail(connection, run_id, "m", "bad item", 1)
    found = only(connection, "failed_tasks", run_id=run_id)
    expected = {
        "flow_slug": "f",
        "step_slug": "m",
        "task_index": 1,
        "input": {"id": 2},
        "error_message": "bad item",
        "attempts_count": 1,
    }
    assert picked(found, expected) == expected
    assert found["failed_at"] is not None
    assert found["last_worker_id"] is not None


def test_a_task_that_will_be_retried_is_not_listed(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    fail(connection, run_id, "a")
    assert view(connection, "failed_tasks") == []


# task_attempts


def attempts_of(connection: Connection, run_id: uuid.UUID) -> list[tuple[Any, ...]]:
    found = sorted(view(connection, "task_attempts", run_id=run_id), key=lambda one: one["attempt"])
    return [
        tuple(one[column] for column in ("step_slug", "task_index", "attempt", "outcome", "error"))
        for one in found
    ]


def test_a_success_at_once_is_an_attempt(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    run_id = start(connection, "f")["run_id"]
    granted = claim(connection, "f")
    complete_batch(connection, granted, [1])
    assert attempts_of(connection, run_id) == [("a", 0, 1, "completed", None)]
    found = only(connection, "task_attempts", run_id=run_id)
    assert found["worker_id"] is not None
    assert found["started_at"] is not None
    assert found["ended_at"] is not None


def test_failures_and_the_success_after_them_are_all_attempts(connection: Connection) -> None:
    define(connection, "f", {"a": []}, base_delay=0)
    run_id = start(connection, "f")["run_id"]
    for error in ("first", "second"):
        fail_batch(connection, claim(connection, "f"), error)
    complete_batch(connection, claim(connection, "f"), [1])
    assert attempts_of(connection, run_id) == [
        ("a", 0, 1, "failed", "first"),
        ("a", 0, 2, "failed", "second"),
        ("a", 0, 3, "completed", None),
    ]


def test_the_last_failure_is_listed_once(connection: Connection) -> None:
    define(connection, "f", {"a": []}, max_attempts=1)
    run_id = start(connection, "f")["run_id"]
    fail_batch(connection, claim(connection, "f"), "only")
    assert attempts_of(connection, run_id) == [("a", 0, 1, "failed", "only")]


# queue_summary


def test_a_queue_counts_what_is_visible_and_what_is_not(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}})
    start(connection, "f", [1, 2, 3])
    claim(connection, "f", 1)
    found = only(connection, "queue_summary", queue_name="f")
    expected = {"visible": 2, "in_flight_or_delayed": 1, "total": 3}
    assert picked(found, expected) == expected
    assert found["oldest_age_seconds"] >= 0


def test_an_empty_queue_is_listed(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    found = only(connection, "queue_summary", queue_name="f")
    expected = {"visible": 0, "in_flight_or_delayed": 0, "total": 0}
    assert picked(found, expected) == expected


def test_a_flow_whose_queue_was_dropped_does_not_break_the_view(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    define(connection, "g", {"a": []})
    row(connection, "select pgmq.drop_queue('f')")
    assert [one["queue_name"] for one in view(connection, "queue_summary")] == ["g"]


# worker_summary


@pytest.mark.parametrize(
    ("assignment", "status"),
    [
        ("last_heartbeat_at = now()", "running"),
        ("stopped_at = now()", "stopped"),
        ("last_heartbeat_at = now() - interval '70 s'", "running"),
        ("last_heartbeat_at = now() - interval '80 s'", "dead"),
    ],
)
def test_the_status_of_a_worker(connection: Connection, assignment: str, status: str) -> None:
    worker_id = worker(connection, "f")
    change(connection, f"update pgflow.workers set {assignment}")
    assert only(connection, "worker_summary", worker_id=worker_id)["status"] == status


def test_the_age_of_the_heartbeat(connection: Connection) -> None:
    worker_id = worker(connection, "f")
    connection.execute(
        "update pgflow.workers set last_heartbeat_at = now() - interval '100 seconds'"
    )
    assert (
        99 < only(connection, "worker_summary", worker_id=worker_id)["heartbeat_age_seconds"] < 110
    )


def test_a_worker_counts_its_tasks(connection: Connection) -> None:
    define(connection, "f", {"m": {"step_type": "map"}})
    start(connection, "f", [1, 2, 3])
    busy, idle = worker(connection, "f"), worker(connection, "f")
    granted = claim(connection, "f", 3, worker_id=busy)
    complete_batch(connection, granted[:1], [1])
    found = only(connection, "worker_summary", worker_id=busy)
    assert found["tasks_completed"] == 1
    assert found["tasks_started"] in (2, 3)
    assert only(connection, "worker_summary", worker_id=idle)["tasks_started"] == 0
    assert value(connection, "select count(*) from pgflow.worker_summary") == 2

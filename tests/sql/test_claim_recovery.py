"""pgflow.claim_tasks where a lease has run out: lost attempts, exhausted tasks, runs that are over."""

from __future__ import annotations

import pytest

from tests.support.sql import (
    Connection,
    add_step,
    attempts,
    claim,
    define,
    fail_batch,
    messages,
    run,
    start,
    state,
    task,
    worker,
)
from tests.support.tasks import (
    claim_one,
    expire,
    lost_task,
    one_step,
    succeed,
)


def test_a_started_task_whose_lease_expired_is_granted_again(connection: Connection) -> None:
    one_step(connection)
    stale, live = lost_task(connection, "f")
    assert (stale["msg_id"], stale["attempt"], stale["tries"]) == (live["msg_id"], 1, 1)
    assert (live["attempt"], live["tries"], live["exhausted"]) == (2, 2, False)


def test_the_recovery_goes_to_the_new_worker(connection: Connection) -> None:
    run_id = one_step(connection)
    claim(connection, "f")
    expire(connection, "f")
    by = worker(connection)
    claim(connection, "f", worker_id=by)
    assert task(connection, run_id, "a")["last_worker_id"] == by


def test_a_task_whose_lease_runs_is_not_granted(connection: Connection) -> None:
    run_id = one_step(connection)
    claim(connection, "f")
    assert claim(connection, "f") == []
    assert task(connection, run_id, "a")["attempts_count"] == 1


def test_the_lost_attempt_is_recorded(connection: Connection) -> None:
    run_id = one_step(connection)
    by = worker(connection)
    claim(connection, "f", worker_id=by)
    expire(connection, "f")
    claim(connection, "f")
    (lost,) = attempts(connection, run_id)
    assert (lost["attempt"], lost["outcome"], lost["worker_id"]) == (1, "lost", by)
    assert None not in {lost["error"], lost["started_at"], lost["ended_at"]}


def test_a_recovery_counts_as_an_attempt(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=2)
    _, live = lost_task(connection, "f")
    assert live["exhausted"] is False
    fail_batch(connection, [live])
    assert task(connection, run_id, "a")["status"] == "failed"


@pytest.mark.parametrize(("limit", "runs"), [(0, 1), (1, 1), (2, 2), (3, 3)])
def test_a_task_that_keeps_killing_its_worker_is_granted_as_exhausted(
    connection: Connection, limit: int, runs: int
) -> None:
    one_step(connection, max_attempts=limit)
    seen = []
    for _ in range(runs + 1):
        seen.append(claim_one(connection, "f")["exhausted"])
        expire(connection, "f")
    assert seen == [False] * runs + [True]


def test_an_exhausted_grant_can_be_failed_for_good(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=1)
    _, exhausted = lost_task(connection, "f")
    assert fail_batch(connection, [exhausted], "worker lost", details={"kind": "lost"}) == [
        "accepted"
    ]
    assert (task(connection, run_id, "a")["status"], run(connection, run_id)["status"]) == (
        "failed",
        "failed",
    )
    assert messages(connection, "f") == []


def test_an_exhausted_grant_stays_exhausted_when_its_worker_dies_too(
    connection: Connection,
) -> None:
    one_step(connection, max_attempts=1)
    _, exhausted = lost_task(connection, "f")
    expire(connection, "f")
    again = claim_one(connection, "f")
    assert again["exhausted"]
    assert again["attempt"] > exhausted["attempt"]


def test_an_exhausted_task_leaves_the_others_of_its_batch_alone(connection: Connection) -> None:
    define(connection, "f", {"poison": {"max_attempts": 1}, "good": {"max_attempts": 3}})
    run_id = start(connection, "f")["run_id"]
    claim(connection, "f", 2)
    expire(connection, "f")
    granted = {one["step_slug"]: one["exhausted"] for one in claim(connection, "f", 2)}
    assert granted == {"poison": True, "good": False}
    assert state(connection, run_id, "good")["status"] == "started"


def test_a_completed_tasks_message_that_came_back_is_put_away(connection: Connection) -> None:
    run_id = one_step(connection)
    claim(connection, "f")
    statement = """update pgflow.step_tasks set status = 'completed', completed_at = now() where run_id = %s"""
    connection.execute(statement, [run_id])
    expire(connection, "f")
    assert claim(connection, "f") == []
    assert messages(connection, "f") == []


@pytest.mark.parametrize("status", ["failed", "completed"])
def test_a_task_of_an_ended_run_is_not_granted_and_its_message_put_away(
    connection: Connection, status: str
) -> None:
    run_id = one_step(connection)
    statement = f"update pgflow.runs set status = %s, {status}_at = now() where run_id = %s"
    connection.execute(statement.encode(), [status, run_id])
    assert claim(connection, "f") == []
    assert task(connection, run_id, "a")["status"] == "queued"
    assert messages(connection, "f") == []


def test_a_step_added_later_changes_no_run_that_goes_on(connection: Connection) -> None:
    one_step(connection)
    add_step(connection, "f", "late", ["a"])
    (granted,) = claim(connection, "f", 9)
    succeed(connection, [granted])
    assert claim(connection, "f", 9) == []
    assert run(connection, granted["run_id"])["status"] == "completed"

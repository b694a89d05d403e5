"""pgflow.fail_tasks: many failures in one call, each fenced by its attempt and with its own details."""

from __future__ import annotations

import uuid

import pytest
from psycopg.types.json import Jsonb

from tests.support.sql import (
    Connection,
    attempts,
    call,
    claim,
    define,
    event_names,
    fail_batch,
    messages,
    record_events,
    run,
    start,
    state,
    statuses,
    task,
    tasks,
    value,
    worker,
)
from tests.support.tasks import (
    Steps,
    break_down,
    claim_one,
    expire,
    lost_task,
    one_step,
    outcomes,
    reports,
    root_map,
    snapshot,
    succeed,
    version,
)

# A batch


def test_nothing_to_report_is_no_error(connection: Connection) -> None:
    named: dict[str, object] = {
        key: [] for key in ("run_ids", "step_slugs", "task_indexes", "attempts", "errors")
    }
    assert call(connection, "fail_tasks", **named) == []


def test_fails_each_task_with_its_own_error(connection: Connection) -> None:
    run_id = root_map(connection, 3)
    granted = claim(connection, "numbers", 3)
    errors = [f"error {one['task_index']}" for one in granted]
    assert outcomes(connection, "fail_tasks", granted, errors=errors) == ["accepted"] * 3
    assert [one["error_message"] for one in tasks(connection, run_id)] == [
        "error 0",
        "error 1",
        "error 2",
    ]


def test_reports_come_in_the_order_given(connection: Connection) -> None:
    root_map(connection, 6)
    granted = sorted(claim(connection, "numbers", 6), key=lambda one: -one["task_index"])
    found = reports(connection, "fail_tasks", granted, errors=["boom"] * 6)
    assert [tuple(one.values()) for one in found] == [
        (one["run_id"], "items", one["task_index"], "accepted") for one in granted
    ]


def test_a_batch_may_mix_retries_and_last_attempts(connection: Connection) -> None:
    define(
        connection,
        "f",
        {"a": {"max_attempts": 1, "when_exhausted": "skip"}, "b": {"max_attempts": 2}},
    )
    runs = [start(connection, "f")["run_id"] for _ in range(2)]
    assert set(break_down(connection, claim(connection, "f", 9))) == {"accepted"}
    for run_id in runs:
        assert statuses(connection, run_id) == {"a": "skipped", "b": "started"}
        assert task(connection, run_id, "b")["status"] == "queued"


def test_each_run_of_a_batch_fails_on_its_own(connection: Connection) -> None:
    define(connection, "f", {"a": []}, max_attempts=1)
    runs = [start(connection, "f")["run_id"] for _ in range(3)]
    granted = claim(connection, "f", 9)
    break_down(connection, [one for one in granted if one["run_id"] != runs[1]])
    assert [run(connection, run_id)["status"] for run_id in runs] == ["failed", "started", "failed"]


def test_several_exhausted_tasks_of_one_map_fail_step_and_run_once(connection: Connection) -> None:
    record_events(connection)
    run_id = root_map(connection, 3, max_attempts=1)
    break_down(connection, claim(connection, "numbers", 3))
    assert sorted(event_names(connection, run_id)[2:]) == ["run:failed", "step:items:failed"]
    assert messages(connection, "numbers") == []


def test_several_exhausted_tasks_of_one_map_skip_the_step_once(connection: Connection) -> None:
    steps: Steps = [
        {"slug": "m", "step_type": "map", "max_attempts": 1, "when_exhausted": "skip"},
        {"slug": "z", "depends_on": ["m"]},
    ]
    version(connection, "f", steps)
    run_id = start(connection, "f", [1, 2, 3])["run_id"]
    break_down(connection, claim(connection, "f", 3))
    assert statuses(connection, run_id) == {"m": "skipped", "z": "started"}
    assert (
        run(connection, run_id)["remaining_steps"],
        state(connection, run_id, "z")["remaining_deps"],
    ) == (1, 0)


def test_every_failed_task_of_a_batch_has_its_delay(connection: Connection) -> None:
    root_map(connection, 3, base_delay=50)
    break_down(connection, claim(connection, "numbers", 3))
    assert [round(one["delay"]) for one in messages(connection, "numbers")] == [100, 100, 100]


# Fences


def test_a_stale_fence_changes_nothing(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=2)
    stale, _ = lost_task(connection, "f")
    before = snapshot(connection, run_id)
    assert break_down(connection, [stale], "zombie") == ["stale"]
    assert snapshot(connection, run_id) == before


def test_the_current_fence_is_accepted(connection: Connection) -> None:
    run_id = one_step(connection)
    _, live = lost_task(connection, "f")
    assert break_down(connection, [live]) == ["accepted"]
    assert task(connection, run_id, "a")["status"] == "queued"


def test_repeating_a_failure_with_its_fence_is_already_accepted(connection: Connection) -> None:
    run_id = one_step(connection)
    granted = claim(connection, "f")
    break_down(connection, granted, "first")
    before = snapshot(connection, run_id)
    assert break_down(connection, granted, "second") == ["already_accepted"]
    assert snapshot(connection, run_id) == before


def test_repeating_the_failure_that_ended_the_run_is_already_accepted(
    connection: Connection,
) -> None:
    run_id = one_step(connection, max_attempts=1)
    granted = claim(connection, "f")
    break_down(connection, granted, "first")
    before = snapshot(connection, run_id)
    assert break_down(connection, granted, "second") == ["already_accepted"]
    assert snapshot(connection, run_id) == before


def test_a_completed_task_is_not_failed(connection: Connection) -> None:
    run_id = root_map(connection, 2)
    granted = claim(connection, "numbers", 1)
    succeed(connection, granted)
    before = snapshot(connection, run_id)
    assert break_down(connection, granted)[0] != "accepted"
    assert snapshot(connection, run_id) == before


def test_callers_without_a_fence_are_accepted(connection: Connection) -> None:
    run_id = one_step(connection)
    assert fail_batch(connection, claim(connection, "f"), fenced=False) == ["accepted"]
    assert task(connection, run_id, "a")["status"] == "queued"


def test_a_task_twice_in_one_batch_spends_one_attempt(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=2)
    granted = claim_one(connection, "f")
    assert "accepted" in break_down(connection, [granted, granted])
    assert task(connection, run_id, "a")["status"] == "queued"
    assert len(attempts(connection, run_id)) == 1


def test_an_exhausted_task_twice_in_one_batch_counts_once(connection: Connection) -> None:
    define(
        connection,
        "f",
        {"a": {"max_attempts": 1, "when_exhausted": "skip"}, "b": [], "c": ["a", "b"]},
    )
    run_id = start(connection, "f")["run_id"]
    granted = [one for one in claim(connection, "f", 9) if one["step_slug"] == "a"]
    break_down(connection, granted * 2)
    assert (
        run(connection, run_id)["remaining_steps"],
        state(connection, run_id, "c")["remaining_deps"],
    ) == (2, 1)


def test_a_cancelled_run_is_finished(connection: Connection) -> None:
    run_id = one_step(connection)
    granted = claim(connection, "f")
    call(connection, "cancel_run", run_id=run_id)
    assert break_down(connection, granted) == ["finished"]
    assert run(connection, run_id)["status"] == "cancelled"


def test_an_unknown_task_does_not_disturb_the_others(connection: Connection) -> None:
    run_id = one_step(connection)
    granted = claim_one(connection, "f")
    assert break_down(connection, [granted | {"run_id": uuid.uuid4()}, granted])[-1] == "accepted"
    assert task(connection, run_id, "a")["status"] == "queued"


# Details


def test_the_attempt_is_recorded_with_its_details(connection: Connection) -> None:
    run_id = one_step(connection)
    by = worker(connection)
    granted = claim(connection, "f", worker_id=by)
    break_down(
        connection, granted, "no luck", kind="timeout", type="ValueError", traceback="line 1"
    )
    (recorded,) = attempts(connection, run_id)
    assert (recorded["attempt"], recorded["worker_id"], recorded["error"]) == (1, by, "no luck")
    assert recorded["outcome"] == "failed"
    assert recorded["details"] == {"kind": "timeout", "type": "ValueError", "traceback": "line 1"}
    assert None not in {recorded["started_at"], recorded["ended_at"]}


def test_a_final_failure_is_not_retried(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=10)
    break_down(connection, claim(connection, "f"), final=True)
    assert (task(connection, run_id, "a")["status"], run(connection, run_id)["status"]) == (
        "failed",
        "failed",
    )


def test_final_false_is_retried(connection: Connection) -> None:
    run_id = one_step(connection)
    break_down(connection, claim(connection, "f"), final=False)
    assert task(connection, run_id, "a")["status"] == "queued"


def test_a_final_failure_follows_when_exhausted(connection: Connection) -> None:
    define(connection, "f", {"a": {"when_exhausted": "skip"}, "b": ["a"]})
    run_id = start(connection, "f")["run_id"]
    break_down(connection, claim(connection, "f"), final=True)
    assert statuses(connection, run_id) == {"a": "skipped", "b": "started"}


@pytest.mark.parametrize("seconds", [0, 77, 12.5])
def test_retry_after_sets_the_delay(connection: Connection, seconds: float) -> None:
    one_step(connection, base_delay=500)
    break_down(connection, claim(connection, "f"), retry_after=seconds)
    assert abs(messages(connection, "f")[0]["delay"] - seconds) < 2


def test_retry_after_gives_no_further_attempt(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=1)
    break_down(connection, claim(connection, "f"), retry_after=5)
    assert task(connection, run_id, "a")["status"] == "failed"


@pytest.mark.parametrize("seconds", [1e12, -5])
def test_an_absurd_retry_after_is_clamped(connection: Connection, seconds: float) -> None:
    run_id = one_step(connection)
    assert break_down(connection, claim(connection, "f"), retry_after=seconds) == ["accepted"]
    assert task(connection, run_id, "a")["status"] == "queued"
    assert value(connection, "select isfinite(vt) from pgmq.q_f")


def test_each_task_has_its_own_details(connection: Connection) -> None:
    root_map(connection, 2, base_delay=50)
    granted = sorted(claim(connection, "numbers", 2), key=lambda one: one["task_index"])
    details = [Jsonb({"retry_after": 10}), None]
    outcomes(connection, "fail_tasks", granted, errors=["boom"] * 2, details=details)
    assert [round(one["delay"]) for one in messages(connection, "numbers")] == [10, 100]


def test_a_failure_of_a_lost_and_used_up_task_is_the_last(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=2)
    for _ in range(2):
        claim(connection, "f")
        expire(connection, "f")
    exhausted = claim_one(connection, "f")
    break_down(connection, [exhausted], "its workers died", kind="lost")
    assert (
        task(connection, run_id, "a")["status"],
        task(connection, run_id, "a")["error_message"],
    ) == (
        "failed",
        "its workers died",
    )

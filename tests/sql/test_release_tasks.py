"""pgflow.release_tasks: handed back without spending an attempt."""

from __future__ import annotations

from tests.support.sql import Connection, attempts, call, claim, messages, run, task, tasks
from tests.support.tasks import (
    break_down,
    claim_one,
    lost_task,
    one_step,
    outcomes,
    reports,
    root_map,
    snapshot,
    succeed,
)


def test_nothing_to_release_is_no_error(connection: Connection) -> None:
    named: dict[str, object] = {
        key: [] for key in ("run_ids", "step_slugs", "task_indexes", "attempts")
    }
    assert call(connection, "release_tasks", **named) == []


def test_the_task_is_queued_again(connection: Connection) -> None:
    run_id = one_step(connection)
    assert outcomes(connection, "release_tasks", claim(connection, "f")) == ["accepted"]
    found = task(connection, run_id, "a")
    assert (found["status"], found["started_at"], found["released_count"]) == ("queued", None, 1)
    assert found["error_message"] is None


def test_the_message_is_visible_at_once(connection: Connection) -> None:
    one_step(connection)
    outcomes(connection, "release_tasks", claim(connection, "f"))
    assert messages(connection, "f")[0]["visible"]


def test_a_delay_hides_the_message(connection: Connection) -> None:
    one_step(connection)
    outcomes(connection, "release_tasks", claim(connection, "f"), delay=40)
    assert round(messages(connection, "f")[0]["delay"]) == 40


def test_the_next_grant_has_a_new_fence_and_counts_as_the_same_try(connection: Connection) -> None:
    one_step(connection)
    first = claim_one(connection, "f")
    outcomes(connection, "release_tasks", [first])
    second = claim_one(connection, "f")
    assert second["attempt"] > first["attempt"]
    assert (first["tries"], second["tries"], second["exhausted"]) == (1, 1, False)


def test_releasing_spends_no_attempt(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=2, base_delay=0)
    for _ in range(5):
        outcomes(connection, "release_tasks", claim(connection, "f"))
    break_down(connection, claim(connection, "f"))
    assert task(connection, run_id, "a")["status"] == "queued"
    break_down(connection, claim(connection, "f"))
    assert task(connection, run_id, "a")["status"] == "failed"


def test_a_released_task_never_becomes_exhausted(connection: Connection) -> None:
    one_step(connection, max_attempts=1)
    seen = []
    for _ in range(4):
        granted = claim_one(connection, "f")
        seen.append(granted["exhausted"])
        outcomes(connection, "release_tasks", [granted])
    assert seen == [False] * 4


def test_the_old_fence_is_stale_afterwards(connection: Connection) -> None:
    run_id = one_step(connection)
    released = claim(connection, "f")
    outcomes(connection, "release_tasks", released)
    before = snapshot(connection, run_id)
    assert succeed(connection, released) == ["stale"]
    assert break_down(connection, released)[0] != "accepted"
    assert snapshot(connection, run_id) == before


def test_a_stale_fence_releases_nothing(connection: Connection) -> None:
    run_id = one_step(connection)
    stale, _ = lost_task(connection, "f")
    before = snapshot(connection, run_id)
    assert outcomes(connection, "release_tasks", [stale]) == ["stale"]
    assert snapshot(connection, run_id) == before


def test_releasing_twice_releases_once(connection: Connection) -> None:
    run_id = one_step(connection)
    granted = claim(connection, "f")
    outcomes(connection, "release_tasks", granted)
    before = snapshot(connection, run_id)
    assert outcomes(connection, "release_tasks", granted)[0] in {"already_accepted", "stale"}
    assert snapshot(connection, run_id) == before


def test_a_task_twice_in_one_batch_is_released_once(connection: Connection) -> None:
    run_id = one_step(connection)
    granted = claim_one(connection, "f")
    assert outcomes(connection, "release_tasks", [granted, granted])[0] == "accepted"
    assert task(connection, run_id, "a")["released_count"] == 1


def test_a_completed_task_is_not_released(connection: Connection) -> None:
    run_id = root_map(connection, 2)
    granted = claim(connection, "numbers", 1)
    succeed(connection, granted)
    before = snapshot(connection, run_id)
    assert outcomes(connection, "release_tasks", granted)[0] != "accepted"
    assert snapshot(connection, run_id) == before


def test_a_cancelled_run_is_finished(connection: Connection) -> None:
    run_id = one_step(connection)
    granted = claim(connection, "f")
    call(connection, "cancel_run", run_id=run_id)
    assert outcomes(connection, "release_tasks", granted) == ["finished"]
    assert messages(connection, "f") == []


def test_reports_come_in_the_order_given(connection: Connection) -> None:
    run_id = root_map(connection, 5)
    granted = sorted(claim(connection, "numbers", 5), key=lambda one: -one["task_index"])
    found = reports(connection, "release_tasks", granted)
    assert [one["task_index"] for one in found] == [4, 3, 2, 1, 0]
    assert {one["status"] for one in tasks(connection, run_id)} == {"queued"}


def test_only_what_is_named_is_released(connection: Connection) -> None:
    run_id = root_map(connection, 3)
    granted = claim(connection, "numbers", 3)
    outcomes(connection, "release_tasks", granted[:1])
    assert sorted(one["status"] for one in tasks(connection, run_id)) == [
        "queued",
        "started",
        "started",
    ]
    assert run(connection, run_id)["status"] == "started"


def test_a_release_is_no_failure_in_the_record(connection: Connection) -> None:
    run_id = one_step(connection)
    outcomes(connection, "release_tasks", claim(connection, "f"))
    assert [one["outcome"] for one in attempts(connection, run_id)] in ([], ["released"])

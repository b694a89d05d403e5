"""pgflow.complete_tasks: whose result counts, and what ended in the meantime."""

from __future__ import annotations

from tests.support.sql import (
    Connection,
    Row,
    call,
    claim,
    complete_batch,
    define,
    jsonb,
    messages,
    run,
    start,
    state,
    statuses,
    task,
)
from tests.support.tasks import (
    claim_one,
    expire,
    lost_task,
    one_step,
    outcomes,
    root_map,
    snapshot,
    succeed,
)


def results(connection: Connection, granted: list[Row], outputs: list[object]) -> list[str]:
    return outcomes(connection, "complete_tasks", granted, outputs=[jsonb(one) for one in outputs])


def test_the_current_fence_is_accepted(connection: Connection) -> None:
    run_id = one_step(connection)
    _, live = lost_task(connection, "f")
    assert results(connection, [live], ["mine"]) == ["accepted"]
    assert task(connection, run_id, "a")["output"] == "mine"


def test_a_stale_fence_changes_nothing(connection: Connection) -> None:
    run_id = one_step(connection)
    stale, _ = lost_task(connection, "f")
    before = snapshot(connection, run_id)
    assert results(connection, [stale], ["zombie"]) == ["stale"]
    assert snapshot(connection, run_id) == before


def test_a_fence_of_the_future_is_stale(connection: Connection) -> None:
    run_id = one_step(connection)
    granted = claim_one(connection, "f")
    assert succeed(connection, [granted | {"attempt": 99}]) == ["stale"]
    assert task(connection, run_id, "a")["status"] == "started"


def test_repeating_a_completion_with_its_fence_is_already_accepted(connection: Connection) -> None:
    run_id = root_map(connection, 2)
    granted = claim(connection, "numbers", 1)
    results(connection, granted, ["first"])
    assert results(connection, granted, ["second"]) == ["already_accepted"]
    assert task(connection, run_id, "items", granted[0]["task_index"])["output"] == "first"
    assert state(connection, run_id, "items")["remaining_tasks"] == 1


def test_repeating_the_completion_that_ended_step_and_run_is_already_accepted(
    connection: Connection,
) -> None:
    run_id = one_step(connection)
    granted = claim(connection, "f")
    results(connection, granted, ["first"])
    before = run(connection, run_id)
    assert results(connection, granted, ["first"]) == ["already_accepted"]
    assert run(connection, run_id) == before


def test_a_stale_fence_is_stale_after_the_live_one_completed(connection: Connection) -> None:
    run_id = one_step(connection)
    stale, live = lost_task(connection, "f")
    results(connection, [live], ["live"])
    assert results(connection, [stale], ["zombie"])[0] in {"stale", "finished"}
    assert task(connection, run_id, "a")["output"] == "live"


def test_a_task_that_waits_for_its_retry_is_not_completed(connection: Connection) -> None:
    run_id = one_step(connection)
    granted = claim(connection, "f")
    outcomes(connection, "fail_tasks", granted, errors=["boom"])
    assert succeed(connection, granted) == ["stale"]
    assert task(connection, run_id, "a")["status"] == "queued"


def test_a_queued_task_is_not_completed_without_a_fence(connection: Connection) -> None:
    run_id = one_step(connection)
    never = {"run_id": run_id, "step_slug": "a", "task_index": 0, "attempt": None}
    assert succeed(connection, [never]) == ["stale"]
    assert task(connection, run_id, "a")["status"] == "queued"


def test_callers_without_a_fence_are_accepted(connection: Connection) -> None:
    one_step(connection)
    granted = claim(connection, "f")
    assert complete_batch(connection, granted, [1], fenced=False) == ["accepted"]


def test_an_expired_lease_is_no_obstacle_while_nobody_else_was_granted_the_task(
    connection: Connection,
) -> None:
    run_id = one_step(connection)
    granted = claim(connection, "f")
    expire(connection, "f")
    assert succeed(connection, granted) == ["accepted"]
    assert run(connection, run_id)["status"] == "completed"


# What ended in the meantime


def test_a_failed_run_is_finished(connection: Connection) -> None:
    define(connection, "f", {"a": {"max_attempts": 1}, "b": []})
    run_id = start(connection, "f")["run_id"]
    a, b = sorted(claim(connection, "f", 2), key=lambda one: one["step_slug"])
    outcomes(connection, "fail_tasks", [a], errors=["boom"])
    assert succeed(connection, [b]) == ["finished"]
    assert (task(connection, run_id, "b")["status"], task(connection, run_id, "b")["output"]) == (
        "started",
        None,
    )
    assert statuses(connection, run_id)["b"] == "started"


def test_a_cancelled_run_is_finished(connection: Connection) -> None:
    run_id = one_step(connection)
    granted = claim(connection, "f")
    call(connection, "cancel_run", run_id=run_id)
    assert succeed(connection, granted) == ["finished"]
    assert run(connection, run_id)["status"] == "cancelled"


def test_a_skipped_step_is_finished_and_loses_the_message(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": []})
    run_id = start(connection, "f")["run_id"]
    granted = [one for one in claim(connection, "f", 2) if one["step_slug"] == "a"]
    statement = """update pgflow.step_states set status = 'skipped', skip_reason = 'mine', remaining_tasks = null,
      skipped_at = now() where run_id = %s and step_slug = 'a'"""
    connection.execute(statement, [run_id])
    assert succeed(connection, granted) == ["finished"]
    assert [one["message"]["step_slug"] for one in messages(connection, "f")] == ["b"]

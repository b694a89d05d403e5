"""pgflow.extend_leases: workers keep what they hold, and learn what they have lost."""

from __future__ import annotations

from tests.support.sql import Connection, call, claim, define, messages, run, start
from tests.support.tasks import (
    break_down,
    claim_one,
    expire,
    lost_task,
    one_step,
    outcomes,
    reports,
    root_map,
    snapshot,
    started_map,
    succeed,
)


def test_nothing_to_extend_is_no_error(connection: Connection) -> None:
    named: dict[str, object] = {
        key: [] for key in ("run_ids", "step_slugs", "task_indexes", "attempts")
    }
    assert call(connection, "extend_leases", **named) == []


def test_sets_the_lease_anew_from_now(connection: Connection) -> None:
    one_step(connection)
    granted = claim(connection, "f", lease=5)
    assert outcomes(connection, "extend_leases", granted, lease=90) == ["accepted"]
    assert round(messages(connection, "f")[0]["delay"]) == 90


def test_the_lease_is_30_seconds_unless_said_otherwise(connection: Connection) -> None:
    one_step(connection)
    outcomes(connection, "extend_leases", claim(connection, "f", lease=500))
    assert round(messages(connection, "f")[0]["delay"]) == 30


def test_extends_each_task_of_a_batch_and_no_other(connection: Connection) -> None:
    root_map(connection, 4)
    held = claim(connection, "numbers", 2)
    claim(connection, "numbers", 2)
    assert outcomes(connection, "extend_leases", held, lease=90) == ["accepted"] * 2
    extended = {one["msg_id"] for one in messages(connection, "numbers") if one["delay"] > 60}
    assert extended == {one["msg_id"] for one in held}


def test_a_batch_may_mix_flows(connection: Connection) -> None:
    one_step(connection, "f")
    one_step(connection, "g")
    granted = claim(connection, "f") + claim(connection, "g")
    assert outcomes(connection, "extend_leases", granted, lease=90) == ["accepted"] * 2
    assert [round(messages(connection, flow)[0]["delay"]) for flow in "fg"] == [90, 90]


def test_reports_come_in_the_order_given(connection: Connection) -> None:
    root_map(connection, 5)
    granted = sorted(claim(connection, "numbers", 5), key=lambda one: -one["task_index"])
    found = reports(connection, "extend_leases", granted)
    assert [one["task_index"] for one in found] == [4, 3, 2, 1, 0]


def test_changes_nothing_but_the_lease(connection: Connection) -> None:
    run_id = one_step(connection)
    granted = claim(connection, "f")
    before = snapshot(connection, run_id)
    outcomes(connection, "extend_leases", granted, lease=90)
    after = snapshot(connection, run_id)
    assert {name: found for name, found in after.items() if name != "f"} == {
        name: found for name, found in before.items() if name != "f"
    }


def test_a_lease_that_ran_out_can_be_extended_while_nobody_else_has_the_task(
    connection: Connection,
) -> None:
    one_step(connection)
    granted = claim(connection, "f")
    expire(connection, "f")
    assert outcomes(connection, "extend_leases", granted) == ["accepted"]
    assert claim(connection, "f") == []


def test_an_extended_task_is_not_granted_to_others(connection: Connection) -> None:
    one_step(connection)
    granted = claim(connection, "f", lease=0)
    outcomes(connection, "extend_leases", granted)
    assert claim(connection, "f") == []


def test_fault_07_a_stale_fence_is_refused(connection: Connection) -> None:
    run_id = one_step(connection)
    stale, _ = lost_task(connection, "f")
    before = snapshot(connection, run_id)
    assert outcomes(connection, "extend_leases", [stale], lease=900) == ["stale"]
    assert snapshot(connection, run_id) == before


def test_a_task_that_waits_for_its_retry_is_stale(connection: Connection) -> None:
    run_id = one_step(connection)
    granted = claim(connection, "f")
    break_down(connection, granted)
    before = snapshot(connection, run_id)
    assert outcomes(connection, "extend_leases", granted) == ["stale"]
    assert snapshot(connection, run_id) == before


def test_a_released_task_is_stale(connection: Connection) -> None:
    one_step(connection)
    granted = claim(connection, "f")
    outcomes(connection, "release_tasks", granted)
    assert outcomes(connection, "extend_leases", granted) == ["stale"]
    assert messages(connection, "f")[0]["visible"]


def test_a_cancelled_run_is_finished(connection: Connection) -> None:
    run_id = one_step(connection)
    granted = claim(connection, "f")
    call(connection, "cancel_run", run_id=run_id)
    assert outcomes(connection, "extend_leases", granted) == ["finished"]


def test_a_failed_run_is_finished(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": []}, max_attempts=1)
    run_id = start(connection, "f")["run_id"]
    first, second = claim(connection, "f", 2)
    break_down(connection, [first])
    assert run(connection, run_id)["status"] == "failed"
    assert outcomes(connection, "extend_leases", [second]) == ["finished"]


def test_a_completed_step_is_finished(connection: Connection) -> None:
    started_map(connection, 1)
    granted = claim(connection, "mapped")
    succeed(connection, granted)
    assert outcomes(connection, "extend_leases", granted) == ["finished"]


def test_a_batch_of_all_outcomes(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    for _ in range(3):
        start(connection, "f")
    live, stale, ended = claim(connection, "f", 3)
    call(connection, "cancel_run", run_id=ended["run_id"])
    batch = [ended, stale | {"attempt": 9}, live]
    assert outcomes(connection, "extend_leases", batch, lease=90) == [
        "finished",
        "stale",
        "accepted",
    ]


def test_a_task_twice_in_one_batch_is_extended(connection: Connection) -> None:
    one_step(connection)
    granted = claim_one(connection, "f")
    assert outcomes(connection, "extend_leases", [granted, granted], lease=90)[0] == "accepted"
    assert round(messages(connection, "f")[0]["delay"]) == 90

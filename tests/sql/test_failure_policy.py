"""Failure policies of maps: how many items may fail for good before the step does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sql import (
    Connection,
    Row,
    call,
    claim,
    complete_batch,
    event_names,
    fail,
    messages,
    record_events,
    rows,
    run,
    start,
    state,
    statuses,
    task,
    tasks,
)
from tests.support.tasks import Steps, break_down, claim_one, expire, outcomes, succeed, version

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence


def tolerant(connection: Connection, count: int, **policy: object) -> uuid.UUID:
    """Start `items (map) -> total` over 0..count-1 with a policy; return the run's id."""
    items = {"slug": "items", "step_type": "map", "max_attempts": 1, **policy}
    version(connection, "f", [items, {"slug": "total", "depends_on": ["items"]}])
    run_id: uuid.UUID = start(connection, "f", list(range(count)))["run_id"]
    return run_id


def settle(connection: Connection, bad: Sequence[int], *, bad_last: bool = False) -> None:
    """Claim everything, fail the bad items and complete the others with their input."""
    granted = claim(connection, "f", 1000)
    losers = [one for one in granted if one["task_index"] in bad]
    winners = [one for one in granted if one["task_index"] not in bad]

    def report_losers() -> None:
        if losers:
            break_down(connection, losers, "no luck")

    if not bad_last:
        report_losers()
    if winners:
        complete_batch(connection, winners, [one["input"] for one in winners])
    if bad_last:
        report_losers()


@pytest.mark.parametrize("bad_last", [False, True])
def test_the_step_completes_with_nulls_for_failed_items(
    connection: Connection, bad_last: bool
) -> None:
    run_id = tolerant(connection, 4, max_failed_tasks=2)
    settle(connection, [1, 3], bad_last=bad_last)
    found = state(connection, run_id, "items")
    assert (found["status"], found["output"]) == ("completed", [0, None, 2, None])
    assert (found["remaining_tasks"], found["failed_tasks"]) == (0, 2)


@pytest.mark.parametrize("bad_last", [False, True])
def test_the_run_goes_on_to_its_end(connection: Connection, bad_last: bool) -> None:
    run_id = tolerant(connection, 3, max_failed_tasks=1)
    settle(connection, [0], bad_last=bad_last)
    granted = claim_one(connection, "f")
    assert (granted["step_slug"], granted["input"]) == ("total", {"items": [None, 1, 2]})
    succeed(connection, [granted], "sum")
    assert (run(connection, run_id)["status"], run(connection, run_id)["output"]) == (
        "completed",
        {"total": "sum"},
    )


def test_one_failure_too_many_fails_step_and_run(connection: Connection) -> None:
    run_id = tolerant(connection, 4, max_failed_tasks=1)
    granted = claim(connection, "f", 4)
    break_down(connection, granted[:1])
    assert statuses(connection, run_id)["items"] == "started"
    break_down(connection, granted[1:2], "the last straw")
    assert (run(connection, run_id)["status"], state(connection, run_id, "items")["status"]) == (
        "failed",
        "failed",
    )
    assert "the last straw" in state(connection, run_id, "items")["error_message"]
    assert messages(connection, "f") == []


def test_failures_beyond_the_limit_in_one_batch_fail_the_step(connection: Connection) -> None:
    run_id = tolerant(connection, 4, max_failed_tasks=1)
    break_down(connection, claim(connection, "f", 2))
    assert statuses(connection, run_id)["items"] == "failed"


def test_without_a_policy_the_first_failure_fails_the_step(connection: Connection) -> None:
    run_id = tolerant(connection, 3)
    break_down(connection, claim(connection, "f", 1))
    assert statuses(connection, run_id)["items"] == "failed"


def test_a_limit_of_0_is_no_tolerance(connection: Connection) -> None:
    run_id = tolerant(connection, 3, max_failed_tasks=0)
    break_down(connection, claim(connection, "f", 1))
    assert statuses(connection, run_id)["items"] == "failed"


@pytest.mark.parametrize(
    ("percent", "bad", "ending"),
    [(10, 1, "completed"), (10, 2, "failed"), (5, 1, "failed"), (25, 2, "completed")],
)
def test_a_percentage_counts_of_the_maps_tasks(
    connection: Connection, percent: float, bad: int, ending: str
) -> None:
    run_id = tolerant(connection, 10, max_failed_percent=percent)
    settle(connection, range(bad))
    assert statuses(connection, run_id)["items"] == ending


def test_the_larger_of_number_and_percentage_counts(connection: Connection) -> None:
    run_id = tolerant(connection, 10, max_failed_tasks=1, max_failed_percent=30)
    settle(connection, [0, 1, 2])
    assert statuses(connection, run_id)["items"] == "completed"


def test_all_items_may_fail_where_everything_is_tolerated(connection: Connection) -> None:
    run_id = tolerant(connection, 3, max_failed_percent=100)
    settle(connection, [0, 1, 2])
    assert state(connection, run_id, "items")["output"] == [None, None, None]
    assert statuses(connection, run_id)["total"] == "started"


def test_items_are_retried_before_they_count_as_failed(connection: Connection) -> None:
    run_id = tolerant(connection, 2, max_failed_tasks=1, max_attempts=2, base_delay=0)
    break_down(connection, claim(connection, "f", 1))
    assert state(connection, run_id, "items")["failed_tasks"] == 0
    expire(connection, "f")
    break_down(connection, [one for one in claim(connection, "f", 2) if one["tries"] == 2])
    assert state(connection, run_id, "items")["failed_tasks"] == 1


def test_a_tolerated_failure_keeps_the_others_messages(connection: Connection) -> None:
    tolerant(connection, 3, max_failed_tasks=1)
    break_down(connection, claim(connection, "f", 1))
    assert len(messages(connection, "f")) == 2


def test_a_repeated_failure_counts_once(connection: Connection) -> None:
    run_id = tolerant(connection, 3, max_failed_tasks=1)
    granted = claim(connection, "f", 1)
    break_down(connection, granted)
    assert break_down(connection, granted) == ["already_accepted"]
    found = state(connection, run_id, "items")
    assert (found["status"], found["failed_tasks"], found["remaining_tasks"]) == ("started", 1, 2)


def test_a_lost_item_counts_as_failed(connection: Connection) -> None:
    run_id = tolerant(connection, 2, max_failed_tasks=1)
    claim(connection, "f", 1)
    expire(connection, "f")
    lost = [one for one in claim(connection, "f", 2) if one["exhausted"]]
    break_down(connection, lost, "worker lost", kind="lost")
    found = state(connection, run_id, "items")
    assert (found["status"], found["failed_tasks"]) == ("started", 1)


def test_the_contracts_fail_task_follows_the_policy_too(connection: Connection) -> None:
    run_id = tolerant(connection, 2, max_failed_tasks=1)
    (granted,) = claim(connection, "f", 1)
    assert fail(connection, run_id, "items", index=granted["task_index"])["status"] == "failed"
    assert statuses(connection, run_id)["items"] == "started"


def test_beyond_the_limit_when_exhausted_decides(connection: Connection) -> None:
    run_id = tolerant(connection, 3, max_failed_tasks=1, when_exhausted="skip")
    settle(connection, [0, 1])
    assert statuses(connection, run_id) == {"items": "skipped", "total": "started"}
    assert claim_one(connection, "f")["input"] == {}


def test_a_tolerated_failure_is_no_event(connection: Connection) -> None:
    record_events(connection)
    run_id = tolerant(connection, 2, max_failed_tasks=1)
    settle(connection, [1])
    assert event_names(connection, run_id)[2:] == ["step:items:completed", "step:total:started"]


def test_failed_items_are_listed_with_input_and_error(connection: Connection) -> None:
    run_id = tolerant(connection, 3, max_failed_percent=100)
    settle(connection, [2])
    (found,) = rows(connection, "select * from pgflow.failed_tasks where run_id = %s", run_id)
    told = {
        name: found[name]
        for name in (
            "flow_slug",
            "step_slug",
            "task_index",
            "input",
            "error_message",
            "attempts_count",
        )
    }
    assert told == {
        "flow_slug": "f",
        "step_slug": "items",
        "task_index": 2,
        "input": 2,
        "error_message": "no luck",
        "attempts_count": 1,
    }


def test_a_map_over_a_tolerant_map_gets_null_for_failed_items(connection: Connection) -> None:
    steps: Steps = [
        {"slug": "items", "step_type": "map", "max_attempts": 1, "max_failed_percent": 100},
        {"slug": "next", "step_type": "map", "depends_on": ["items"]},
    ]
    version(connection, "f", steps)
    start(connection, "f", [0, 1, 2])
    settle(connection, [1])
    granted: list[Row] = sorted(claim(connection, "f", 9), key=lambda one: one["task_index"])
    assert [one["input"] for one in granted] == [0, None, 2]


def test_the_failed_items_of_a_completed_run_can_be_retried(connection: Connection) -> None:
    items = {"slug": "items", "step_type": "map", "max_attempts": 1, "max_failed_percent": 100}
    version(connection, "f", [items])
    run_id = start(connection, "f", [0, 1, 2])["run_id"]
    settle(connection, [0, 2])
    assert run(connection, run_id)["output"] == {"items": [None, 1, None]}
    call(connection, "retry_run", run_id=run_id)
    assert (
        run(connection, run_id)["status"],
        state(connection, run_id, "items")["failed_tasks"],
    ) == ("started", 0)
    settle(connection, [])
    assert (run(connection, run_id)["status"], run(connection, run_id)["output"]) == (
        "completed",
        {"items": [0, 1, 2]},
    )


def test_what_followed_a_map_runs_again_when_its_failed_items_are_retried(
    connection: Connection,
) -> None:
    run_id = tolerant(connection, 2, max_failed_percent=100)
    settle(connection, [1])
    succeed(connection, claim(connection, "f"), "half")
    assert run(connection, run_id)["output"] == {"total": "half"}
    call(connection, "retry_run", run_id=run_id)
    settle(connection, [])
    granted = claim_one(connection, "f")
    assert (granted["step_slug"], granted["input"]) == ("total", {"items": [0, 1]})
    succeed(connection, [granted], "whole")
    assert run(connection, run_id)["output"] == {"total": "whole"}


def test_a_failed_item_can_not_be_completed_late(connection: Connection) -> None:
    run_id = tolerant(connection, 2, max_failed_tasks=1)
    granted = claim(connection, "f", 1)
    break_down(connection, granted)
    assert outcomes(connection, "complete_tasks", granted, outputs=[None])[0] != "accepted"
    assert task(connection, run_id, "items", granted[0]["task_index"])["status"] == "failed"
    assert [one["status"] for one in tasks(connection, run_id, "items")].count("failed") == 1

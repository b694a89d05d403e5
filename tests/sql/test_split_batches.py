"""pgflow.split_batches: a batch some of whose items failed is reported item by item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from psycopg.types.json import Jsonb

from tests.support.sql import (
    Connection,
    archived,
    attempts,
    call,
    claim,
    complete_batch,
    event_names,
    make_visible,
    messages,
    record_events,
    refused,
    run,
    start,
    state,
    statuses,
    tasks,
)
from tests.support.tasks import (
    Steps,
    arrays,
    break_down,
    expire,
    indexes_of,
    reports,
    root_map,
    snapshot,
    version,
)

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from tests.support.sql import Row

FLOW = "numbers"


def ok(output: object) -> dict[str, object]:
    return {"output": output}


def bad(error: str = "boom", **details: object) -> dict[str, object]:
    return {"error": error, "details": details} if details else {"error": error}


GONE_BACK: dict[str, object] = {"released": True}


def split(connection: Connection, granted: Sequence[Row], *results: list[Any]) -> list[str]:
    """Split granted batches; outcomes as they came."""
    given = [Jsonb(result) for result in results]
    found = call(connection, "split_batches", **arrays(granted), results=given)
    assert [(one["run_id"], one["task_index"]) for one in found] == [
        (one["run_id"], one["task_index"]) for one in granted
    ]
    return [one["outcome"] for one in found]


def batched(connection: Connection, count: int, size: int = 4, **step: object) -> uuid.UUID:
    return root_map(connection, count, FLOW, batch_size=size, **step)


def all_due(connection: Connection) -> list[Row]:
    """Claim everything that is due, in the order of the items."""
    return sorted(claim(connection, FLOW, 100), key=lambda one: one["task_index"])


def finish(connection: Connection) -> None:
    while granted := all_due(connection):
        outputs = [one["input"] for one in granted]
        assert set(complete_batch(connection, granted, outputs)) == {"accepted"}


# What becomes of the items


def test_items_complete_and_fail_each_for_itself(connection: Connection) -> None:
    run_id = batched(connection, 4)
    (granted,) = all_due(connection)
    assert split(connection, [granted], [ok("a"), bad("no"), ok(None), ok({"d": 4})]) == [
        "accepted"
    ]
    found = tasks(connection, run_id)
    assert [(one["task_index"], one["items"], one["input"]) for one in found] == [
        (index, None, index) for index in range(4)
    ]
    assert [one["status"] for one in found] == ["completed", "queued", "completed", "completed"]
    assert [one["output"] for one in found] == ["a", None, None, {"d": 4}]
    assert [one["error_message"] for one in found] == [None, "no", None, None]
    assert [one["attempts_count"] for one in found] == [1, 1, 1, 1]
    assert state(connection, run_id, "items")["remaining_tasks"] == 1
    (retry,) = all_due(connection)
    assert (retry["task_index"], retry["input"], retry["items"]) == (1, 1, None)
    assert (retry["attempt"], retry["tries"]) == (2, 2)
    assert complete_batch(connection, [retry], ["b"]) == ["accepted"]
    assert run(connection, run_id)["output"] == {"items": ["a", "b", None, {"d": 4}]}


def test_only_what_is_retried_has_a_message(connection: Connection) -> None:
    batched(connection, 4, base_delay=50)
    (granted,) = all_due(connection)
    split(connection, [granted], [ok(0), bad(), bad(), ok(3)])
    found = messages(connection, FLOW)
    assert [one["message"]["task_index"] for one in found] == [1, 2]
    assert [round(one["delay"]) for one in found] == [100, 100]
    assert [one["msg_id"] for one in archived(connection, FLOW)] == [granted["msg_id"]]


def test_the_first_item_keeps_the_message(connection: Connection) -> None:
    batched(connection, 3, 3)
    (granted,) = all_due(connection)
    split(connection, [granted], [bad(), ok(1), ok(2)])
    (kept,) = messages(connection, FLOW)
    assert kept["msg_id"] == granted["msg_id"]
    (again,) = all_due(connection)
    assert again["task_index"] == 0


def test_each_failed_item_has_its_attempt_and_details(connection: Connection) -> None:
    run_id = batched(connection, 3, 3)
    (granted,) = all_due(connection)
    split(connection, [granted], [bad("x", kind="timeout"), ok(1), bad("y", type="ValueError")])
    found = attempts(connection, run_id)
    assert [(one["task_index"], one["attempt"], one["outcome"], one["error"]) for one in found] == [
        (0, 1, "failed", "x"),
        (2, 1, "failed", "y"),
    ]
    assert [one["details"] for one in found] == [{"kind": "timeout"}, {"type": "ValueError"}]
    assert {one["worker_id"] for one in found} != {None}


def test_retry_after_and_final_are_heeded_for_each_item(connection: Connection) -> None:
    run_id = batched(connection, 3, 3, max_failed_tasks=1)
    (granted,) = all_due(connection)
    split(connection, [granted], [bad(retry_after=30), bad("for good", final=True), bad()])
    assert [one["status"] for one in tasks(connection, run_id)] == ["queued", "failed", "queued"]
    delays = {
        one["message"]["task_index"]: round(one["delay"]) for one in messages(connection, FLOW)
    }
    assert delays == {0: 30, 2: 0}
    found = state(connection, run_id, "items")
    assert (found["failed_tasks"], found["remaining_tasks"]) == (1, 2)
    make_visible(connection, FLOW)
    finish(connection)
    assert run(connection, run_id)["output"] == {"items": [0, None, 2]}


def test_a_final_item_beyond_the_policy_fails_the_run(connection: Connection) -> None:
    record_events(connection)
    run_id = batched(connection, 8)
    granted = all_due(connection)
    result = [ok(0), bad("for good", final=True), bad("later"), GONE_BACK]
    assert split(connection, granted[:1], result) == ["accepted"]
    assert run(connection, run_id)["status"] == "failed"
    assert run(connection, run_id)["error_message"] == "for good"
    assert messages(connection, FLOW) == []
    assert event_names(connection, run_id)[2:] == ["step:items:failed", "run:failed"]
    assert [one["status"] for one in tasks(connection, run_id)] == [
        "completed", "failed", "queued", "queued", "started",
    ]  # fmt: skip


def test_the_last_attempts_of_items_finish_the_step_within_the_policy(
    connection: Connection,
) -> None:
    run_id = batched(connection, 4, max_attempts=1, max_failed_tasks=2)
    (granted,) = all_due(connection)
    assert split(connection, [granted], [bad(), ok(1), bad(), ok(3)]) == ["accepted"]
    assert run(connection, run_id)["output"] == {"items": [None, 1, None, 3]}
    assert messages(connection, FLOW) == []


def test_when_exhausted_skip_skips_the_step(connection: Connection) -> None:
    steps: Steps = [
        {
            "slug": "items",
            "step_type": "map",
            "batch_size": 3,
            "max_attempts": 1,
            "when_exhausted": "skip",
        },
        {"slug": "after", "depends_on": ["items"]},
    ]
    version(connection, FLOW, steps)
    run_id = start(connection, FLOW, [1, 2, 3])["run_id"]
    (granted,) = all_due(connection)
    split(connection, [granted], [ok(1), bad(), ok(3)])
    assert statuses(connection, run_id) == {"items": "skipped", "after": "started"}


def test_released_items_go_back_without_spending_an_attempt(connection: Connection) -> None:
    run_id = batched(connection, 4)
    (granted,) = all_due(connection)
    assert split(connection, [granted], [ok(0), bad(), GONE_BACK, GONE_BACK]) == ["accepted"]
    again = all_due(connection)
    assert [(one["task_index"], one["attempt"], one["tries"]) for one in again] == [
        (1, 2, 2), (2, 2, 1), (3, 2, 1),
    ]  # fmt: skip
    assert [(one["task_index"], one["outcome"]) for one in attempts(connection, run_id)] == [
        (1, "failed"), (2, "released"), (3, "released"),
    ]  # fmt: skip


def test_what_was_released_before_does_not_count_for_the_items(connection: Connection) -> None:
    run_id = batched(connection, 2, 2, max_attempts=2)
    call(connection, "release_tasks", **arrays(all_due(connection)))
    assert split(connection, all_due(connection), [bad(), bad()]) == ["accepted"]
    assert [one["status"] for one in tasks(connection, run_id)] == ["queued", "queued"]
    again = all_due(connection)
    assert {(one["attempt"], one["tries"]) for one in again} == {(3, 2)}
    break_down(connection, again)
    assert run(connection, run_id)["status"] == "failed"


def test_all_items_may_have_completed(connection: Connection) -> None:
    run_id = batched(connection, 3, 3)
    (granted,) = all_due(connection)
    assert split(connection, [granted], [ok(1), ok(2), ok(3)]) == ["accepted"]
    assert run(connection, run_id)["output"] == {"items": [1, 2, 3]}
    assert messages(connection, FLOW) == []


def test_several_batches_of_several_runs_at_once(connection: Connection) -> None:
    first = batched(connection, 6, 3)
    second = start(connection, FLOW, [7, 8, 9])["run_id"]
    granted = all_due(connection)
    results = {
        (first, 0): [ok(0), bad(), ok(2)],
        (first, 3): [bad("x", final=True), ok(4), ok(5)],
        (second, 0): [ok(7), ok(8), bad()],
    }
    given = [results[one["run_id"], one["task_index"]] for one in granted]
    assert split(connection, granted, *given) == ["accepted"] * 3
    assert run(connection, first)["status"] == "failed"
    assert state(connection, second, "items")["remaining_tasks"] == 1
    finish(connection)
    assert run(connection, second)["output"] == {"items": [7, 8, 9]}


def test_an_item_that_succeeds_later_is_on_record(connection: Connection) -> None:
    run_id = batched(connection, 2, 2)
    (granted,) = all_due(connection)
    call(connection, "release_tasks", **arrays([granted]))
    (granted,) = all_due(connection)
    split(connection, [granted], [ok(0), bad()])
    assert [
        (one["task_index"], one["attempt"], one["outcome"]) for one in attempts(connection, run_id)
    ] == [(0, 1, "released"), (0, 2, "completed"), (1, 2, "failed")]


# Fences


def test_a_stale_fence_changes_nothing(connection: Connection) -> None:
    run_id = batched(connection, 3, 3)
    stale = all_due(connection)
    call(connection, "release_tasks", **arrays(stale))
    live = all_due(connection)
    before = snapshot(connection, run_id)
    assert split(connection, stale, [ok(0), bad(), ok(2)]) == ["stale"]
    assert snapshot(connection, run_id) == before
    assert split(connection, live, [ok(0), bad(), ok(2)]) == ["accepted"]


@pytest.mark.parametrize(
    "results", [[ok(0), bad(), ok(2)], [bad(), ok(1), ok(2)], [ok(0), ok(1), ok(2)]]
)
def test_repeating_a_report_is_already_accepted(
    connection: Connection, results: list[dict[str, object]]
) -> None:
    run_id = batched(connection, 3, 3)
    granted = all_due(connection)
    split(connection, granted, results)
    before = snapshot(connection, run_id)
    assert split(connection, granted, results) == ["already_accepted"]
    assert snapshot(connection, run_id) == before


def test_repeating_a_report_after_the_first_item_ran_again_is_already_accepted(
    connection: Connection,
) -> None:
    batched(connection, 3, 3)
    granted = all_due(connection)
    results = [bad(), ok(1), bad()]
    split(connection, granted, results)
    all_due(connection)
    assert split(connection, granted, results) == ["already_accepted"]


def test_no_fence_of_a_batch_is_used_again_for_an_item(connection: Connection) -> None:
    run_id = batched(connection, 3, 3, max_attempts=9)
    granted = all_due(connection)
    expire(connection, FLOW)
    seen = {(index, granted[0]["attempt"]) for index in range(3)}
    for _ in range(3):
        again = all_due(connection) + all_due(connection)
        fences = {(one["task_index"], one["attempt"]) for one in again}
        assert len(fences) == 3
        assert not fences & seen
        seen |= fences
        break_down(connection, again)
        make_visible(connection, FLOW)
    assert indexes_of(all_due(connection)) == [0, 1, 2]
    assert {one["items"] for one in tasks(connection, run_id)} == {None}


def test_a_report_to_a_run_that_is_over_ends_the_batch(connection: Connection) -> None:
    run_id = batched(connection, 3, 3)
    granted = all_due(connection)
    call(connection, "cancel_run", run_id=run_id)
    assert split(connection, granted, [ok(0), bad("late"), ok(2)]) == ["finished"]
    (left,) = tasks(connection, run_id)
    assert (left["status"], left["error_message"], left["items"]) == ("failed", "late", 3)


def test_live_and_stale_reports_are_told_apart_in_their_order(connection: Connection) -> None:
    batched(connection, 4, 2)
    granted = all_due(connection)
    mixed = [{**granted[1], "attempt": 9}, granted[0]]
    assert split(connection, mixed, [ok(2), bad()], [ok(0), bad()]) == ["stale", "accepted"]


# What is refused


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        ({"output": 1}, "needs an array of results"),
        ([ok(1)], "needs a result for each of its 3 items, not 1"),
        ([ok(1)] * 4, "needs a result for each of its 3 items, not 4"),
        *(
            (
                [ok(1), odd, ok(3)],
                'has a result that is not one of "output", "error" (a string) and "released" (true)',
            )
            for odd in (
                7,
                {},
                {"error": 5},
                {"output": 1, "error": "both"},
                {"released": False},
            )
        ),
    ],
)
def test_a_report_that_does_not_fit_is_refused(
    connection: Connection, result: object, problem: str
) -> None:
    run_id = batched(connection, 3, 3)
    granted = all_due(connection)
    before = snapshot(connection, run_id)
    with refused(connection, f"Task items[0] of run {run_id} {problem}", "22023"):
        call(connection, "split_batches", **arrays(granted), results=[Jsonb(result)])
    assert snapshot(connection, run_id) == before


def test_a_task_that_is_no_batch_is_refused(connection: Connection) -> None:
    run_id = root_map(connection, 1, FLOW)
    granted = all_due(connection)
    with refused(connection, f"Task items[0] of run {run_id} is no batch", "22023"):
        split(connection, granted, [ok(1)])


def test_nothing_to_report_is_no_error(connection: Connection) -> None:
    assert reports(connection, "split_batches", [], results=[]) == []

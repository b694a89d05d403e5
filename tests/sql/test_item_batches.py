"""Maps with batch_size: one task carries several items, and nothing that counts items can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.sql import (
    Connection,
    add_step,
    archived,
    attempts,
    begin,
    call,
    change,
    claim,
    complete_batch,
    define,
    make_visible,
    messages,
    refused,
    row,
    rows,
    run,
    start,
    state,
    statuses,
    tasks,
    value,
)
from tests.support.tasks import (
    Steps,
    arrays,
    break_down,
    claim_one,
    expire,
    indexes_of,
    outcomes,
    root_map,
    snapshot,
    succeed,
    version,
)

if TYPE_CHECKING:
    import uuid

    from tests.support.sql import Row

FLOW = "numbers"


def batched(connection: Connection, count: int, size: int = 4, **step: object) -> uuid.UUID:
    """Start a root map over 0..count-1, `size` items a task, and return the run's id."""
    return root_map(connection, count, FLOW, batch_size=size, **step)


def doubled(granted: list[Row]) -> list[object]:
    """Return the outputs of granted tasks whose handler doubles: arrays for batches."""
    return [
        one["input"] * 2 if one["items"] is None else [item * 2 for item in one["input"]]
        for one in granted
    ]


def finish(connection: Connection, qty: int = 100) -> None:
    """Claim and complete everything that is due."""
    while granted := claim(connection, FLOW, qty):
        assert set(complete_batch(connection, granted, doubled(granted))) == {"accepted"}


def pages(connection: Connection, run_id: uuid.UUID, step: str, size: int) -> list[list[Row]]:
    """Read all outputs of a step page by page."""
    found: list[list[Row]] = []
    after = -1
    while page := call(
        connection, "step_output", run_id=run_id, step_slug=step, after_index=after, max_rows=size
    ):
        found.append(page)
        after = page[-1]["task_index"]
    return found


# Definition


def test_add_step_stores_the_batch_size(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    assert add_step(connection, "f", "m", ["a"], step_type="map", batch_size=7)[
        "opt_batch_size"
    ] == (7)


@pytest.mark.parametrize(
    ("step", "constraint"),
    [
        ({"step_type": "map", "batch_size": 0}, "opt_batch_size_is_in_range"),
        ({"step_type": "map", "batch_size": 10_001}, "opt_batch_size_is_in_range"),
        ({"step_type": "single", "batch_size": 5}, "opt_batch_size_needs_an_array"),
        (
            {"step_type": "map", "initial_tasks": 9, "batch_size": 5},
            "opt_batch_size_needs_an_array",
        ),
    ],
)
def test_a_batch_size_that_cannot_be_is_refused(
    connection: Connection, step: dict[str, Any], constraint: str
) -> None:
    message = f'new row for relation "steps" violates check constraint "{constraint}"'
    define(connection, "f", {"a": []})
    with refused(connection, message):
        add_step(connection, "f", "m", **step)
    with refused(connection, message):
        version(connection, "g", [{"slug": "m", **step}])


def test_the_batch_size_changes_in_place_and_live_runs_keep_theirs(connection: Connection) -> None:
    run_id = batched(connection, 8, 4)
    steps: Steps = [{"slug": "items", "step_type": "map", "batch_size": 2}]
    assert version(connection, FLOW, steps, base_delay=0) == 1
    later = start(connection, FLOW, list(range(8)))["run_id"]
    assert [one["items"] for one in tasks(connection, run_id)] == [4, 4]
    assert [one["items"] for one in tasks(connection, later)] == [2, 2, 2, 2]


def test_an_older_version_has_its_batch_size(connection: Connection) -> None:
    batched(connection, 1, 4)
    version(connection, FLOW, [{"slug": "other"}, {"slug": "items", "step_type": "map"}])
    run_id = start(connection, FLOW, list(range(5)), version=1)["run_id"]
    assert [one["items"] for one in tasks(connection, run_id)] == [4, 1]


def test_a_flow_built_step_by_step_keeps_it_when_it_is_adopted(connection: Connection) -> None:
    define(connection, FLOW, {"items": {"step_type": "map", "batch_size": 3}})
    version(connection, FLOW, [{"slug": "other"}])
    run_id = start(connection, FLOW, list(range(4)), version=1)["run_id"]
    assert [one["items"] for one in tasks(connection, run_id)] == [3, 1]


# Creation


@pytest.mark.parametrize(
    ("count", "size", "shape"),
    [
        (8, 4, [(0, 4), (4, 4)]),
        (9, 4, [(0, 4), (4, 4), (8, 1)]),
        (3, 4, [(0, 3)]),
        (1, 4, [(0, 1)]),
        (3, 1, [(0, None), (1, None), (2, None)]),
    ],
)
def test_items_are_grouped_in_order(
    connection: Connection, count: int, size: int, shape: list[tuple[int, int | None]]
) -> None:
    run_id = batched(connection, count, size)
    found = tasks(connection, run_id)
    assert [(one["task_index"], one["items"]) for one in found] == shape
    given = [one["input"] if one["items"] else [one["input"]] for one in found]
    assert [item for batch in given for item in batch] == list(range(count))
    step = state(connection, run_id, "items")
    assert (step["initial_tasks"], step["remaining_tasks"]) == (count, count)


def test_a_batch_has_one_message_with_the_four_keys(connection: Connection) -> None:
    run_id = batched(connection, 6, 4)
    assert [one["message"] for one in messages(connection, FLOW)] == [
        {"flow_slug": FLOW, "run_id": str(run_id), "step_slug": "items", "task_index": index}
        for index in (0, 4)
    ]


def test_no_items_are_no_batches(connection: Connection) -> None:
    run_id = batched(connection, 0)
    assert (run(connection, run_id)["status"], tasks(connection, run_id)) == ("completed", [])
    assert state(connection, run_id, "items")["output"] == []


# Completion and aggregation


def test_a_completed_batch_counts_each_item(connection: Connection) -> None:
    run_id = batched(connection, 6, 4)
    granted = claim_one_of(connection)
    assert complete_batch(connection, [granted], doubled([granted])) == ["accepted"]
    assert state(connection, run_id, "items")["remaining_tasks"] == 2
    finish(connection)
    assert run(connection, run_id)["output"] == {"items": [0, 2, 4, 6, 8, 10]}
    assert len(archived(connection, FLOW)) == 2


def claim_one_of(connection: Connection) -> Row:
    """Claim one of several tasks that are due."""
    (granted,) = claim(connection, FLOW, 1)
    return granted


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ([1, 2, 3], "an array of 3"),
        ([1, 2, 3, 4, 5], "an array of 5"),
        ({"not": "an array"}, "object"),
        (None, "null"),
    ],
)
def test_a_batch_with_another_number_of_outputs_is_refused(
    connection: Connection, output: object, found: str
) -> None:
    run_id = batched(connection, 4, 4)
    granted = claim(connection, FLOW, 1)
    before = snapshot(connection, run_id)
    message = (
        f"Task items[0] of run {run_id} is a batch: its output must be an array of 4, not {found}"
    )
    with refused(connection, message, "22023"):
        complete_batch(connection, granted, [output])
    assert snapshot(connection, run_id) == before


def test_children_get_the_outputs_in_order_whatever_order_batches_end_in(
    connection: Connection,
) -> None:
    steps: Steps = [
        {"slug": "items", "step_type": "map", "batch_size": 3},
        {"slug": "again", "step_type": "map", "depends_on": ["items"], "batch_size": 2},
        {"slug": "total", "depends_on": ["again"]},
    ]
    version(connection, FLOW, steps)
    run_id = start(connection, FLOW, list(range(8)))["run_id"]
    granted = sorted(claim(connection, FLOW, 9), key=lambda one: -one["task_index"])
    complete_batch(connection, granted, doubled(granted))
    again = sorted(claim(connection, FLOW, 9), key=lambda one: one["task_index"])
    assert [one["input"] for one in again] == [[0, 2], [4, 6], [8, 10], [12, 14]]
    complete_batch(connection, again, doubled(again))
    (total,) = claim(connection, FLOW, 9)
    assert total["input"] == {"again": [4 * item for item in range(8)]}
    assert succeed(connection, [total]) == ["accepted"]
    assert run(connection, run_id)["status"] == "completed"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 10, 11, 100])
def test_pages_unfold_batches_and_may_begin_and_end_inside_one(
    connection: Connection, size: int
) -> None:
    run_id = batched(connection, 11, 4)
    finish(connection)
    found = pages(connection, run_id, "items", size)
    assert {len(page) for page in found[:-1]} <= {size}
    assert [(one["task_index"], one["output"]) for page in found for one in page] == [
        (item, 2 * item) for item in range(11)
    ]


def test_pages_hold_what_is_over_only(connection: Connection) -> None:
    run_id = batched(connection, 12, 4)
    granted = sorted(claim(connection, FLOW, 9), key=lambda one: one["task_index"])
    complete_batch(connection, granted[1:2], doubled(granted[1:2]))
    (page,) = pages(connection, run_id, "items", 100)
    assert [one["task_index"] for one in page] == [4, 5, 6, 7]


def test_outputs_too_large_for_one_value_go_to_a_map_by_item(connection: Connection) -> None:
    steps: Steps = [
        {"slug": "items", "step_type": "map", "batch_size": 4},
        {"slug": "again", "step_type": "map", "depends_on": ["items"], "batch_size": 3},
        {"slug": "total", "depends_on": ["items"]},
    ]
    version(connection, FLOW, steps)
    run_id = start(connection, FLOW, list(range(6)))["run_id"]
    change(
        connection, "update pgflow.step_states set output_bytes = 1e12 where step_slug = 'items'"
    )
    granted = claim(connection, FLOW, 9)
    complete_batch(connection, granted, doubled(granted))
    assert state(connection, run_id, "items")["output"] is None
    later = {one["step_slug"] + str(one["task_index"]): one for one in claim(connection, FLOW, 9)}
    assert later["again0"]["input"] == [0, 2, 4]
    assert later["again3"]["input"] == [6, 8, 10]
    assert (later["total0"]["input"], later["total0"]["deferred"]) == ({}, ["items"])


# Failures, retries and policies


def test_a_failed_batch_becomes_tasks_of_its_items(connection: Connection) -> None:
    run_id = batched(connection, 6, 4, max_attempts=3)
    granted = claim_one_of(connection)
    assert break_down(connection, [granted]) == ["accepted"]
    found = tasks(connection, run_id)
    assert [
        (one["task_index"], one["items"], one["status"], one["attempts_count"]) for one in found
    ] == [
        *((index, None, "queued", 1) for index in range(4)),
        (4, 2, "queued", 0),
    ]
    assert [one["input"] for one in found] == [0, 1, 2, 3, [4, 5]]
    assert [(one["task_index"], one["outcome"]) for one in attempts(connection, run_id)] == [
        (index, "failed") for index in range(4)
    ]
    assert state(connection, run_id, "items")["remaining_tasks"] == 6
    finish(connection)
    assert run(connection, run_id)["output"] == {"items": [0, 2, 4, 6, 8, 10]}


def test_repeating_the_failure_of_a_batch_is_already_accepted(connection: Connection) -> None:
    run_id = batched(connection, 4, 4)
    granted = claim(connection, FLOW, 1)
    break_down(connection, granted)
    before = snapshot(connection, run_id)
    assert break_down(connection, granted) == ["already_accepted"]
    assert snapshot(connection, run_id) == before


def test_one_stale_report_beside_a_failed_batch_is_told_so(connection: Connection) -> None:
    """A batch of two becomes as many tasks as there are reports: the stale one must not pass for one of them."""
    run_id = batched(connection, 4, 2)
    granted = sorted(claim(connection, FLOW, 9), key=lambda one: one["task_index"])
    stale = {**granted[1], "attempt": 7}
    assert break_down(connection, [granted[0], stale]) == ["accepted", "stale"]
    assert [one["status"] for one in tasks(connection, run_id)] == ["queued", "queued", "started"]


def test_retries_of_a_batch_come_behind_the_backoff_one_by_one(connection: Connection) -> None:
    version(
        connection, FLOW, [{"slug": "items", "step_type": "map", "batch_size": 3}], base_delay=50
    )
    start(connection, FLOW, [1, 2, 3])
    break_down(connection, claim(connection, FLOW, 1))
    found = messages(connection, FLOW)
    assert [round(one["delay"]) for one in found] == [100, 100, 100]
    assert [one["message"]["task_index"] for one in found] == [0, 1, 2]


def test_the_failures_of_a_batch_count_item_by_item_against_the_policy(
    connection: Connection,
) -> None:
    run_id = batched(connection, 8, 4, max_attempts=1, max_failed_tasks=4)
    granted = sorted(claim(connection, FLOW, 9), key=lambda one: one["task_index"])
    break_down(connection, granted[:1])
    found = state(connection, run_id, "items")
    assert (found["status"], found["failed_tasks"], found["remaining_tasks"]) == ("started", 4, 4)
    complete_batch(connection, granted[1:], doubled(granted[1:]))
    assert run(connection, run_id)["output"] == {"items": [None] * 4 + [8, 10, 12, 14]}


def test_one_item_too_many_fails_the_run(connection: Connection) -> None:
    run_id = batched(connection, 8, 4, max_attempts=1, max_failed_tasks=3)
    break_down(connection, [claim_one_of(connection)])
    assert run(connection, run_id)["status"] == "failed"
    assert messages(connection, FLOW) == []


def test_retry_takes_up_the_items_that_failed_and_batches_that_had_not_run(
    connection: Connection,
) -> None:
    run_id = batched(connection, 8, 4, max_attempts=1)
    granted = sorted(claim(connection, FLOW, 9), key=lambda one: one["task_index"])
    break_down(connection, granted[:1])
    assert run(connection, run_id)["status"] == "failed"
    (retried,) = call(connection, "retry_run", run_id=run_id)
    assert retried["status"] == "started"
    assert state(connection, run_id, "items")["remaining_tasks"] == 8
    again = claim(connection, FLOW, 100)
    assert sorted((one["task_index"], one["items"]) for one in again) == [
        *((index, None) for index in range(4)),
        (4, 4),
    ]
    complete_batch(connection, again, doubled(again))
    assert run(connection, run_id)["output"] == {"items": [2 * item for item in range(8)]}


def test_retry_of_a_completed_run_counts_the_items_of_whole_batches(connection: Connection) -> None:
    run_id = batched(connection, 8, 4, max_attempts=1, max_failed_tasks=8)
    granted = sorted(claim(connection, FLOW, 9), key=lambda one: one["task_index"])
    complete_batch(connection, granted[1:], doubled(granted[1:]))
    break_down(connection, granted[:1])
    assert run(connection, run_id)["status"] == "completed"
    call(connection, "retry_run", run_id=run_id)
    assert state(connection, run_id, "items")["remaining_tasks"] == 4
    finish(connection)
    assert run(connection, run_id)["output"] == {"items": [2 * item for item in range(8)]}


def test_failed_tasks_lists_items(connection: Connection) -> None:
    run_id = batched(connection, 4, 2, max_attempts=1, max_failed_tasks=4)
    break_down(connection, [claim_one_of(connection)], "boom")
    query = "select task_index, input, error_message from pgflow.failed_tasks where run_id = %s order by 1"
    assert [tuple(one.values()) for one in rows(connection, query, run_id)] == [
        (0, 0, "boom"),
        (1, 1, "boom"),
    ]


def test_a_batch_that_fails_after_its_run_has_ended_is_listed_by_item(
    connection: Connection,
) -> None:
    run_id = batched(connection, 3, 3)
    granted = claim(connection, FLOW, 1)
    call(connection, "cancel_run", run_id=run_id)
    assert break_down(connection, granted, "late") == ["finished"]
    query = "select task_index, input from pgflow.failed_tasks where run_id = %s order by 1"
    assert [tuple(one.values()) for one in rows(connection, query, run_id)] == [
        (0, 0),
        (1, 1),
        (2, 2),
    ]
    (page,) = pages(connection, run_id, "items", 100)
    assert [tuple(one.values()) for one in page] == [(0, None), (1, None), (2, None)]


# Leases


def test_a_released_batch_goes_back_as_one(connection: Connection) -> None:
    run_id = batched(connection, 4, 4)
    granted = claim(connection, FLOW, 1)
    before = messages(connection, FLOW)
    assert outcomes(connection, "release_tasks", granted) == ["accepted"]
    (again,) = claim(connection, FLOW, 9)
    assert (again["items"], again["attempt"], again["tries"]) == (4, 2, 1)
    assert [one["msg_id"] for one in messages(connection, FLOW)] == [
        one["msg_id"] for one in before
    ]
    assert len(tasks(connection, run_id)) == 1


def test_a_batch_whose_worker_died_is_granted_item_by_item(connection: Connection) -> None:
    run_id = batched(connection, 8, 4)
    lost = claim_one_of(connection)
    first = lost["task_index"]
    finish_others(connection, run_id, first)
    expire(connection, FLOW)
    (again,) = claim(connection, FLOW, 1)
    assert (again["task_index"], again["items"], again["input"]) == (first, None, first)
    assert (again["attempt"], again["tries"], again["recovered"]) == (2, 2, True)
    rest = claim(connection, FLOW, 9)
    assert indexes_of(rest) == [first + 1, first + 2, first + 3]
    assert {(one["items"], one["attempt"], one["tries"]) for one in rest} == {(None, 2, 2)}
    assert [
        (one["task_index"], one["attempt"], one["outcome"]) for one in attempts(connection, run_id)
    ] == [(first + number, 1, "lost") for number in range(4)]
    assert {one["worker_id"] for one in attempts(connection, run_id)} != {None}
    granted = [again, *rest]
    assert complete_batch(connection, granted, doubled(granted)) == ["accepted"] * 4
    assert run(connection, run_id)["output"] == {"items": [2 * item for item in range(8)]}


def finish_others(connection: Connection, run_id: uuid.UUID, first: int) -> None:
    """Complete every task of the run but the one at the given index."""
    granted = [one for one in claim(connection, FLOW, 9) if one["run_id"] == run_id]
    assert first not in indexes_of(granted)
    complete_batch(connection, granted, doubled(granted))


def test_what_the_dead_worker_says_of_a_split_batch_is_stale(connection: Connection) -> None:
    run_id = batched(connection, 3, 3)
    lost = claim(connection, FLOW, 1)
    expire(connection, FLOW)
    claim(connection, FLOW, 1)
    before = snapshot(connection, run_id)
    assert complete_batch(connection, lost, doubled(lost)) == ["stale"]
    assert break_down(connection, lost) == ["stale"]
    assert snapshot(connection, run_id) == before


def test_a_poison_item_takes_no_further_attempt_from_the_others(connection: Connection) -> None:
    run_id = batched(connection, 4, 4, max_attempts=3)
    for _ in range(3):
        # Whoever gets item 2 dies; everything else completes.
        granted = claim(connection, FLOW, 100)
        good = [one for one in granted if one["items"] is None and one["input"] != 2]
        complete_batch(connection, good, doubled(good))
        while more := claim(connection, FLOW, 100):
            good = [one for one in more if one["input"] != 2]
            complete_batch(connection, good, doubled(good))
        expire(connection, FLOW)
    (exhausted,) = claim(connection, FLOW, 100)
    assert (exhausted["task_index"], exhausted["exhausted"]) == (2, True)
    found = tasks(connection, run_id)
    assert [one["attempts_count"] for one in found] == [2, 2, 4, 2]
    assert [one["status"] for one in found] == ["completed", "completed", "started", "completed"]


def test_a_lost_batch_without_attempts_left_fails_with_all_its_items(
    connection: Connection,
) -> None:
    run_id = batched(connection, 3, 3, max_attempts=1, max_failed_tasks=3)
    claim(connection, FLOW, 1)
    expire(connection, FLOW)
    granted = claim_one(connection, FLOW)
    assert (granted["exhausted"], granted["items"]) == (True, 3)
    assert break_down(connection, [granted], "lost", kind="lost") == ["accepted"]
    assert run(connection, run_id)["output"] == {"items": [None, None, None]}
    assert state(connection, run_id, "items")["failed_tasks"] == 3


def test_extending_the_lease_of_a_batch_hides_its_message(connection: Connection) -> None:
    batched(connection, 3, 3)
    granted = claim(connection, FLOW, 1, lease=5)
    (report,) = call(connection, "extend_leases", **arrays(granted), lease=100)
    assert report["outcome"] == "accepted"
    assert [round(one["delay"]) for one in messages(connection, FLOW)] == [100]


def test_workers_of_the_original_protocol_get_items(connection: Connection) -> None:
    run_id = batched(connection, 3, 3)
    (first,) = begin(connection, FLOW, 10)
    assert (first["task_index"], first["input"]) == (0, 0)
    rest = begin(connection, FLOW, 10)
    assert [(one["task_index"], one["input"]) for one in rest] == [(1, 1), (2, 2)]
    assert [one["attempts_count"] for one in tasks(connection, run_id)] == [1, 1, 1]
    assert attempts(connection, run_id) == []


def test_a_stalled_batch_is_requeued_item_by_item(connection: Connection) -> None:
    run_id = batched(connection, 3, 3)
    claim(connection, FLOW, 1)
    change(connection, "update pgflow.step_tasks set started_at = now() - interval '1 hour'")
    assert value(connection, "select pgflow.requeue_stalled_tasks()") == 3
    assert {
        (one["status"], one["requeued_count"], one["items"]) for one in tasks(connection, run_id)
    } == {("queued", 1, None)}
    assert [one["outcome"] for one in attempts(connection, run_id)] == ["requeued"] * 3
    finish(connection)
    assert run(connection, run_id)["output"] == {"items": [0, 2, 4]}


def test_a_batch_that_lost_its_message_gets_it_back(connection: Connection) -> None:
    run_id = batched(connection, 6, 3)
    connection.execute("select pgmq.purge_queue('numbers')")
    assert value(connection, "select pgflow.resend_lost_messages()") == 2
    finish(connection)
    assert run(connection, run_id)["status"] == "completed"


# The end, and what is seen


def test_cancel_and_prune_leave_nothing_of_batches(connection: Connection) -> None:
    run_id = batched(connection, 9, 3)
    granted = claim(connection, FLOW, 2)
    break_down(connection, granted[:1])
    call(connection, "cancel_run", run_id=run_id)
    assert messages(connection, FLOW) == []
    assert complete_batch(connection, granted[1:], doubled(granted[1:])) == ["finished"]
    value(connection, "select pgflow.prune_data_older_than('-1 s'::interval)")
    assert value(connection, "select count(*) from pgflow.step_tasks") == 0
    assert value(connection, "select count(*) from pgflow.attempts") == 0


def test_the_summaries_count_items(connection: Connection) -> None:
    run_id = batched(connection, 10, 4)
    granted = sorted(claim(connection, FLOW, 2), key=lambda one: one["task_index"])
    complete_batch(connection, granted[:1], doubled(granted[:1]))
    step = row(connection, "select * from pgflow.step_summary where run_id = %s", run_id)
    names = ("total_tasks", "queued_tasks", "started_tasks", "completed_tasks", "failed_tasks")
    assert [step[name] for name in names] == [10, 4, 2, 4, 0]  # the last batch has two items
    whole = row(connection, "select * from pgflow.run_summary where run_id = %s", run_id)
    assert (whole["total_tasks"], whole["done_tasks"]) == (10, 4)
    worker = row(connection, "select tasks_started, tasks_completed from pgflow.worker_summary")
    assert worker == {"tasks_started": 2, "tasks_completed": 4}


def test_a_batch_is_one_attempt_until_it_is_split(connection: Connection) -> None:
    run_id = batched(connection, 4, 4)
    query = "select task_index, attempt, outcome from pgflow.task_attempts where run_id = %s order by 1, 2"
    granted = claim(connection, FLOW, 1)
    assert [tuple(one.values()) for one in rows(connection, query, run_id)] == [(0, 1, "started")]
    break_down(connection, granted)
    make_visible(connection, FLOW)
    finish(connection)
    assert [tuple(one.values()) for one in rows(connection, query, run_id)] == [
        (index, attempt, outcome)
        for index in range(4)
        for attempt, outcome in ((1, "failed"), (2, "completed"))
    ]


def test_skipping_a_step_takes_its_batches_along(connection: Connection) -> None:
    steps: Steps = [
        {
            "slug": "items",
            "step_type": "map",
            "batch_size": 2,
            "max_attempts": 1,
            "when_exhausted": "skip",
        },
        {"slug": "after", "depends_on": ["items"]},
    ]
    version(connection, FLOW, steps)
    run_id = start(connection, FLOW, list(range(4)))["run_id"]
    break_down(connection, [claim_one_of(connection)])
    assert statuses(connection, run_id) == {"items": "skipped", "after": "started"}
    assert [one["message"]["step_slug"] for one in messages(connection, FLOW)] == ["after"]

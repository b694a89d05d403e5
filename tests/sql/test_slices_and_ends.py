"""Sliced maps under workers that do not claim, and under failures, retries, cancellations and clean-up."""

from __future__ import annotations

import pytest

from tests.support.slices import (
    COUNT,
    SLICE,
    chain,
    created,
    drain,
    fan_outs,
    given,
    root_map_of,
)
from tests.support.sql import (
    Connection,
    Row,
    begin,
    call,
    change,
    claim,
    fail,
    messages,
    rows,
    run,
    state,
    statuses,
    tasks,
    work,
)
from tests.support.tasks import break_down, succeed


@pytest.fixture
def connection(sliced: Connection) -> Connection:
    return sliced


# Workers that do not claim


def test_a_worker_that_only_reads_and_starts_gets_everything(connection: Connection) -> None:
    run_id = chain(connection, {"slug": "items"}, {"slug": "more"})
    work(connection, "f", {"items": lambda one: one["input"] + 1, "more": lambda one: one["input"]})
    assert run(connection, run_id)["output"] == {"more": [101 + index for index in range(COUNT)]}


def test_such_a_worker_whose_items_all_fail_gets_everything(connection: Connection) -> None:
    run_id = chain(connection, {"slug": "items", "max_failed_percent": 100, "max_attempts": 1})
    while started := begin(connection, "f", 3):
        for one in started:
            fail(connection, run_id, "items", index=one["task_index"])
    assert run(connection, run_id)["output"] == {"items": [None] * COUNT}
    assert state(connection, run_id, "items")["failed_tasks"] == COUNT


def test_such_a_worker_that_reports_in_batches_of_two_runs_gets_everything(
    connection: Connection,
) -> None:
    runs = [root_map_of(connection, COUNT) for _ in range(2)]
    for _ in range(2 * COUNT):
        started = [{**one, "attempt": None} for one in begin(connection, "f", 100)]
        if not started:
            break
        succeed(connection, started, 1)
    assert {run(connection, run_id)["status"] for run_id in runs} == {"completed"}


# Ends, and what comes after them


def fail_one(connection: Connection) -> Row:
    """Claim some tasks, complete one and fail another for good."""
    good, bad, *_ = claim(connection, "f", 3)
    succeed(connection, [good])
    assert break_down(connection, [bad], final=True) == ["accepted"]
    return bad


def test_a_failed_run_gets_no_more_slices_and_a_retry_goes_on(connection: Connection) -> None:
    run_id = root_map_of(connection, COUNT)
    fail_one(connection)
    there = created(connection, run_id)
    for _ in range(3):
        assert claim(connection, "f", 9) == []
    assert (created(connection, run_id), messages(connection, "f")) == (there, [])
    assert [one["paused"] for one in fan_outs(connection)] == [True]
    call(connection, "retry_run", run_id=run_id)
    done = drain(connection)
    assert run(connection, run_id)["status"] == "completed"
    assert len([one for one in done if one["step_slug"] == "items"]) == COUNT - 1
    assert {one["status"] for one in tasks(connection, run_id)} == {"completed"}


def test_a_retry_before_anybody_has_looked_goes_on_too(connection: Connection) -> None:
    run_id = root_map_of(connection, COUNT)
    fail_one(connection)
    call(connection, "retry_run", run_id=run_id)
    drain(connection)
    assert run(connection, run_id)["status"] == "completed"


def test_a_retry_goes_on_for_workers_that_do_not_claim(connection: Connection) -> None:
    run_id = root_map_of(connection, COUNT)
    fail_one(connection)
    call(connection, "retry_run", run_id=run_id)
    work(connection, "f")
    assert run(connection, run_id)["status"] == "completed"


def test_a_cancelled_run_gets_no_more_slices(connection: Connection) -> None:
    run_id = root_map_of(connection, COUNT)
    claim(connection, "f", 2)
    call(connection, "cancel_run", run_id=run_id)
    there = created(connection, run_id)
    for _ in range(3):
        assert claim(connection, "f", 9) == []
    assert (created(connection, run_id), messages(connection, "f")) == (there, [])
    assert [one["paused"] for one in fan_outs(connection)] == [True]


def test_a_skipped_map_gets_no_more_slices_and_its_children_go_on(connection: Connection) -> None:
    run_id = root_map_of(connection, COUNT, when_exhausted="skip", max_attempts=1)
    fail_one(connection)
    (end,) = claim(connection, "f", 9)
    assert (end["step_slug"], statuses(connection, run_id)["items"]) == ("end", "skipped")
    succeed(connection, [end])
    assert claim(connection, "f", 9) == []
    assert created(connection, run_id) == SLICE
    assert run(connection, run_id)["status"] == "completed"


def test_a_map_that_starts_anew_after_a_retry_above_it_is_sliced_anew(
    connection: Connection,
) -> None:
    run_id = chain(
        connection, {"slug": "items", "max_failed_tasks": 1}, {"slug": "more", "max_attempts": 1}
    )
    done = 0
    while done < COUNT:
        for one in claim(connection, "f", 3):
            done += 1
            if one["task_index"] == 5:
                break_down(connection, [one], final=True)
            else:
                succeed(connection, [one])
    succeed(connection, claim(connection, "f", 6))
    break_down(connection, claim(connection, "f", 1))
    call(connection, "retry_run", run_id=run_id, step_slug="items")
    assert (fan_outs(connection), tasks(connection, run_id, "more")) == ([], [])
    (again,) = claim(connection, "f", 9)
    assert (again["step_slug"], again["task_index"]) == ("items", 5)
    succeed(connection, [again], "anew")
    more = dict(given(drain(connection), "more"))
    assert sorted(more) == list(range(COUNT))
    assert more[5] == "anew"
    assert run(connection, run_id)["status"] == "completed"


def test_pruning_and_deleting_leave_nothing_of_a_sliced_map(connection: Connection) -> None:
    for step in ("prune_data_older_than('-1 s')", "delete_flow_and_data('f')"):
        run_id = root_map_of(connection, COUNT)
        claim(connection, "f", 2)
        call(connection, "cancel_run", run_id=run_id)
        assert len(fan_outs(connection)) == 1
        rows(connection, f"select pgflow.{step}")
        assert (fan_outs(connection), created(connection, run_id)) == ([], 0)


def test_the_deletes_of_resetting_tools_leave_nothing_of_a_sliced_map(
    connection: Connection,
) -> None:
    root_map_of(connection, COUNT)
    for table in ("step_tasks", "step_states", "runs", "deps", "steps", "flows"):
        change(connection, f"delete from pgflow.{table}")
    assert fan_outs(connection) == []


def test_a_lost_lease_in_the_middle_of_a_sliced_map_costs_no_item(connection: Connection) -> None:
    run_id = root_map_of(connection, COUNT)
    claim(connection, "f", 3, lease=0)
    drain(connection)
    assert run(connection, run_id)["status"] == "completed"
    assert {one["attempts_count"] for one in tasks(connection, run_id, "items")} <= {1, 2}

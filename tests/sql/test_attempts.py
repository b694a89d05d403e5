"""The record of attempts: table attempts and view task_attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.sql import Connection, Row, attempts, begin, claim, complete, fail, rows, worker
from tests.support.tasks import break_down, expire, one_step, outcomes, root_map, succeed

if TYPE_CHECKING:
    import uuid


def every_attempt(connection: Connection, run_id: uuid.UUID) -> list[Row]:
    query = "select * from pgflow.task_attempts where run_id = %s order by step_slug, task_index, attempt"
    return rows(connection, query, run_id)


def test_a_success_at_once_costs_no_row(connection: Connection) -> None:
    run_id = root_map(connection, 3)
    succeed(connection, claim(connection, "numbers", 3))
    assert attempts(connection, run_id) == []


def test_a_success_at_once_is_in_the_view(connection: Connection) -> None:
    run_id = root_map(connection, 2)
    by = worker(connection)
    succeed(connection, claim(connection, "numbers", 2, worker_id=by))
    found = every_attempt(connection, run_id)
    told = [(one["task_index"], one["attempt"], one["outcome"], one["worker_id"]) for one in found]
    assert told == [(0, 1, "completed", by), (1, 1, "completed", by)]
    assert all(one["ended_at"] >= one["started_at"] for one in found)


def test_each_failed_attempt_is_recorded_with_worker_and_error(connection: Connection) -> None:
    run_id = one_step(connection, base_delay=0)
    workers = [worker(connection) for _ in range(3)]
    for number, by in enumerate(workers):
        break_down(connection, claim(connection, "f", worker_id=by), f"error {number}")
    found = attempts(connection, run_id)
    assert [(one["attempt"], one["outcome"], one["error"]) for one in found] == [
        (1, "failed", "error 0"),
        (2, "failed", "error 1"),
        (3, "failed", "error 2"),
    ]
    assert [one["worker_id"] for one in found] == workers


def test_a_success_after_a_failure_is_recorded_behind_it(connection: Connection) -> None:
    run_id = one_step(connection, base_delay=0)
    break_down(connection, claim(connection, "f"))
    succeed(connection, claim(connection, "f"))
    found = every_attempt(connection, run_id)
    assert [(one["attempt"], one["outcome"]) for one in found] == [(1, "failed"), (2, "completed")]


def test_the_contracts_own_functions_record_as_well(connection: Connection) -> None:
    run_id = one_step(connection, base_delay=0)
    begin(connection, "f")
    fail(connection, run_id, "a", "no luck")
    begin(connection, "f")
    complete(connection, run_id, "a")
    found = every_attempt(connection, run_id)
    assert [(one["attempt"], one["outcome"], one["error"]) for one in found] == [
        (1, "failed", "no luck"),
        (2, "completed", None),
    ]


def test_lost_and_failed_attempts_stand_side_by_side(connection: Connection) -> None:
    run_id = one_step(connection, base_delay=0)
    claim(connection, "f")
    expire(connection, "f")
    break_down(connection, claim(connection, "f"))
    succeed(connection, claim(connection, "f"))
    found = every_attempt(connection, run_id)
    assert [(one["attempt"], one["outcome"]) for one in found] == [
        (1, "lost"),
        (2, "failed"),
        (3, "completed"),
    ]


def test_a_running_attempt_is_in_the_view_without_an_end(connection: Connection) -> None:
    run_id = one_step(connection)
    by = worker(connection)
    claim(connection, "f", worker_id=by)
    (found,) = every_attempt(connection, run_id)
    assert (found["attempt"], found["worker_id"], found["ended_at"]) == (1, by, None)


def test_a_task_that_never_started_has_no_attempt(connection: Connection) -> None:
    run_id = one_step(connection)
    assert every_attempt(connection, run_id) == []


def test_a_retried_failure_is_not_listed_twice(connection: Connection) -> None:
    run_id = one_step(connection)
    granted = claim(connection, "f")
    break_down(connection, granted)
    break_down(connection, granted)
    assert len(every_attempt(connection, run_id)) == 1


def test_a_final_failure_is_recorded_once(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=1)
    break_down(connection, claim(connection, "f"), "no luck")
    found = every_attempt(connection, run_id)
    assert [(one["attempt"], one["outcome"], one["error"]) for one in found] == [
        (1, "failed", "no luck")
    ]


def test_a_released_attempt_is_told_apart(connection: Connection) -> None:
    run_id = one_step(connection)
    outcomes(connection, "release_tasks", claim(connection, "f"))
    succeed(connection, claim(connection, "f"))
    found = {one["attempt"]: one["outcome"] for one in every_attempt(connection, run_id)}
    assert found[2] == "completed"
    assert found.get(1, "released") == "released"

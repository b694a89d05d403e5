"""The view step_summary over maps beyond _max_slice() tasks: the same numbers as by counting, without counting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.sql import (
    Connection,
    change,
    claim,
    complete_batch,
    fail_batch,
    row,
    rows,
    start,
    value,
)
from tests.support.tasks import expire, root_map, version
from tests.support.views import only

if TYPE_CHECKING:
    import uuid

NUMBERS = "total_tasks queued_tasks started_tasks completed_tasks failed_tasks retried_tasks"


def limit(connection: Connection, slice_size: int) -> None:
    """Have maps beyond so many tasks count as large from now on."""
    connection.execute(
        f"""create or replace function pgflow._max_slice() returns integer
            language plpgsql immutable parallel safe set search_path = ''
            as $$ begin return {slice_size}; end $$""".encode()
    )


def numbers(connection: Connection, run_id: uuid.UUID) -> dict[str, Any]:
    found = only(connection, "step_summary", run_id=run_id)
    return {name: found[name] for name in NUMBERS.split()}


def both(connection: Connection, run_id: uuid.UUID) -> dict[str, Any]:
    """Return the numbers of a map, after comparing those of a small one with those of a large one."""
    limit(connection, 20_000)
    counted = numbers(connection, run_id)
    limit(connection, 2)
    assert numbers(connection, run_id) == counted
    limit(connection, 20_000)
    return counted


def test_every_state_of_a_map_gives_the_same_numbers(connection: Connection) -> None:
    run_id = root_map(connection, 6, max_failed_tasks=2, max_attempts=2)
    assert both(connection, run_id)["queued_tasks"] == 6
    first = claim(connection, "numbers", 4)
    assert both(connection, run_id)["started_tasks"] == 4
    complete_batch(connection, first[:2], [1, 2])
    fail_batch(connection, first[2:])
    assert both(connection, run_id)["retried_tasks"] == 2
    fail_batch(connection, claim(connection, "numbers", 2), details={"final": True})
    again = claim(connection, "numbers", 1)
    found = both(connection, run_id)
    assert (found["completed_tasks"], found["failed_tasks"]) == (2, 2)
    assert (found["queued_tasks"], found["started_tasks"]) == (1, 1)
    complete_batch(connection, again, [0])
    complete_batch(connection, claim(connection, "numbers", 1), [0])
    assert both(connection, run_id)["completed_tasks"] == 4


def test_a_map_that_failed_gives_the_same_numbers(connection: Connection) -> None:
    run_id = root_map(connection, 5, max_failed_tasks=1, max_attempts=1)
    granted = claim(connection, "numbers", 4)
    complete_batch(connection, granted[:1], [0])
    fail_batch(connection, granted[1:2])
    fail_batch(connection, granted[2:3])
    found = both(connection, run_id)
    assert (found["completed_tasks"], found["failed_tasks"]) == (1, 2)
    # The last task runs on, and ends as a leftover of its run.
    fail_batch(connection, granted[3:])
    assert both(connection, run_id)["failed_tasks"] == 3


def test_a_cancelled_map_gives_the_same_numbers(connection: Connection) -> None:
    run_id = root_map(connection, 5)
    complete_batch(connection, claim(connection, "numbers", 2), [0, 1])
    row(connection, "select * from pgflow.cancel_run(%s)", run_id)
    assert both(connection, run_id)["completed_tasks"] == 2


def test_a_skipped_map_gives_the_same_numbers(connection: Connection) -> None:
    run_id = root_map(connection, 5, max_attempts=1, when_exhausted="skip")
    complete_batch(connection, claim(connection, "numbers", 2), [0, 1])
    fail_batch(connection, claim(connection, "numbers", 1))
    found = both(connection, run_id)
    assert (found["completed_tasks"], found["failed_tasks"], found["queued_tasks"]) == (2, 1, 2)


def test_a_retried_map_gives_the_same_numbers(connection: Connection) -> None:
    run_id = root_map(connection, 5, max_attempts=1)
    complete_batch(connection, claim(connection, "numbers", 2), [0, 1])
    fail_batch(connection, claim(connection, "numbers", 1))
    row(connection, "select * from pgflow.retry_run(%s)", run_id)
    found = both(connection, run_id)
    assert (found["completed_tasks"], found["failed_tasks"], found["retried_tasks"]) == (2, 0, 0)


def test_items_whose_tasks_are_not_created_yet_are_queued(connection: Connection) -> None:
    limit(connection, 2)
    run_id = root_map(connection, 3000)
    assert value(connection, "select count(*) from pgflow.step_tasks") == 1
    expected = {"total_tasks": 3000, "queued_tasks": 3000, "started_tasks": 0}
    assert numbers(connection, run_id).items() >= expected.items()


def test_a_task_whose_lease_has_expired_is_queued(connection: Connection) -> None:
    run_id = root_map(connection, 3)
    claim(connection, "numbers", 2)
    limit(connection, 2)
    assert numbers(connection, run_id)["started_tasks"] == 2
    expire(connection, "numbers")
    found = numbers(connection, run_id)
    assert (found["started_tasks"], found["queued_tasks"]) == (0, 3)


def test_two_runs_of_a_queue_are_told_apart(connection: Connection) -> None:
    first = root_map(connection, 3)
    claim(connection, "numbers", 1)
    second = start(connection, "numbers", [1, 2, 3, 4])["run_id"]
    assert both(connection, first)["started_tasks"] == 1
    assert both(connection, second)["started_tasks"] == 0


def test_a_message_that_is_no_tasks_does_not_break_it(connection: Connection) -> None:
    run_id = root_map(connection, 3)
    body = f'{{"run_id": "{run_id}", "step_slug": "items", "task_index": "one"}}'
    rows(connection, "select pgmq.send('numbers', %s::jsonb, 60)", body)
    assert both(connection, run_id)["started_tasks"] == 0


def test_batches_count_their_items(connection: Connection) -> None:
    limit(connection, 2)
    version(connection, "batched", [{"slug": "items", "step_type": "map"}])
    change(connection, "update pgflow.steps set opt_batch_size = 4")
    run_id = start(connection, "batched", list(range(10)))["run_id"]
    (held,) = claim(connection, "batched", 1)
    assert held["items"] == 4
    found = numbers(connection, run_id)
    assert (found["started_tasks"], found["queued_tasks"]) == (4, 6)

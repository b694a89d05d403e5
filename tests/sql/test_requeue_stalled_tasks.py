"""pgflow.requeue_stalled_tasks: started tasks that nobody seems to work on any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.sql import (
    Connection,
    begin,
    complete,
    define,
    messages,
    rows,
    run,
    start,
    state,
    task,
    tasks,
    value,
)
from tests.support.tasks import one_step, outcomes, root_map

if TYPE_CHECKING:
    import uuid


def requeue(connection: Connection) -> int:
    result = value(connection, "select pgflow.requeue_stalled_tasks()")
    assert isinstance(result, int)
    return result


def backdate(connection: Connection, run_id: uuid.UUID, seconds: float) -> None:
    statement = """update pgflow.step_tasks set queued_at = now() - make_interval(secs => %s + 10),
      started_at = now() - make_interval(secs => %s) where run_id = %s"""
    rows(connection, statement, seconds, seconds, run_id)


def stalled(connection: Connection, flow: str = "f", *, requeued: int = 0) -> uuid.UUID:
    """Return a run whose only task was started long ago and requeued so often."""
    run_id = one_step(connection, flow)
    begin(connection, flow)
    backdate(connection, run_id, 10_000)
    rows(
        connection,
        "update pgflow.step_tasks set requeued_count = %s where run_id = %s",
        requeued,
        run_id,
    )
    return run_id


def test_requeues_a_stalled_task(connection: Connection) -> None:
    run_id = stalled(connection)
    assert requeue(connection) == 1
    found = task(connection, run_id, "a")
    assert (found["status"], found["started_at"], found["last_worker_id"]) == ("queued", None, None)
    assert (found["requeued_count"], found["attempts_count"]) == (1, 1)
    assert found["last_requeued_at"] is not None
    assert found["permanently_stalled_at"] is None


def test_the_message_is_visible_at_once(connection: Connection) -> None:
    stalled(connection)
    assert not messages(connection, "f")[0]["visible"]
    requeue(connection)
    assert messages(connection, "f")[0]["visible"]


def test_a_second_call_requeues_nothing(connection: Connection) -> None:
    stalled(connection)
    requeue(connection)
    assert requeue(connection) == 0


def test_without_stalled_tasks_nothing_happens(connection: Connection) -> None:
    one_step(connection)
    assert requeue(connection) == 0


@pytest.mark.parametrize(("age", "count"), [(85, 0), (95, 1)])
def test_a_task_stalls_30_seconds_after_its_timeout(
    connection: Connection, age: int, count: int
) -> None:
    run_id = one_step(connection, timeout=60)
    begin(connection, "f")
    backdate(connection, run_id, age)
    assert requeue(connection) == count


def test_each_flow_has_its_own_timeout(connection: Connection) -> None:
    quick, slow = (
        one_step(connection, "quick", timeout=10),
        one_step(connection, "slow", timeout=100),
    )
    for flow, run_id in (("quick", quick), ("slow", slow)):
        begin(connection, flow)
        backdate(connection, run_id, 60)
    assert requeue(connection) == 1
    assert (task(connection, quick, "a")["status"], task(connection, slow, "a")["status"]) == (
        "queued",
        "started",
    )


def test_a_steps_own_longer_timeout_is_respected(connection: Connection) -> None:
    define(connection, "f", {"a": {"timeout": 1000}}, timeout=10)
    run_id = start(connection, "f")["run_id"]
    begin(connection, "f")
    backdate(connection, run_id, 500)
    assert requeue(connection) == 0


def test_counts_all_tasks_of_all_flows(connection: Connection) -> None:
    stalled(connection, "f")
    stalled(connection, "g")
    assert requeue(connection) == 2


def test_a_requeued_task_can_be_started_and_completed(connection: Connection) -> None:
    run_id = stalled(connection)
    requeue(connection)
    begin(connection, "f")
    assert task(connection, run_id, "a")["attempts_count"] == 2
    complete(connection, run_id, "a")
    assert run(connection, run_id)["status"] == "completed"


def test_queued_and_completed_tasks_are_left_alone(connection: Connection) -> None:
    queued = one_step(connection, "f")
    done = one_step(connection, "g")
    begin(connection, "g")
    complete(connection, done, "a")
    backdate(connection, done, 10_000)
    rows(
        connection,
        "update pgflow.step_tasks set queued_at = now() - interval '1 day' where run_id = %s",
        queued,
    )
    assert requeue(connection) == 0


def test_tasks_of_a_failed_run_are_left_alone(connection: Connection) -> None:
    run_id = stalled(connection)
    rows(
        connection,
        "update pgflow.runs set status = 'failed', failed_at = now() where run_id = %s",
        run_id,
    )
    assert requeue(connection) == 0
    assert task(connection, run_id, "a")["status"] == "started"


# The end of patience


def test_the_third_requeue_is_the_last(connection: Connection) -> None:
    run_id = stalled(connection, requeued=2)
    assert requeue(connection) == 1
    assert (
        task(connection, run_id, "a")["status"],
        task(connection, run_id, "a")["requeued_count"],
    ) == ("queued", 3)


def test_then_the_task_is_permanently_stalled(connection: Connection) -> None:
    run_id = stalled(connection, requeued=3)
    assert requeue(connection) == 0
    found = task(connection, run_id, "a")
    assert (found["status"], found["requeued_count"]) == ("started", 3)
    assert found["permanently_stalled_at"] is not None


def test_the_message_of_a_permanently_stalled_task_is_archived(connection: Connection) -> None:
    stalled(connection, requeued=3)
    requeue(connection)
    assert messages(connection, "f") == []
    assert value(connection, "select count(*) from pgmq.a_f") == 1


def test_a_permanently_stalled_task_is_never_considered_again(connection: Connection) -> None:
    run_id = stalled(connection, requeued=3)
    requeue(connection)
    before = task(connection, run_id, "a")
    assert requeue(connection) == 0
    assert task(connection, run_id, "a") == before


def test_a_permanently_stalled_task_ends_its_step_and_run(connection: Connection) -> None:
    run_id = stalled(connection, requeued=3)
    requeue(connection)
    assert run(connection, run_id)["status"] == "failed"


def both_stalled(connection: Connection, **policy: Any) -> uuid.UUID:
    """Return a run of a map whose two tasks have stalled, the first one for good."""
    run_id = root_map(connection, 2, **policy)
    begin(connection, "numbers", 2)
    backdate(connection, run_id, 10_000)
    rows(
        connection,
        "update pgflow.step_tasks set requeued_count = 3 where run_id = %s and task_index = 0",
        run_id,
    )
    return run_id


def test_a_task_stalled_for_good_does_not_keep_the_others_from_being_seen_to(
    connection: Connection,
) -> None:
    run_id = both_stalled(connection)
    assert requeue(connection) == 0
    assert run(connection, run_id)["status"] == "failed"
    assert [one["requeued_count"] for one in tasks(connection, run_id)] == [3, 0]


def test_where_the_map_allows_it_the_others_go_on(connection: Connection) -> None:
    run_id = both_stalled(connection, max_failed_tasks=1)
    assert requeue(connection) == 1
    assert [one["status"] for one in tasks(connection, run_id)] == ["started", "queued"]


@pytest.mark.parametrize("function", ["complete_tasks", "fail_tasks", "release_tasks"])
def test_a_task_stalled_for_good_is_not_counted_twice(
    connection: Connection, function: str
) -> None:
    run_id = both_stalled(connection, max_failed_tasks=1)
    requeue(connection)
    late = {"run_id": run_id, "step_slug": "items", "task_index": 0, "attempt": 1}
    given: dict[str, dict[str, object]] = {
        "complete_tasks": {"outputs": [None]},
        "fail_tasks": {"errors": ["late"]},
        "release_tasks": {},
    }
    assert outcomes(connection, function, [late], **given[function]) == ["stale"]
    assert state(connection, run_id, "items")["remaining_tasks"] == 1
    assert [one["status"] for one in tasks(connection, run_id)] == ["started", "queued"]

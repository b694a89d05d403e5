"""pgflow.start_tasks: read messages become started tasks."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from tests.support.sql import (
    Connection,
    Row,
    begin,
    call,
    complete,
    define,
    fail,
    messages,
    rows,
    start,
    state,
    task,
    tasks,
    value,
    worker,
)
from tests.support.tasks import one_step, started_map


def message_ids(connection: Connection, run_id: uuid.UUID, step: str | None = None) -> list[int]:
    return [one["message_id"] for one in tasks(connection, run_id, step)]


def start_tasks(
    connection: Connection, flow: str, ids: list[int] | None, by: uuid.UUID | None = None
) -> list[Row]:
    worker_id = by or worker(connection)
    return call(connection, "start_tasks", flow_slug=flow, msg_ids=ids, worker_id=worker_id)


# What it changes


def test_marks_the_task_started(connection: Connection) -> None:
    run_id = one_step(connection)
    before = task(connection, run_id, "a")
    by = worker(connection)
    start_tasks(connection, "f", [before["message_id"]], by)
    after = task(connection, run_id, "a")
    assert (after["status"], after["attempts_count"], after["last_worker_id"]) == ("started", 1, by)
    assert after["started_at"] >= before["queued_at"]


def test_returns_one_row_per_started_task(connection: Connection) -> None:
    run_id = started_map(connection, 3)
    ids = message_ids(connection, run_id, "items")
    granted = start_tasks(connection, "mapped", ids)
    assert sorted((one["msg_id"], one["task_index"]) for one in granted) == list(
        zip(ids, range(3), strict=True)
    )


def test_returns_the_contracts_columns(connection: Connection) -> None:
    run_id = one_step(connection)
    (granted,) = start_tasks(connection, "f", message_ids(connection, run_id))
    expected = ["flow_slug", "run_id", "step_slug", "input", "msg_id", "task_index", "flow_input"]
    assert list(granted)[:7] == expected
    assert (granted["flow_slug"], granted["run_id"], granted["step_slug"]) == ("f", run_id, "a")


def test_starts_only_the_messages_named(connection: Connection) -> None:
    run_id = started_map(connection, 3)
    ids = message_ids(connection, run_id, "items")
    start_tasks(connection, "mapped", ids[1:2])
    assert [one["status"] for one in tasks(connection, run_id, "items")] == [
        "queued",
        "started",
        "queued",
    ]


def test_starts_tasks_of_several_runs_in_one_call(connection: Connection) -> None:
    first = one_step(connection)
    second = start(connection, "f")["run_id"]
    granted = start_tasks(
        connection, "f", message_ids(connection, first) + message_ids(connection, second)
    )
    assert {one["run_id"] for one in granted} == {first, second}


def test_accepts_messages_that_were_never_read(connection: Connection) -> None:
    run_id = one_step(connection)
    assert len(start_tasks(connection, "f", message_ids(connection, run_id))) == 1


def test_accepts_messages_that_are_visible_again(connection: Connection) -> None:
    run_id = one_step(connection)
    rows(connection, "select * from pgmq.read('f', 0, 1)")
    assert len(start_tasks(connection, "f", message_ids(connection, run_id))) == 1


def test_hides_the_message_for_the_steps_timeout_and_two_seconds(connection: Connection) -> None:
    run_id = one_step(connection, timeout=100)
    start_tasks(connection, "f", message_ids(connection, run_id))
    assert round(messages(connection, "f")[0]["delay"]) == 102


def test_a_steps_own_timeout_goes_before_the_flows(connection: Connection) -> None:
    define(connection, "f", {"a": {"timeout": 500}}, timeout=100)
    run_id = start(connection, "f")["run_id"]
    start_tasks(connection, "f", message_ids(connection, run_id))
    assert round(messages(connection, "f")[0]["delay"]) == 502


def test_a_retried_task_counts_the_next_attempt(connection: Connection) -> None:
    run_id = one_step(connection, base_delay=0)
    begin(connection, "f")
    fail(connection, run_id, "a")
    begin(connection, "f")
    assert task(connection, run_id, "a")["attempts_count"] == 2


# What it leaves out


def test_empty_and_null_arrays_start_nothing(connection: Connection) -> None:
    one_step(connection)
    assert start_tasks(connection, "f", []) == []
    assert start_tasks(connection, "f", None) == []


def test_unknown_messages_start_nothing(connection: Connection) -> None:
    one_step(connection)
    assert start_tasks(connection, "f", [4711]) == []


def test_a_message_of_another_flow_starts_nothing(connection: Connection) -> None:
    one_step(connection, "f")
    other = one_step(connection, "g")
    for _ in range(3):
        other = start(connection, "g")["run_id"]
    assert start_tasks(connection, "f", message_ids(connection, other)) == []
    assert task(connection, other, "a")["status"] == "queued"


def test_a_started_task_is_not_started_again(connection: Connection) -> None:
    run_id = one_step(connection)
    ids = message_ids(connection, run_id)
    start_tasks(connection, "f", ids)
    assert start_tasks(connection, "f", ids) == []
    assert task(connection, run_id, "a")["attempts_count"] == 1


def test_one_message_named_twice_starts_once(connection: Connection) -> None:
    run_id = one_step(connection)
    assert len(start_tasks(connection, "f", message_ids(connection, run_id) * 2)) == 1
    assert task(connection, run_id, "a")["attempts_count"] == 1


def test_a_completed_task_is_left_out(connection: Connection) -> None:
    run_id = one_step(connection)
    ids = message_ids(connection, run_id)
    start_tasks(connection, "f", ids)
    complete(connection, run_id, "a")
    assert start_tasks(connection, "f", ids) == []
    assert task(connection, run_id, "a")["status"] == "completed"


def test_a_failed_task_is_left_out(connection: Connection) -> None:
    run_id = one_step(connection, max_attempts=1)
    ids = message_ids(connection, run_id)
    start_tasks(connection, "f", ids)
    fail(connection, run_id, "a")
    assert start_tasks(connection, "f", ids) == []


def test_a_queued_task_of_a_failed_run_is_left_out(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": []}, max_attempts=1)
    run_id = start(connection, "f")["run_id"]
    ids = message_ids(connection, run_id, "b")
    start_tasks(connection, "f", message_ids(connection, run_id, "a"))
    fail(connection, run_id, "a")
    assert start_tasks(connection, "f", ids) == []
    assert task(connection, run_id, "b")["status"] == "queued"


def test_a_queued_task_of_a_skipped_step_is_left_out(connection: Connection) -> None:
    run_id = started_map(connection, 2)
    ids = message_ids(connection, run_id, "items")
    call(
        connection,
        "_cascade_force_skip_steps",
        run_id=run_id,
        step_slug="items",
        skip_reason="handler_failed",
    )
    assert start_tasks(connection, "mapped", ids) == []


def test_the_startable_ones_of_a_mixed_batch_start(connection: Connection) -> None:
    run_id = started_map(connection, 3)
    ids = message_ids(connection, run_id, "items")
    start_tasks(connection, "mapped", ids[:1])
    granted = start_tasks(connection, "mapped", [*ids, 4711])
    assert sorted(one["task_index"] for one in granted) == [1, 2]


# The worker


def test_an_unknown_worker_is_a_foreign_key_error(connection: Connection) -> None:
    run_id = one_step(connection)
    with pytest.raises(psycopg.errors.ForeignKeyViolation), connection.transaction():
        start_tasks(connection, "f", message_ids(connection, run_id), uuid.uuid4())


def test_the_worker_may_be_registered_by_the_same_statement(connection: Connection) -> None:
    run_id = one_step(connection)
    rows(
        connection,
        """create function pg_temp.registered() returns uuid language sql volatile as $$
          insert into pgflow.workers (worker_id, queue_name, function_name)
          values ('11111111-1111-4111-8111-111111111111', 'f', 'tests')
          on conflict (worker_id) do update set last_heartbeat_at = now() returning worker_id $$""",
    )
    query = "select * from pgflow.start_tasks('f', %s::bigint[], pg_temp.registered())"
    assert len(rows(connection, query, message_ids(connection, run_id))) == 1
    assert (
        str(task(connection, run_id, "a")["last_worker_id"])
        == "11111111-1111-4111-8111-111111111111"
    )


def test_the_last_worker_of_a_task_is_forgotten_with_the_worker(connection: Connection) -> None:
    run_id = one_step(connection)
    by = worker(connection)
    start_tasks(connection, "f", message_ids(connection, run_id), by)
    rows(connection, "delete from pgflow.workers where worker_id = %s", by)
    assert task(connection, run_id, "a")["last_worker_id"] is None


def test_step_and_run_stay_as_they_are(connection: Connection) -> None:
    run_id = one_step(connection)
    before = state(connection, run_id, "a")
    start_tasks(connection, "f", message_ids(connection, run_id))
    assert state(connection, run_id, "a") == before
    assert (
        value(connection, "select status from pgflow.runs where run_id = %s", run_id) == "started"
    )

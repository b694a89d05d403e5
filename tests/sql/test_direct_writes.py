"""What users write to states, tasks and runs themselves, and what they can not (contract, section 20)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.sql import (
    Connection,
    archived,
    begin,
    change,
    define,
    finish,
    mapped,
    refused,
    row,
    start,
    state,
    value,
)

if TYPE_CHECKING:
    import uuid


@pytest.fixture
def run_id(connection: Connection) -> uuid.UUID:
    """A run of source -> items (map) -> total, in the middle of items."""
    mapped(connection, base_delay=0)
    started: uuid.UUID = start(connection, "mapped")["run_id"]
    finish(connection, "mapped", "source", [1, 2, 3])
    begin(connection, "mapped", 1)
    return started


# step_states


@pytest.mark.parametrize(
    "assignment",
    [
        "status = 'skipped', skip_reason = 'a reason of my own', skipped_at = now(), remaining_tasks = null",
        "status = 'completed', remaining_tasks = 0, started_at = now(), completed_at = now()",
        "status = 'completed', remaining_tasks = 0, completed_at = now(), output = '[1, 2]'",
        "status = 'completed', remaining_tasks = 0, completed_at = now(), output = null",
        "status = 'failed', failed_at = now()",
        "status = 'created', started_at = null, completed_at = null, remaining_tasks = null",
        "status = 'started', started_at = null, completed_at = null, failed_at = null",
        "created_at = now() - interval '40 days'",
        "created_at = now() - interval '40 days', started_at = now() - interval '39 days'",
    ],
)
def test_a_step_state_can_be_set(
    connection: Connection, run_id: uuid.UUID, assignment: str
) -> None:
    where = "where run_id = %s and step_slug = 'items'"
    assert change(connection, f"update pgflow.step_states set {assignment} {where}", run_id) == 1


@pytest.mark.parametrize("status", ["created", "started", "failed", "skipped"])
def test_an_output_on_a_step_that_is_not_completed_is_refused(
    connection: Connection, run_id: uuid.UUID, status: str
) -> None:
    text = 'new row for relation "step_states" violates check constraint "output_only_for_completed_or_null"'
    statement = """update pgflow.step_states set status = %(status)s, output = '1', initial_tasks = 3, started_at = null,
      remaining_tasks = case when %(status)s in ('started', 'failed') then 1 end,
      skip_reason = case when %(status)s = 'skipped' then 'x' end where step_slug = 'items'"""
    with refused(connection, text, "23514"):
        connection.execute(statement, {"status": status})


@pytest.mark.parametrize(
    "assignment",
    [
        "status = 'nonsense'",
        "status = 'started', initial_tasks = null",
        "initial_tasks = -1",
        "remaining_deps = -1",
        "status = 'completed', remaining_tasks = 1",
        "status = 'created'",
        "status = 'skipped', skip_reason = 'x'",
        "status = 'skipped', remaining_tasks = null",
        "skip_reason = 'x'",
        "completed_at = now(), failed_at = now()",
        "failed_at = now(), skipped_at = now()",
    ],
)
def test_an_impossible_step_state_is_refused(
    connection: Connection, run_id: uuid.UUID, assignment: str
) -> None:
    statement = f"update pgflow.step_states set {assignment} where step_slug = 'items'"
    with pytest.raises(psycopg.errors.CheckViolation), connection.transaction():
        change(connection, statement)


def test_the_check_on_initial_tasks_is_in_the_catalogue(connection: Connection) -> None:
    query = """select count(*) from information_schema.check_constraints
      where constraint_name = 'initial_tasks_known_when_started'"""
    assert value(connection, query) == 1


# step_tasks


@pytest.mark.parametrize(
    "assignment",
    [
        "queued_at = now() - interval '40 days'",
        "queued_at = now() - interval '2 days', started_at = now() - interval '1 day'",
        "status = 'completed', completed_at = now()",
        "status = 'failed', failed_at = now(), error_message = 'mine'",
        "status = 'queued', started_at = null",
        "status = 'started', started_at = now() - interval '10 minutes', queued_at = now() - interval '11 minutes'",
        "attempts_count = 0",
        "message_id = null",
        "requeued_count = 3",
    ],
)
def test_a_task_can_be_set(connection: Connection, run_id: uuid.UUID, assignment: str) -> None:
    assert (
        change(connection, f"update pgflow.step_tasks set {assignment} where step_slug = 'items'")
        == 3
    )


@pytest.mark.parametrize("before", ["queued", "started", "completed", "failed"])
@pytest.mark.parametrize("after", ["queued", "started", "completed", "failed"])
def test_a_task_may_go_between_any_two_statuses(
    connection: Connection, run_id: uuid.UUID, before: str, after: str
) -> None:
    for status in (before, after):
        assert (
            change(
                connection,
                "update pgflow.step_tasks set status = %s where step_slug = 'items'",
                status,
            )
            == 3
        )


def test_a_started_task_without_message_can_be_inserted(
    connection: Connection, run_id: uuid.UUID
) -> None:
    insert = """insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, status, queued_at, started_at)
      values ('mapped', %s, 'items', 99, 'started', now() - interval '1 hour', now() - interval '59 minutes')"""
    assert change(connection, insert, run_id) == 1


@pytest.mark.parametrize(
    "assignment",
    [
        "status = 'skipped'",
        "output = '1'",
        "attempts_count = -1",
        "completed_at = now(), failed_at = now()",
    ],
)
def test_an_impossible_task_is_refused(
    connection: Connection, run_id: uuid.UUID, assignment: str
) -> None:
    statement = f"update pgflow.step_tasks set {assignment} where step_slug = 'items'"
    with pytest.raises(psycopg.errors.CheckViolation), connection.transaction():
        change(connection, statement)


# runs


@pytest.mark.parametrize(
    "assignment",
    [
        "status = 'completed', remaining_steps = 0, completed_at = started_at",
        "status = 'completed', remaining_steps = 0, completed_at = now(), started_at = now() - interval '40 days'",
        "status = 'failed', failed_at = now()",
        "started_at = now() - interval '40 days'",
    ],
)
def test_a_run_can_be_set(connection: Connection, run_id: uuid.UUID, assignment: str) -> None:
    assert change(connection, f"update pgflow.runs set {assignment}") == 1


@pytest.mark.parametrize(
    "assignment",
    [
        "status = 'skipped'",
        "remaining_steps = -1",
        "completed_at = now(), failed_at = now()",
        "input = null",
    ],
)
def test_an_impossible_run_is_refused(
    connection: Connection, run_id: uuid.UUID, assignment: str
) -> None:
    with pytest.raises(psycopg.errors.IntegrityError), connection.transaction():
        change(connection, f"update pgflow.runs set {assignment}")


# A flow goes on after such a write


def test_a_step_completed_by_hand_can_be_followed_by_the_engine(connection: Connection) -> None:
    define(connection, "f", {"a": [], "b": ["a"]})
    fresh = start(connection, "f")["run_id"]
    change(
        connection,
        """update pgflow.step_states set status = 'completed', remaining_tasks = 0, completed_at = now(),
        output = '5' where step_slug = 'a'""",
    )
    change(connection, "update pgflow.step_states set remaining_deps = 0 where step_slug = 'b'")
    row(connection, "select pgflow.start_ready_steps(%s)", fresh)
    granted = [one for one in begin(connection, "f", 10) if one["step_slug"] == "b"]
    assert [one["input"] for one in granted] == [{"a": 5}]


def test_a_task_queued_again_by_hand_is_granted_again(
    connection: Connection, run_id: uuid.UUID
) -> None:
    change(
        connection,
        "update pgflow.step_tasks set status = 'queued', started_at = null where status = 'started'",
    )
    change(connection, "update pgmq.q_mapped set vt = clock_timestamp()")
    assert sorted(one["task_index"] for one in begin(connection, "mapped", 10)) == [0, 1, 2]
    assert state(connection, run_id, "items")["remaining_tasks"] == 3
    assert len(archived(connection, "mapped")) == 1

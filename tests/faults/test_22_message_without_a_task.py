"""Fault 22: a message that belongs to no task is quarantined with a reason and not read for ever."""

from __future__ import annotations

import uuid

import pytest
from psycopg.types.json import Jsonb

from tests.support.sql import Connection, Row, claim, define, messages, rows, start, task, value
from tests.support.tasks import indexes_of, one_step, root_map

STRANGE = [
    {},
    {"hello": "world"},
    [],
    [1, 2],
    None,
    5,
    "text",
    {"flow_slug": "f", "run_id": "no uuid", "step_slug": "a", "task_index": 0},
    {"flow_slug": "f", "run_id": str(uuid.UUID(int=1)), "step_slug": "a", "task_index": "x"},
    {"flow_slug": "f", "run_id": str(uuid.UUID(int=1)), "step_slug": "a", "task_index": -1},
    {
        "flow_slug": "f",
        "run_id": str(uuid.UUID(int=1)),
        "step_slug": "a",
        "task_index": 99999999999999999999,
    },
    {"flow_slug": "f", "run_id": str(uuid.UUID(int=1)), "step_slug": "a", "task_index": 1.5},
    {"flow_slug": "f", "run_id": None, "step_slug": None, "task_index": None},
    {"flow_slug": "f", "run_id": {"x": 1}, "step_slug": ["a"], "task_index": {}},
]
"""Bodies that no flow has sent."""


def send(connection: Connection, body: object, queue: str = "f") -> int:
    sent: int = value(connection, "select pgmq.send(%s, %s)", queue, Jsonb(body))
    return sent


def quarantined(connection: Connection) -> list[Row]:
    return rows(connection, "select * from pgflow.quarantined_messages order by msg_id")


def orphan(connection: Connection) -> int:
    """Send a well-formed message of a run that does not exist."""
    return send(
        connection,
        {"flow_slug": "f", "run_id": str(uuid.uuid4()), "step_slug": "a", "task_index": 0},
    )


def test_an_orphaned_message_is_quarantined_with_a_reason(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    message = orphan(connection)
    assert claim(connection, "f", 9) == []
    (found,) = quarantined(connection)
    assert (found["queue_name"], found["msg_id"], found["message"]["step_slug"]) == (
        "f",
        message,
        "a",
    )
    assert found["reason"]
    assert found["quarantined_at"] is not None


def test_a_quarantined_message_leaves_its_queue(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    orphan(connection)
    claim(connection, "f", 9)
    assert messages(connection, "f") == []
    claim(connection, "f", 9)
    assert len(quarantined(connection)) == 1


@pytest.mark.parametrize("body", STRANGE)
def test_a_malformed_message_is_quarantined(connection: Connection, body: object) -> None:
    define(connection, "f", {"a": []})
    send(connection, body)
    assert claim(connection, "f", 9) == []
    assert [one["message"] for one in quarantined(connection)] == [body]
    assert messages(connection, "f") == []


def test_good_tasks_of_the_batch_are_granted(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    for body in STRANGE:
        send(connection, body)
    run_id = start(connection, "f")["run_id"]
    orphan(connection)
    assert [one["run_id"] for one in claim(connection, "f", 100)] == [run_id]
    assert len(quarantined(connection)) == len(STRANGE) + 1


def test_a_message_of_a_task_that_was_deleted_is_quarantined(connection: Connection) -> None:
    one_step(connection)
    for table in ("step_tasks", "step_states", "runs"):
        rows(connection, f"delete from pgflow.{table}")
    assert claim(connection, "f", 9) == []
    assert len(quarantined(connection)) == 1


def test_a_message_of_a_task_index_that_does_not_exist_is_quarantined(
    connection: Connection,
) -> None:
    run_id = root_map(connection, 2)
    send(
        connection,
        {"flow_slug": "numbers", "run_id": str(run_id), "step_slug": "items", "task_index": 7},
        "numbers",
    )
    assert indexes_of(claim(connection, "numbers", 9)) == [0, 1]
    assert [one["message"]["task_index"] for one in quarantined(connection)] == [7]


def test_a_worker_with_handlers_quarantines_messages_of_its_steps(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    orphan(connection)
    assert claim(connection, "f", 9, handlers=["f.a(single:)"]) == []
    assert len(quarantined(connection)) == 1


def test_a_second_message_of_a_task_is_no_second_grant(connection: Connection) -> None:
    run_id = one_step(connection)
    send(connection, {"flow_slug": "f", "run_id": str(run_id), "step_slug": "a", "task_index": 0})
    assert len(claim(connection, "f", 9)) == 1
    assert claim(connection, "f", 9) == []
    assert (task(connection, run_id, "a")["attempts_count"], len(messages(connection, "f"))) == (
        1,
        1,
    )


def test_a_message_of_a_task_that_is_over_is_no_orphan(connection: Connection) -> None:
    run_id = one_step(connection)
    rows(
        connection,
        "update pgflow.step_tasks set status = 'completed', completed_at = now(), started_at = now()",
    )
    assert claim(connection, "f", 9) == []
    assert (quarantined(connection), messages(connection, "f")) == ([], [])
    assert task(connection, run_id, "a")["status"] == "completed"

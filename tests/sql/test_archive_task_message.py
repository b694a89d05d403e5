"""pgflow._archive_task_message: the queue gives up a task's message."""

from __future__ import annotations

import uuid

from tests.support.sql import Connection, archived, define, messages, row, start, task


def archive(connection: Connection, run_id: uuid.UUID, step: str, index: int = 0) -> None:
    query = (
        "select pgflow._archive_task_message(p_run_id => %s, p_step_slug => %s, p_task_index => %s)"
    )
    row(connection, query, run_id, step, index)


def two_maps(connection: Connection) -> uuid.UUID:
    define(connection, "f", {"m": {"step_type": "map"}, "n": {"step_type": "map"}})
    run_id: uuid.UUID = start(connection, "f", [1, 2])["run_id"]
    return run_id


def test_moves_only_this_tasks_message(connection: Connection) -> None:
    run_id = two_maps(connection)
    archive(connection, run_id, "n", 1)
    moved = task(connection, run_id, "n", 1)["message_id"]
    assert [one["msg_id"] for one in archived(connection, "f")] == [moved]
    assert len(messages(connection, "f")) == 3


def test_changes_no_task(connection: Connection) -> None:
    run_id = two_maps(connection)
    before = task(connection, run_id, "m")
    archive(connection, run_id, "m")
    assert task(connection, run_id, "m") == before


def test_a_second_call_is_no_error(connection: Connection) -> None:
    run_id = two_maps(connection)
    archive(connection, run_id, "m")
    archive(connection, run_id, "m")
    assert len(archived(connection, "f")) == 1


def test_a_task_without_message_is_no_error(connection: Connection) -> None:
    run_id = two_maps(connection)
    connection.execute("update pgflow.step_tasks set message_id = null where step_slug = 'm'")
    archive(connection, run_id, "m")
    assert len(messages(connection, "f")) == 4


def test_an_unknown_task_is_no_error(connection: Connection) -> None:
    run_id = two_maps(connection)
    archive(connection, run_id, "m", 9)
    archive(connection, uuid.uuid4(), "m")
    assert len(messages(connection, "f")) == 4

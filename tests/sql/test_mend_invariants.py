"""What can be mended without a decision is mended, through the functions that workers use, and nothing else is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.sql import (
    Connection,
    Row,
    archived,
    call,
    change,
    claim,
    define,
    messages,
    rows,
    run,
    start,
    task,
    value,
    work,
)
from tests.support.tasks import one_step

if TYPE_CHECKING:
    import uuid


def mended(connection: Connection, **named: object) -> list[str]:
    """Mend, and return what was, by its slug."""
    return sorted(finding["invariant"] for finding in call(connection, "mend_invariants", **named))


def findings(connection: Connection) -> list[Row]:
    return rows(connection, "select * from pgflow.invariant_violations")


def copy_message(connection: Connection, change_to: str = "{}") -> None:
    """Send every message of the queue f again, with changes."""
    change(
        connection,
        "insert into pgmq.q_f (vt, message) select vt, message || %s::jsonb from pgmq.q_f",
        change_to,
    )


@pytest.mark.parametrize("is_there", [True, False])
def test_a_lost_message_is_sent_again(connection: Connection, is_there: bool) -> None:
    run_id = one_step(connection)
    if is_there:
        change(connection, "delete from pgmq.q_f")
    else:
        value(connection, "select pgmq.drop_queue('f')")
    assert mended(connection) == ["lost_message"]
    assert findings(connection) == []
    work(connection, "f")
    assert run(connection, run_id)["status"] == "completed"


def test_the_lost_message_of_a_running_task_comes_back_behind_a_lease(
    connection: Connection,
) -> None:
    run_id = one_step(connection)
    claim(connection, "f")
    change(connection, "delete from pgmq.q_f")
    assert mended(connection) == ["lost_message"]
    assert not messages(connection, "f")[0]["visible"]
    assert task(connection, run_id, "a")["status"] == "started"


def test_a_second_message_of_a_task_is_archived(connection: Connection) -> None:
    run_id = one_step(connection)
    copy_message(connection)
    assert mended(connection) == ["duplicate_message"]
    (left,) = messages(connection, "f")
    assert left["msg_id"] == task(connection, run_id, "a")["message_id"]
    assert len(archived(connection, "f")) == 1
    assert findings(connection) == []


def test_messages_of_what_is_over_are_archived(connection: Connection) -> None:
    run_id = one_step(connection)
    call(connection, "cancel_run", run_id=run_id)
    columns = "msg_id, vt, message"
    change(
        connection,
        f"insert into pgmq.q_f ({columns}) overriding system value select {columns} from pgmq.a_f",
    )
    change(connection, "delete from pgmq.a_f")
    assert mended(connection) == ["message_of_finished_run"]
    assert messages(connection, "f") == []
    assert len(archived(connection, "f")) == 1


def test_a_message_of_no_task_is_quarantined(connection: Connection) -> None:
    one_step(connection)
    copy_message(connection, '{"task_index": 7}')
    assert mended(connection) == ["message_without_task"]
    assert len(messages(connection, "f")) == 1
    assert [finding["invariant"] for finding in findings(connection)] == ["quarantined_message"]


def test_only_the_given_runs_are_mended(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    run_ids: list[uuid.UUID] = [start(connection, "f")["run_id"] for _ in range(2)]
    change(connection, "delete from pgmq.q_f")
    assert mended(connection, run_ids=run_ids[:1]) == ["lost_message"]
    assert [finding["run_id"] for finding in findings(connection)] == run_ids[1:]


def test_what_needs_a_decision_is_left(connection: Connection) -> None:
    one_step(connection)
    change(connection, "update pgflow.runs set remaining_steps = 7")
    assert mended(connection) == []
    assert [finding["invariant"] for finding in findings(connection)] == ["remaining_steps"]


def test_what_another_session_holds_is_left_without_waiting(database_url: str) -> None:
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        psycopg.connect(database_url) as other,
    ):
        run_id = one_step(connection)
        copy_message(connection)
        held = one_step(connection, "g")
        change(connection, "delete from pgmq.q_g")
        rows(other, "select from pgflow.runs where run_id = %s for update", held)
        rows(other, "select from pgmq.q_f for update")
        connection.execute("set lock_timeout = '1ms'")
        assert mended(connection) == []
        other.rollback()
        assert mended(connection) == ["duplicate_message", "lost_message"]
        assert task(connection, run_id, "a")["status"] == "queued"

"""pgflow.poll_for_tasks: a stub that only says it is deprecated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.sql import Connection, messages, rows
from tests.support.tasks import one_step

if TYPE_CHECKING:
    from psycopg.errors import Diagnostic


def test_returns_nothing_and_raises_a_notice(connection: Connection) -> None:
    one_step(connection)
    severities: list[str | None] = []

    def note(notice: Diagnostic) -> None:
        severities.append(notice.severity)

    connection.add_notice_handler(note)
    assert rows(connection, "select * from pgflow.poll_for_tasks('f', 30, 1)") == []
    connection.remove_notice_handler(note)
    assert severities == ["NOTICE"]


def test_takes_all_parameters_by_name(connection: Connection) -> None:
    query = """select * from pgflow.poll_for_tasks(
      queue_name => 'q', vt => 1, qty => 1, max_poll_seconds => 1, poll_interval_ms => 10)"""
    assert rows(connection, query) == []


def test_reads_no_message(connection: Connection) -> None:
    one_step(connection)
    rows(connection, "select * from pgflow.poll_for_tasks('f', 30, 1)")
    assert [(one["read_ct"], one["visible"]) for one in messages(connection, "f")] == [(0, True)]


def test_returns_step_task_records(connection: Connection) -> None:
    query = "select pg_get_function_result('pgflow.poll_for_tasks'::regproc) as result"
    assert rows(connection, query) == [{"result": "SETOF pgflow.step_task_record"}]

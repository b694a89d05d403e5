"""The stage of the races: sessions on a database that is emptied after each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg import sql

from tests.races.stage import Stage, contradictions
from tests.support.sql import Connection, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLES = (
    *(
        "attempts",
        "step_tasks",
        "step_states",
        "runs",
        "deps",
        "steps",
        "flows",
        "workers",
        "worker_functions",
    ),
    "quarantined_messages",
)
"""All tables with rows, in an order in which they can be emptied."""


@pytest.fixture(scope="session")
def _spare_sessions() -> Iterator[list[Connection]]:
    sessions: list[Connection] = []
    yield sessions
    for session in sessions:
        session.close()


@pytest.fixture
def stage(shared_database_url: str, _spare_sessions: list[Connection]) -> Iterator[Stage]:
    """Give a stage; whatever happens on it, the books must balance in the end."""
    stage = Stage(shared_database_url, _spare_sessions)
    try:
        yield stage
        assert contradictions(stage.setup) == []
    finally:
        stage.close()
        empty(_spare_sessions[-1])


def empty(connection: Connection) -> None:
    """Delete all rows and queues: tests that come later count whole tables."""
    for table in TABLES:
        connection.execute(sql.SQL("delete from {}").format(sql.Identifier("pgflow", table)))
    rows(connection, "select pgflow._drop_queue_functions(queue_name) from pgmq.list_queues()")
    rows(connection, "select pgmq.drop_queue(queue_name) from pgmq.list_queues()")
    connection.execute("drop schema if exists realtime cascade")
    connection.commit()

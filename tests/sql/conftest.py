"""A connection that commits, for what shows only between transactions: notifications, plans, clean-up of row versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Databases


@pytest.fixture(scope="session")
def _committed_database_url(databases: Databases) -> Iterator[str]:
    with databases.installed() as dsn:
        yield dsn


@pytest.fixture
def committing(_committed_database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Give a connection that commits each statement, to a database that is emptied afterwards."""
    with psycopg.connect(_committed_database_url, autocommit=True) as connection:
        yield connection
        connection.execute("truncate pgflow.flows, pgflow.workers, pgflow.worker_functions cascade")
        connection.execute("truncate pgflow.attempts, pgflow.quarantined_messages")
        connection.execute("select pgmq.drop_queue(queue_name) from pgmq.list_queues()")

"""A connection that commits, for what shows only between transactions, and one to a database with small limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.support.slices import sliced_database

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


@pytest.fixture(scope="session")
def _sliced_session(databases: Databases) -> Iterator[psycopg.Connection[Any]]:
    with sliced_database(databases) as dsn, psycopg.connect(dsn) as session:
        yield session


@pytest.fixture
def sliced(_sliced_session: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """Give a connection to a database where maps are sliced early, in a transaction that is rolled back."""
    yield _sliced_session
    _sliced_session.rollback()

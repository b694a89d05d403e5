"""Fixtures for all tests: a server for the session, databases on it, a connection that leaves no trace."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.support.servers import Databases, session_directory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pgflow.database import Database

DIRECTORY = pytest.StashKey[Path]()

# Tests start hundreds of Python processes, and compiling pgflow is a third of what one costs: like a user's, keep it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As in the background of a shell. What tests start would inherit it, and not be interrupted.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    given = getattr(config, "workerinput", {}).get("pgflow_directory")
    config.stash[DIRECTORY] = Path(given) if given else session_directory()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left with it when the others have nothing more to do."""
    items.sort(key=lambda item: "slow" not in item.keywords)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["pgflow_directory"] = str(node.config.stash[DIRECTORY])


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and DIRECTORY in config.stash:
        Databases(config.stash[DIRECTORY]).remove()


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest) -> Iterator[Databases]:
    """Give the server of the session and what makes databases on it."""
    databases = Databases(request.config.stash[DIRECTORY])
    yield databases
    if databases.server:
        databases.server.close()


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    """Give a new database without the schema, dropped at the end of the test."""
    with databases.empty() as dsn:
        yield dsn


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """Give a new database with the schema, dropped at the end of the test."""
    with databases.installed() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def durable_databases() -> Iterator[Databases]:
    """Give a server as users have it: the session's own takes risks that `pgflow doctor` warns of."""
    databases = Databases(session_directory(), settings={})
    yield databases
    databases.remove()


@pytest.fixture
def durable_database_url(durable_databases: Databases) -> Iterator[str]:
    """Give a new database with the schema on the server that takes no risks."""
    with durable_databases.installed() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def shared_database_url(databases: Databases) -> Iterator[str]:
    """Give a database with the schema for all tests of this process that roll back what they do."""
    with databases.installed() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def _open_connections() -> Iterator[list[psycopg.Connection[Any]]]:
    connections: list[psycopg.Connection[Any]] = []
    yield connections
    for connection in connections:
        connection.close()


@pytest.fixture
def connection(
    shared_database_url: str, _open_connections: list[psycopg.Connection[Any]]
) -> Iterator[psycopg.Connection[Any]]:
    """Give a connection in a transaction that is rolled back at the end of the test."""
    connections = _open_connections
    if not connections or connections[-1].closed:
        connections.append(psycopg.connect(shared_database_url))
    yield connections[-1]
    try:
        connections[-1].rollback()
    except psycopg.Error:
        connections[-1].close()


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """Give a Database over a new database of the test's own."""
    from pgflow.database import Database

    async with Database.connect(database_url) as database:
        yield database

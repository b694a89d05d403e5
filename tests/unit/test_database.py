"""database.py and its parts, as far as they need no server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors as server

import pgflow
from pgflow._pool import address, complete_dsn
from pgflow._server_errors import is_transient, translated
from pgflow._tasks import _parts_of, _storable
from pgflow.database import Database, expected_schema_version, require_schema
from pgflow.errors import (
    ConnectionFailed,
    PermissionDenied,
    PgflowError,
    SchemaMismatch,
    UsageError,
)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionFailed("gone"),
        psycopg.OperationalError("server closed the connection unexpectedly"),
        server.DeadlockDetected(),
        server.SerializationFailure(),
        server.AdminShutdown(),
        server.QueryCanceled(),
        server.DiskFull(),
        server.TooManyConnections(),
        server.ReadOnlySqlTransaction(),
        server.LockNotAvailable(),
        ConnectionResetError(),
    ],
)
def test_trouble_of_the_server_is_transient(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        server.InvalidTextRepresentation(),
        server.UniqueViolation(),
        server.UndefinedFunction(),
        PermissionDenied("no"),
        ValueError(),
    ],
)
def test_what_repeating_cannot_mend_is_not_transient(error: Exception) -> None:
    assert not is_transient(error)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (server.InsufficientPrivilege("permission denied for schema pgflow"), PermissionDenied),
        (server.InvalidCatalogName('database "x" does not exist'), ConnectionFailed),
        (server.InvalidPassword("password authentication failed"), ConnectionFailed),
        (
            psycopg.OperationalError('connection failed: FATAL: database "x" does not exist'),
            ConnectionFailed,
        ),
        (server.AdminShutdown("terminating connection"), ConnectionFailed),
        (psycopg.OperationalError("connection refused"), ConnectionFailed),
        (server.UndefinedFunction("function pgflow.claim_tasks() does not exist"), SchemaMismatch),
        (server.UndefinedTable('relation "pgflow.runs" does not exist'), SchemaMismatch),
    ],
)
def test_server_errors_become_errors_that_say_what_to_do(
    error: psycopg.Error, kind: type[PgflowError]
) -> None:
    better = translated(error)
    assert type(better) is kind
    assert better.hint


@pytest.mark.parametrize(
    "error",
    [server.UndefinedTable('relation "users" does not exist'), server.UniqueViolation("dup")],
)
def test_other_errors_stay_as_they_are(error: psycopg.Error) -> None:
    assert translated(error) is error


def test_an_address_is_shown_without_its_password() -> None:
    assert (
        address("postgresql://ada:secret@db.example.org:5433/orders")
        == "db.example.org:5433/orders"
    )


def test_the_dsn_overrules_our_connection_defaults() -> None:
    dsn = complete_dsn("host=db connect_timeout=3 application_name=mine", application_name="pgflow")
    assert "connect_timeout=3" in dsn
    assert "application_name=mine" in dsn
    assert "keepalives_idle=" in dsn


def test_a_malformed_address_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="not a PostgreSQL address") as caught:
        Database.connect("http://example.org/database?nonsense")
    assert caught.value.hint is not None
    assert "postgresql://" in caught.value.hint


def test_the_schema_expected_is_the_last_migration() -> None:
    migrations = Path(pgflow.__path__[0], "sql", "migrations").glob("*.sql")
    assert expected_schema_version() == max(int(file.name[:4]) for file in migrations)


@pytest.mark.parametrize(("offset", "hint"), [(-1, "pgflow init"), (1, "pip install --upgrade")])
def test_another_schema_version_is_refused_with_the_command_that_mends_it(
    offset: int, hint: str
) -> None:
    with pytest.raises(SchemaMismatch, match="version") as caught:
        require_schema(expected_schema_version() + offset)
    assert hint in str(caught.value)


def test_no_schema_is_refused() -> None:
    with pytest.raises(SchemaMismatch, match="no pgflow schema yet"):
        require_schema(None)


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([], [(0, 0)]),
        ([3, 3], [(0, 2)]),
        ([6, 6, 6], [(0, 1), (1, 2), (2, 3)]),
        ([4, 4, 4, 4], [(0, 2), (2, 4)]),
        ([99, 1], [(0, 1), (1, 2)]),
        ([1, 99], [(0, 1), (1, 2)]),
    ],
)
def test_large_outputs_go_in_several_statements(
    sizes: list[int], parts: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow._tasks.MAX_BATCH_BYTES", 10)
    outputs = ["x" * size for size in sizes]
    assert [(part.start, part.stop) for part in _parts_of(outputs)] == parts


def test_error_texts_lose_what_postgresql_cannot_store() -> None:
    assert _storable("a\0b\ud800c") == "a\ufffdb?c"


async def test_a_database_belongs_to_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    database: Any = Database.connect("host=/nowhere")
    await database._pool._opened()
    try:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(UsageError, match="another process"):
            await database.flow_slugs()
    finally:
        monkeypatch.undo()
        await database.close()

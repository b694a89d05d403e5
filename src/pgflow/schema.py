"""Install, upgrade and verify the schema in a database, or print it as plain SQL.

Everything happens in one transaction under an advisory lock: pgmq, then the migrations that are missing, then all
functions and views anew. What `export_sql` prints is what `install` runs.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import IsolationLevel
from psycopg import errors as server
from psycopg.rows import tuple_row

from pgflow import __version__
from pgflow._pool import complete_dsn
from pgflow._script import CODE_ROW, begin, pieces, role_pieces
from pgflow._server_errors import translated
from pgflow._sources import SOURCES, Sources
from pgflow.errors import PermissionDenied, SchemaMismatch

if TYPE_CHECKING:
    from psycopg import Connection

    from pgflow._script import Piece

SCHEMA_VERSION: Final = SOURCES.version
"""Version of the schema that this code works with."""

MINIMUM_SERVER: Final = 140000
REPEATS: Final = 5
"""Tries of an installation that loses against the work that goes on."""
_READ_STATE: Final = (
    b"select version, name, checksum from pgflow.schema_migrations order by version"
)


@dataclass(frozen=True, slots=True)
class Installed:
    """Outcome of `install`."""

    version: int
    previous: int | None
    """Version found before; none for a new schema."""
    changed: bool
    """Whether anything had to be done."""


@dataclass(frozen=True, slots=True)
class _State:
    """What a database says about its schema."""

    version: int
    checksums: dict[int, str]
    fingerprint: str
    release: tuple[int, ...]


def install(
    dsn: str, *, roles: bool = False, tenants: bool = False, sources: Sources = SOURCES
) -> Installed:
    """Bring the schema to this version, from nothing or from any older one; repeated, it changes nothing.

    With `roles` it also makes the roles pgflow_owner, pgflow_worker, pgflow_client and pgflow_viewer, which takes
    the right to create roles, and gives them their rights. With `tenants` it keeps tenants apart by row-level security,
    which needs roles. Later installs renew both by themselves. A second one at the same time waits, and then finds nothing
    to do. Raises ConnectionFailed, PermissionDenied, and SchemaMismatch when the database is newer than this code, a
    migration was altered, or a piece of the SQL fails. Whatever it raises, nothing was changed.
    """
    for _ in range(REPEATS - 1):
        # Workers go on meanwhile, and one of them may hold what this wants while it wants what this holds.
        with suppress(server.DeadlockDetected):
            return _install(dsn, sources, roles=roles, tenants=tenants)
    return _install(dsn, sources, roles=roles, tenants=tenants)


def _install(dsn: str, sources: Sources, *, roles: bool, tenants: bool) -> Installed:
    with _connect(dsn) as connection:
        before = _judged(connection, sources)
        if before and _is_current(before, sources) and not (roles or tenants):
            return Installed(before.version, before.version, changed=False)
        connection.execute(begin().text.encode())
        before = _judged(connection, sources)
        if before and _is_current(before, sources):
            for piece in role_pieces(sources, roles=roles, tenants=tenants):
                _run(connection, piece)
            return Installed(before.version, before.version, changed=False)
        for piece in pieces(sources, roles=roles, tenants=tenants):
            _run(connection, piece)
        return Installed(sources.version, before.version if before else None, changed=True)


def verify(database: str | Connection[Any], *, sources: Sources = SOURCES) -> None:
    """Raise SchemaMismatch, naming the command that mends it, unless this code can work with the database's schema.

    Functions of a newer release with the same schema version are accepted: they serve older workers.
    """
    if isinstance(database, str):
        with _connect(database) as connection:
            verify(connection, sources=sources)
        return
    state = _read_state(database)
    if state is None:
        raise SchemaMismatch("the database has no pgflow schema yet")
    _refuse_newer_or_altered(state, sources)
    if state.version < sources.version:
        raise SchemaMismatch(
            f"the schema has version {state.version}, this pgflow needs {sources.version}"
        )
    if not _is_current(state, sources) and state.release <= _release(__version__):
        raise SchemaMismatch("the schema's functions are not those of this pgflow")


def version(dsn: str) -> int | None:
    """Return the version of the schema in a database, or nothing where there is none."""
    with _connect(dsn) as connection:
        state = _read_state(connection)
        return state.version if state else None


def export_sql(*, roles: bool = False, tenants: bool = False, sources: Sources = SOURCES) -> str:
    """Return all that `install` does as plain SQL, to be run in one transaction; repeatable like it."""
    head = (
        f"-- pgflow {__version__}, schema version {sources.version}. Run it as a whole, in one transaction:\n"
        "--   psql --single-transaction --set ON_ERROR_STOP=1 --file pgflow.sql <address>\n"
    )
    script = (begin(), *pieces(sources, roles=roles, tenants=tenants))
    return head + "".join(f"\n-- {piece.name}\n\n{piece.text.strip()}\n" for piece in script)


def _connect(dsn: str) -> Connection[Any]:
    try:
        connection = psycopg.connect(complete_dsn(dsn))
    except psycopg.Error as error:
        raise translated(error) from error
    # Who waited for the lock has to see what the one before committed, whatever the role's default is.
    connection.isolation_level = IsolationLevel.READ_COMMITTED
    if connection.info.server_version < MINIMUM_SERVER:
        found = connection.info.server_version // 10000
        connection.close()
        raise SchemaMismatch(
            f"the server is PostgreSQL {found}", hint="pgflow needs PostgreSQL 14 or newer."
        )
    return connection


def _run(connection: Connection[Any], piece: Piece) -> None:
    try:
        connection.execute(piece.text.encode())
    except server.InsufficientPrivilege as error:
        text = f"{error.diag.message_primary} (in {piece.name}); nothing was changed"
        role, database = connection.info.user, connection.info.dbname
        hint = f"Let the database's owner run it, or grant: grant create on database {database} to {role};"
        raise PermissionDenied(text, hint=error.diag.message_hint or hint) from error
    except server.DeadlockDetected:
        raise
    except psycopg.Error as error:
        text = f"{piece.name} failed, nothing was changed: {error}".strip()
        raise SchemaMismatch(
            text, hint=error.diag.message_hint or "Mend the cause and run it again."
        ) from error


# What the database says


def _read_state(connection: Connection[Any]) -> _State | None:
    try:
        with connection.transaction():
            cursor = psycopg.Cursor(connection, row_factory=tuple_row)
            rows = cursor.execute(_READ_STATE).fetchall()
    except (server.UndefinedTable, server.InvalidSchemaName):
        return None
    except psycopg.Error as error:
        raise translated(error) from error
    checksums = {int(number): str(checksum) for number, _, checksum in rows}
    names = {int(number): str(name) for number, name, _ in rows}
    fingerprint = checksums.pop(CODE_ROW, "")
    return _State(
        max(checksums, default=0), checksums, fingerprint, _release(names.get(CODE_ROW, ""))
    )


def _judged(connection: Connection[Any], sources: Sources) -> _State | None:
    state = _read_state(connection)
    if state is not None:
        _refuse_newer_or_altered(state, sources)
        if state.fingerprint != sources.fingerprint and state.release > _release(__version__):
            _refuse_newer(f"functions of pgflow {'.'.join(map(str, state.release))}", __version__)
    return state


def _refuse_newer_or_altered(state: _State, sources: Sources) -> None:
    if state.version > sources.version:
        _refuse_newer(f"version {state.version}", str(sources.version))
    for migration in sources.migrations[: state.version]:
        if state.checksums.get(migration.version) != migration.checksum:
            message = f"migration {migration.name} is not the one that was applied to this database"
            hint = "Migrations never change: restore the file, or make a new database."
            raise SchemaMismatch(message, hint=hint)


def _refuse_newer(found: str, ours: str) -> None:
    message = f"the schema has {found}, this pgflow knows only {ours}"
    raise SchemaMismatch(message, hint="Upgrade the package: pip install --upgrade py-pgflow")


def _is_current(state: _State, sources: Sources) -> bool:
    return state.version == sources.version and state.fingerprint == sources.fingerprint


def _release(text: str) -> tuple[int, ...]:
    numbers = text.rpartition(" ")[2].split(".")
    return tuple(int(number) for number in numbers if number.isdecimal())

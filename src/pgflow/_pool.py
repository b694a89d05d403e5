"""Connections to PostgreSQL: safe settings, a pool that opens by itself, failures as pgflow errors.

Knows nothing of flows; `database.py` sends every statement through here.
"""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar

import psycopg
from psycopg import errors as server
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Format
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool, PoolClosed

from pgflow._server_errors import raise_translated
from pgflow.errors import (
    ConnectionFailed,
    UsageError,
)
from pgflow.records import RawJson

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from psycopg import AsyncConnection, Connection
    from psycopg.adapt import AdaptersMap
    from psycopg.sql import SQL, Composed

    Query = LiteralString | bytes | SQL | Composed
    Parameters = Sequence[object] | Mapping[str, object]
    Rows = list[tuple[Any, ...]]

_Cursor = TypeVar("_Cursor", bound="psycopg.Cursor[Any] | psycopg.AsyncCursor[Any]")

CONNECTION_DEFAULTS: Mapping[str, str] = {
    "application_name": "pgflow",
    "connect_timeout": "5",
    # A peer that vanished without a word is noticed within 30 s instead of two hours.
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""libpq parameters that the DSN may overrule."""

SESSION_SETTINGS: Mapping[str, str] = {
    # The longest statement of ours builds the aggregate of a million outputs, in some 3 s.
    "statement_timeout": "120s",
    "lock_timeout": "60s",
    # A stopped process must not keep its tasks locked.
    "idle_in_transaction_session_timeout": "60s",
    # Idle connections are kept on purpose; keepalives notice those that have died.
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    # The engine's functions rely on each statement seeing what others have committed.
    "default_transaction_isolation": "read committed",
    # Compiling costs more than any statement of ours runs.
    "jit": "off",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
}
"""Settings of every session, whatever the server's or the role's defaults are."""

GUEST_SETTINGS: Mapping[str, str] = {
    # Users' own statements: the step's timeout limits them, not ours.
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "300s",
}
"""What differs in sessions that handlers write with."""

POOL_TIMEOUT = 15.0
REPEATS = 4

_PROCESS: LiteralString = "select pg_backend_pid()"


class _RawJsonLoader(Loader):
    def load(self, data: bytes | bytearray | memoryview) -> RawJson:
        return RawJson(data)


class _RawJsonbBinaryLoader(Loader):
    format = Format.BINARY

    def load(self, data: bytes | bytearray | memoryview) -> RawJson:
        return RawJson(data[1:])  # the first byte is jsonb's version


def address(dsn: str) -> str:
    """Return the DSN's host, port and database, without its password."""
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return "the given address"
    host = parts.get("host") or parts.get("hostaddr") or "local socket"
    return f"{host}:{parts.get('port') or 5432}/{parts.get('dbname') or parts.get('user') or ''}"


def complete_dsn(dsn: str, **parameters: str) -> str:
    """Add our connection parameters to those that the DSN leaves open; UsageError if it is malformed."""
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        message = f"not a PostgreSQL address: {str(error).strip()}"
        hint = "An address looks like postgresql://user:password@host:5432/database"
        raise UsageError(message, hint=hint) from error
    return make_conninfo("", **{**CONNECTION_DEFAULTS, **parameters, **given})


def settings_call(settings: Mapping[str, str]) -> tuple[bytes, list[str]]:
    """Return one statement that applies session settings, as far as the server knows them, and its parameters."""
    call = "case when current_setting(%s, true) is not null then set_config(%s, %s, false) end"
    parameters = [part for name, value in settings.items() for part in (name, name, value)]
    return f"select {', '.join([call] * len(settings))}".encode(), parameters


def register_raw_json(adapters: AdaptersMap) -> None:
    """Have json and jsonb come back as RawJson."""
    for name in ("json", "jsonb"):
        adapters.register_loader(name, _RawJsonLoader)
    adapters.register_loader("jsonb", _RawJsonbBinaryLoader)


def _with_raw_json(cursor: _Cursor) -> _Cursor:
    register_raw_json(cursor.adapters)
    return cursor


async def repeating(call: Callable[[], Awaitable[Rows]]) -> Rows:
    """Make a call; repeat it a few times if it lost against another transaction."""
    for _ in range(REPEATS - 1):
        try:
            return await call()
        except (server.DeadlockDetected, server.SerializationFailure):
            await asyncio.sleep(random.uniform(0.005, 0.05))  # noqa: S311 - spreads repeats, no secret
    return await call()


async def fetch(
    connection: AsyncConnection[Any], statement: Query, parameters: Parameters = ()
) -> Rows:
    """Run one statement on a connection of anybody's; its row factory and adapters do not matter."""
    try:
        cursor = _with_raw_json(psycopg.AsyncCursor(connection, row_factory=tuple_row))
        await cursor.execute(statement, parameters)
        return await cursor.fetchall()
    except psycopg.Error as error:
        raise_translated(error)


def fetch_sync(connection: Connection[Any], statement: Query, parameters: Parameters = ()) -> Rows:
    """Run one statement on a synchronous connection."""
    try:
        with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
            return _with_raw_json(cursor).execute(statement, parameters).fetchall()
    except psycopg.Error as error:
        raise_translated(error)


def connect_sync(dsn: str, settings: Mapping[str, str]) -> Connection[Any]:
    """Open a synchronous connection with our settings; `autocommit` is off."""
    try:
        connection = psycopg.connect(complete_dsn(dsn), autocommit=True)
        try:
            connection.execute(*settings_call(settings))
            row = connection.execute(_PROCESS).fetchone()
            if row and row[0] != connection.info.backend_pid:
                connection.prepare_threshold = None  # see Pool._configure
            connection.autocommit = False
        except BaseException:
            connection.close()
            raise
    except psycopg.Error as error:
        raise_translated(error)
    return connection


def _elsewhere(place: str) -> UsageError:
    return UsageError(
        f"this Database was opened in another {place}",
        hint=f"Open one in each {place}: async with Database.connect(dsn) as db.",
    )


class Pool:
    """Connections in autocommit, for the process and the event loop that opened it."""

    def __init__(
        self,
        dsn: str,
        *,
        min_size: int,
        max_size: int,
        settings: Mapping[str, str],
        application_name: str,
        prepared: bool,
    ) -> None:
        self.dsn = complete_dsn(dsn, application_name=application_name)
        self._settings = settings
        self._sizes = (min_size, max_size)
        self._kwargs: dict[str, Any] = {
            "autocommit": True,
            "prepare_threshold": 2 if prepared else None,
        }
        self._pool: AsyncConnectionPool[AsyncConnection[Any]] | None = None
        self._owner: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._mending: asyncio.Task[None] | None = None

    async def connect(self) -> AsyncConnection[Any]:
        """Open a connection outside the pool; the caller closes it."""
        self._check_process()
        try:
            connection = await psycopg.AsyncConnection.connect(self.dsn, **self._kwargs)
            try:
                await self._configure(connection)
            except BaseException:
                await connection.close()
                raise
        except psycopg.Error as error:
            raise_translated(error)
        return connection

    async def close(self) -> None:
        """Close all connections; waits for none that is in use."""
        if self._mending is not None:
            self._mending.cancel()
        pool, self._pool = self._pool, None
        if pool is not None and self._owner is not None and self._owner[0] == os.getpid():
            await pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Lend a connection; ConnectionFailed when the server is gone or none comes free in time."""
        pool = await self._opened()
        try:
            connection = await pool.getconn()
        except psycopg.OperationalError as error:
            if isinstance(error, PoolClosed):
                raise UsageError("the database was closed while it was in use") from error
            raise ConnectionFailed(f"{address(self.dsn)}: {str(error).strip()}") from error
        try:
            yield connection
        except psycopg.Error as error:
            self._mend(connection)
            raise_translated(error)
        finally:
            await pool.putconn(connection)

    async def fetch(self, statement: Query, parameters: Parameters = ()) -> Rows:
        """Run one statement in a transaction of its own; repeat it if it lost against another."""

        async def call() -> Rows:
            async with self.connection() as connection:
                return await fetch(connection, statement, parameters)

        return await repeating(call)

    def check_owner(self) -> None:
        """Raise UsageError outside the process and the event loop that used it first."""
        here = (os.getpid(), asyncio.get_running_loop())
        self._check_process()
        if self._owner is None:
            self._owner = here
        elif self._owner != here:
            raise _elsewhere("event loop")

    def _check_process(self) -> None:
        if self._owner is not None and self._owner[0] != os.getpid():
            raise _elsewhere("process")

    async def _opened(self) -> AsyncConnectionPool[AsyncConnection[Any]]:
        self.check_owner()
        if self._pool is None:
            self._pool = AsyncConnectionPool(
                self.dsn,
                kwargs=self._kwargs,
                min_size=self._sizes[0],
                max_size=self._sizes[1],
                configure=self._configure,
                timeout=POOL_TIMEOUT,
                reconnect_timeout=30,
                open=False,
            )
            await self._pool.open(wait=False)
        return self._pool

    async def _configure(self, connection: AsyncConnection[Any]) -> None:
        await connection.execute(*settings_call(self._settings))
        # A pooler announces another process than the one that answers, and may lend another one to the next
        # transaction: what was prepared in the one is unknown, or something else, in the other.
        row = await (await connection.execute(_PROCESS)).fetchone()
        if row and row[0] != connection.info.backend_pid:
            connection.prepare_threshold = None

    def _mend(self, connection: AsyncConnection[Any]) -> None:
        # When one connection broke the others have most likely, too: replace them before they are lent.
        if (
            connection.closed
            and self._pool is not None
            and (not self._mending or self._mending.done())
        ):
            self._mending = asyncio.create_task(self._pool.check())

"""Every call into the database: one method per SQL function, of the same name; reads over the views.

Each call is a transaction of its own unless `connection=` puts it into the caller's. Inputs and
outputs travel as JSON text and come back as RawJson, never parsed on the way.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, LiteralString

from psycopg import sql

from pgflow._definitions import Definitions
from pgflow._direct import DirectLines
from pgflow._gate import (
    expected_schema_version,
    installed_version,
    require_functions,
    require_schema,
)
from pgflow._pool import (
    GUEST_SETTINGS,
    SESSION_SETTINGS,
    Pool,
    connect_sync,
    fetch,
)
from pgflow._server_errors import (
    UPGRADE_REPEATS,
    is_server_fault,
    is_transient,
    is_unregistered,
    is_upgrade,
)
from pgflow._starts import Runs, conditional_steps_on, define_flow_on, start_flow_on
from pgflow._tasks import Tasks, complete_tasks_on, text_array
from pgflow._vault import ValueCodec, Vault
from pgflow.records import Pruned

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Generator,
        Sequence,
    )
    from typing import Self
    from uuid import UUID

    from psycopg import AsyncConnection, Connection

    from pgflow._pool import Query, Rows

__all__ = [
    "EVENTS_CHANNEL",
    "UPGRADE_REPEATS",
    "WAKE_CHANNEL",
    "Database",
    "ValueCodec",
    "complete_tasks_on",
    "conditional_steps_on",
    "define_flow_on",
    "expected_schema_version",
    "is_server_fault",
    "is_transient",
    "is_unregistered",
    "is_upgrade",
    "require_schema",
    "start_flow_on",
]

EVENTS_CHANNEL = "pgflow_events"
WAKE_CHANNEL = "pgflow_wake"
LISTEN_DSN = "PGFLOW_LISTEN_DSN"
"""Environment variable with the address to listen at, or "off"."""
WORK_LINES = 3
"""Connections of a worker's calls: one claims, two report."""
START_LINES = 2


class Database(Definitions, Runs, Tasks):
    """A pgflow database; open it with `async with Database.connect(dsn) as db` or `await` it.

    Safe for any number of concurrent tasks of one event loop. Raises ConnectionFailed,
    PermissionDenied and SchemaMismatch; psycopg's own errors only for what it has no better word for.
    """

    def __init__(
        self,
        dsn: str,
        *,
        min_size: int,
        max_size: int,
        application_name: str,
        prepared: bool,
        check_schema: bool,
        listen_dsn: str | None = None,
        value_codec: ValueCodec | None = None,
    ) -> None:
        self.dsn = dsn
        self._listen_dsn = os.environ.get(LISTEN_DSN) if listen_dsn is None else listen_dsn
        self.vault = Vault(value_codec)
        """Seals the values that runs and tasks carry, if there is a codec; records hold them as they are stored."""
        self._check_schema = check_schema
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._pool = Pool(
            dsn,
            min_size=min_size,
            max_size=max_size,
            settings=SESSION_SETTINGS,
            application_name=application_name,
            prepared=prepared,
        )
        # Starts must not make claims and reports wait, nor the other way round.
        self._work_lines = DirectLines(self._pool, size=WORK_LINES, prepared=prepared)
        self._start_lines = DirectLines(self._pool, size=START_LINES, prepared=prepared)
        self._listener_pool = self._pool
        if self._listen_dsn and self.listens:
            self._listener_pool = Pool(
                self._listen_dsn,
                min_size=0,
                max_size=1,
                settings=SESSION_SETTINGS,
                application_name=application_name,
                prepared=False,
            )
        # Handlers write through connections of their own, so they cannot starve claims and reports.
        self._guests = Pool(
            dsn,
            min_size=0,
            max_size=16,
            settings={**SESSION_SETTINGS, **GUEST_SETTINGS},
            application_name=f"{application_name} handler",
            prepared=prepared,
        )

    @classmethod
    def connect(
        cls,
        dsn: str,
        *,
        min_size: int = 1,
        max_size: int = 4,
        application_name: str = "pgflow",
        prepared: bool = True,
        check_schema: bool = True,
        listen_dsn: str | None = None,
        value_codec: ValueCodec | None = None,
    ) -> Self:
        """Prepare a connection; `await` it or enter it to check the server and its schema.

        Behind a pooler nothing is prepared, whatever `prepared` says. `listen_dsn` is another address of the same
        database, to listen for notifications where a pooler passes none on, or "off"; by default PGFLOW_LISTEN_DSN.
        With a `value_codec`, inputs and outputs are sealed before they are stored, and opened for handlers and results.
        """
        return cls(
            dsn,
            min_size=min_size,
            max_size=max_size,
            application_name=application_name,
            prepared=prepared,
            check_schema=check_schema,
            listen_dsn=listen_dsn,
            value_codec=value_codec,
        )

    async def open(self) -> Self:
        """Check that the server answers and that its schema is the one this code works with."""
        connection = await self._pool.connect()
        try:
            if self._check_schema:
                require_schema(await installed_version(connection))
                await require_functions(connection)
        finally:
            await connection.close()
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        """Open it."""
        return self.open().__await__()

    async def __aenter__(self) -> Self:
        """Open it."""
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()

    async def close(self) -> None:
        """Close what depends on it (`on_close`), then all connections."""
        while self._closers:
            await self._closers.pop()()
        await self._work_lines.close()
        await self._start_lines.close()
        await self._pool.close()
        await self._guests.close()

    def on_close(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Have `closer` awaited when this is closed."""
        self._closers.append(closer)

    # Connections

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Lend an autocommit connection of the pool, to pass as `connection=` for many calls."""
        async with self._pool.connection() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Lend a connection in a transaction: committed at the end, rolled back on any exception.

        From a pool that the engine's own calls do not use.
        """
        async with self._guests.connection() as connection, connection.transaction():
            yield connection

    def connect_sync(self) -> Connection[Any]:
        """Open a synchronous connection of the caller's own, `autocommit` off, with our settings."""
        return connect_sync(self.dsn, {**SESSION_SETTINGS, **GUEST_SETTINGS})

    @property
    def listens(self) -> bool:
        """Whether notifications are wanted at all."""
        return self._listen_dsn != "off"

    async def connect_listener(self) -> AsyncConnection[Any]:
        """Open a connection outside the pools, for LISTEN; the caller closes it."""
        return await self._listener_pool.connect()

    async def notify(self, channel: str) -> None:
        """Notify a channel from a new connection, as others do."""
        connection = await self._pool.connect()
        try:
            await fetch(connection, "select pg_notify(%s::text, '')", (channel,))
        finally:
            await connection.close()

    def listen_statement(self, channel: str) -> bytes:
        """Return the statement that subscribes a connection to a channel."""
        return sql.SQL("listen {}").format(sql.Identifier(channel)).as_bytes()

    def notify_statement(self, channel: str) -> bytes:
        """Return the statement that notifies a channel."""
        return sql.SQL("notify {}").format(sql.Identifier(channel)).as_bytes()

    async def _fetch(
        self,
        statement: Query,
        *parameters: object,
        connection: AsyncConnection[Any] | None = None,
    ) -> Rows:
        if connection is None:
            return await self._pool.fetch(statement, parameters)
        return await fetch(connection, statement, parameters)

    async def _call(
        self,
        statement: LiteralString,
        *parameters: object,
        connection: AsyncConnection[Any] | None = None,
    ) -> Rows:
        if connection is None:
            return await self._work_lines.fetch(statement, parameters)
        return await fetch(connection, statement, parameters)

    async def _start(
        self,
        statement: LiteralString,
        *parameters: object,
        connection: AsyncConnection[Any] | None = None,
    ) -> Rows:
        if connection is None:
            return await self._start_lines.fetch(statement, parameters)
        return await fetch(connection, statement, parameters)

    # Schema and definitions

    async def schema_version(self) -> int | None:
        """Return the version of the installed schema, or nothing where there is none."""
        async with self.connection() as connection:
            return await installed_version(connection)

    async def delete_flow_unless_live(self, flow_slug: str) -> list[UUID]:
        """Delete a flow with its runs if all of these have ended; else return those that have not."""
        lock = (
            "select 1 from pgflow.flows where flow_slug = %s for update"  # no run starts meanwhile
        )
        async with self._pool.connection() as connection, connection.transaction():
            await fetch(connection, lock, (flow_slug,))
            live = await self.live_runs(flow_slug, connection=connection)
            if not live:
                await self.delete_flow_and_data(flow_slug, connection=connection)
            return live

    # Workers and upkeep

    async def register_worker(  # noqa: PLR0917 - the SQL function's parameters
        self,
        worker_id: UUID,
        queue_names: Sequence[str],
        function_name: str,
        hostname: str | None = None,
        pid: int | None = None,
        info: str | None = None,
    ) -> None:
        """Announce a worker (`info`: JSON text)."""
        statement = "select pgflow.register_worker(%s::uuid, %s::text[], %s::text, %s::text, %s::int, %s::jsonb)"
        await self._fetch(
            statement, worker_id, text_array(queue_names), function_name, hostname, pid, info
        )

    async def worker_heartbeat(self, worker_id: UUID) -> bool | None:
        """Tell that a worker lives; true when it is deprecated and should stop, None when it is not registered."""
        rows = await self._fetch("select pgflow.worker_heartbeat(%s::uuid)", worker_id)
        deprecated: bool | None = rows[0][0]
        return deprecated

    async def mark_worker_stopped(self, worker_id: UUID) -> None:
        """Tell that a worker has ended."""
        await self._fetch("select pgflow.mark_worker_stopped(%s::uuid)", worker_id)

    async def resend_lost_messages(self) -> int:
        """Send again the messages that unfinished tasks have lost; return their number."""
        return int((await self._fetch("select pgflow.resend_lost_messages()"))[0][0])

    async def prune_batch(
        self,
        retention: float,
        max_runs: int,
        flow_slug: str | None = None,
        statuses: Sequence[str] | None = None,
    ) -> Pruned:
        """Delete a batch of what has been over for `retention` seconds; nothing is left when nothing was deleted."""
        statement = """select runs, messages, workers from pgflow.prune_batch(
          make_interval(secs => %s::float8), %s::int, %s::text, %s::text[])"""
        named = None if statuses is None else text_array(statuses)
        ((runs, messages, workers),) = await self._fetch(
            statement, retention, max_runs, flow_slug, named
        )
        return Pruned(runs=runs, messages=messages, workers=workers)

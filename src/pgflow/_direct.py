"""Short calls over connections of their own: nothing to lend, statements prepared, one write and one read a call.

For what a worker and a starting client do all the time. psycopg connects, and turns the rows into
values; its cursors and its pool would cost three times as much as the call itself (ADR 18).
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors as server
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus, Format

from pgflow._pool import register_raw_json, repeating
from pgflow._server_errors import raise_translated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import AsyncConnection
    from psycopg.pq.abc import PGresult

    from pgflow._pool import Pool, Rows

CANCEL_PATIENCE = 5.0
"""Seconds that the server has to stop a statement nobody waits for any more."""


class DirectLines:
    """A few connections, opened when first needed and kept; a call waits while all are taken."""

    def __init__(self, pool: Pool, *, size: int, prepared: bool) -> None:
        self._pool = pool
        self._prepared = prepared
        self._free = asyncio.Semaphore(size)
        self._idle: list[_Line] = []
        self._lines: set[_Line] = set()

    async def fetch(self, statement: str, parameters: Sequence[object] = ()) -> Rows:
        """Run one statement with `%s` placeholders in a transaction of its own; repeat it if it lost a conflict.

        Parameters are texts, numbers, UUIDs and None. Raises what `Pool.fetch` raises.
        """
        command = _numbered(statement)
        return await repeating(lambda: self._call(command, parameters))

    async def close(self) -> None:
        """Close all connections; a call under way fails."""
        for line in list(self._lines):
            line.close(psycopg.OperationalError("the connection was closed while it was in use"))
        self._lines.clear()
        self._idle.clear()

    async def _call(self, command: bytes, parameters: Sequence[object]) -> Rows:
        self._pool.check_owner()
        async with self._free:
            line = await self._take()
            try:
                return await line.call(command, parameters)
            except psycopg.Error as error:
                raise_translated(error)
            finally:
                if line.is_open:
                    self._idle.append(line)
                else:
                    self._lines.discard(line)

    async def _take(self) -> _Line:
        while self._idle:
            line = self._idle.pop()
            if line.is_open:
                return line
            self._lines.discard(line)
        connection = await self._pool.connect()
        prepared = self._prepared and connection.prepare_threshold is not None
        line = _Line(connection, prepared=prepared)
        self._lines.add(line)
        return line


class _Line:
    """One connection, one call at a time; it notices at once when the server hangs up."""

    def __init__(self, connection: AsyncConnection[Any], *, prepared: bool) -> None:
        register_raw_json(connection.adapters)
        self._connection = connection
        self._pgconn = connection.pgconn
        self._socket = self._pgconn.socket
        self._encoding = connection.info.encoding
        self._rows = Transformer(connection)
        self._prepared = prepared
        self._names: dict[bytes, bytes | None] = {}
        """Prepared statements; None for one that was sent once."""
        self._serial = 0
        self._answer: asyncio.Future[PGresult] | None = None
        self._result: PGresult | None = None
        self._ending: asyncio.Task[None] | None = None
        self._is_given_up = self._is_closed = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._read)

    @property
    def is_open(self) -> bool:
        """Tell whether it takes another call, as far as is known."""
        return not self._is_given_up and self._pgconn.status == ConnStatus.OK

    async def call(self, command: bytes, parameters: Sequence[object]) -> Rows:
        """Send a statement and return its rows; a psycopg.Error where it fails."""
        values = [self._encoded(value) for value in parameters]
        try:
            return await self._execute(command, values)
        except (server.FeatureNotSupported, server.InvalidSqlStatementName):
            # An upgrade changed what the statement returns, or a pooler forgot it: it has not run.
            if not self._names.get(command):
                raise
            self._names.clear()
            return await self._execute(command, values)

    def close(self, reason: psycopg.Error) -> None:
        """Hang up; whoever waits gets the reason."""
        if not self._is_closed:
            self._is_closed = True
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._pgconn.finish()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(reason)

    async def _execute(self, command: bytes, values: list[bytes | None]) -> Rows:
        pgconn = self._pgconn
        name = await self._name_of(command)
        if name is None:
            pgconn.send_query_params(command, values)
        else:
            pgconn.send_query_prepared(name, values)
        result = await self._answered()
        if result.status != ExecStatus.TUPLES_OK:
            return []
        self._rows.set_pgresult(result, format=Format.TEXT)
        return self._rows.load_rows(0, result.ntuples, tuple)

    async def _name_of(self, command: bytes) -> bytes | None:
        if not self._prepared:
            return None
        if command not in self._names:
            self._names[command] = None  # what is sent once only is not worth preparing
            return None
        name = self._names[command]
        if name is None:
            self._serial += 1
            name = f"pgflow_{self._serial}".encode()
            self._pgconn.send_prepare(name, command)
            await self._answered()
            self._names[command] = name
        return name

    async def _answered(self) -> PGresult:
        self._answer = self._loop.create_future()
        self._result = None
        self._write()
        try:
            result = await self._answer
        except asyncio.CancelledError:
            self._is_given_up = True
            self._ending = self._loop.create_task(self._give_up())
            raise
        if result.status == ExecStatus.FATAL_ERROR:
            raise server.error_from_result(result, self._encoding)
        return result

    def _write(self) -> None:
        """Send what is waiting; the rest when the socket takes more."""
        try:
            if self._pgconn.flush():
                self._loop.add_writer(self._socket, self._write)
            else:
                self._loop.remove_writer(self._socket)
        except psycopg.Error as error:
            self.close(error)

    def _read(self) -> None:
        pgconn = self._pgconn
        try:
            pgconn.consume_input()
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    break
                self._result = result
            else:
                return
        except psycopg.Error as error:
            self.close(error)
            return
        if self._result is not None and self._answer is not None and not self._answer.done():
            self._answer.set_result(self._result)

    async def _give_up(self) -> None:
        """Stop the statement whose caller has gone, and hang up."""
        try:
            await self._connection.cancel_safe(timeout=CANCEL_PATIENCE)
        except psycopg.Error:
            pass
        finally:
            self.close(psycopg.OperationalError("the call was cancelled"))

    def _encoded(self, value: object) -> bytes | None:
        if value is None:
            return None
        text = value if isinstance(value, str) else str(value)
        if "\0" in text:
            raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
        return text.encode(self._encoding)


@lru_cache(maxsize=64)
def _numbered(statement: str) -> bytes:
    first, *rest = statement.split("%s")
    parts = [first, *(f"${number}{part}" for number, part in enumerate(rest, start=1))]
    return "".join(parts).encode()

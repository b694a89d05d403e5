"""A TCP way to the server that can be cut: every connection refused and reset, or everything swallowed in silence."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Cut:
    """Forwards TCP to the server of a DSN; `cut` and `silence` break it, `heal` mends it for new connections."""

    def __init__(self, dsn: str) -> None:
        self._target = conninfo_to_dict(dsn)
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_cut = False
        self.is_silent = False
        self.attempts = 0
        """Connections that were asked for, refused ones included."""

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._pairs)

    def cut(self) -> None:
        """Reset what is open and refuse what comes."""
        self._is_cut = True
        for pair in list(self._pairs):
            for writer in pair:
                writer.transport.abort()

    def silence(self) -> None:
        """Swallow everything from now on; nobody is told."""
        self.is_silent = True

    def heal(self) -> None:
        """Forward again; connections that were silenced stay half dead."""
        self._is_cut = self.is_silent = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Yield a DSN that goes this way."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        given: dict[str, Any] = {**self._target, "host": "127.0.0.1", "port": port}
        try:
            yield make_conninfo("", **given, sslmode="disable")
        finally:
            server.close()
            self.cut()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.attempts += 1
        if self._is_cut:
            writer.transport.abort()
            return
        host, port = str(self._target["host"]), int(self._target.get("port") or 5432)
        if host.startswith("/"):
            upstream = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            upstream = await asyncio.open_connection(host, port)
        pair = (writer, upstream[1])
        self._pairs.add(pair)
        for source, sink in ((reader, upstream[1]), (upstream[0], writer)):
            task = asyncio.create_task(self._forward(source, sink, pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        was_silent = False
        with suppress(ConnectionError):
            while data := await source.read(65536):
                was_silent = was_silent or self.is_silent
                if not was_silent:
                    sink.write(data)
        self._pairs.discard(pair)
        sink.close()

"""A worker process as its supervisor sees it: started, signalled, listened to over a private socket."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from pgflow._isolation import closed_on_error, pack, read_message

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Mapping

_BOOTSTRAP = """
import json, sys
descriptor, sys.path[:] = json.loads(sys.argv.pop())
from pgflow._worker_process import main
sys.exit(main(descriptor))
"""

SECOND_LOOK = 2.0
"""Seconds more for a silent child: if it was this process that slept, what the child said meanwhile is still to be read."""


class ChildSilent(Exception):  # noqa: N818 - an event, not a fault of this process
    """The child has not said for too long that it lives."""


class Child:
    """One worker process."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, config: Mapping[str, Any], output: int | None = None) -> Child:
        """Start a process; its configuration, the DSN included, goes over the socket, unseen by `ps`.

        What it prints goes to the file descriptor `output` as it is printed, else where this process's does.
        """
        ours, theirs = socket.socketpair()
        with theirs, closed_on_error(ours):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                _BOOTSTRAP,
                orjson.dumps([theirs.fileno(), sys.path]).decode(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=None if output is None else {**os.environ, "PYTHONUNBUFFERED": "1"},
                pass_fds=[theirs.fileno()],
                # Ctrl-C reaches the supervisor alone, which decides; else each child would see it twice.
                start_new_session=True,
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        writer.write(pack(config))
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still lives."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def messages(self, patience: float, start: float) -> AsyncIterator[Mapping[str, Any]]:
        """Yield what it says until it ends; raise ChildSilent after `patience` seconds of silence, `start` at first."""
        limit = start
        while True:
            try:
                message = await self._next(limit)
            except (EOFError, ConnectionError):
                return
            limit = patience
            yield message

    async def _next(self, patience: float) -> Mapping[str, Any]:
        reading = asyncio.ensure_future(read_message(self._reader))
        try:
            for limit in (patience, SECOND_LOOK):
                if (await asyncio.wait({reading}, timeout=limit))[0]:
                    return reading.result()
            raise ChildSilent
        finally:
            reading.cancel()

    async def wait(self) -> int:
        """Return its exit code; negative for a signal."""
        code = await self._process.wait()
        self._writer.close()
        return code

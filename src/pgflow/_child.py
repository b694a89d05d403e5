"""A worker process as its supervisor sees it: started, signalled, listened to over a private socket."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from pgflow._isolation import pack, read_message

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Mapping

_BOOTSTRAP = """
import json, sys
descriptor, sys.path[:] = json.loads(sys.argv[1])
from pgflow._worker_process import main
sys.exit(main(descriptor))
"""


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
        with theirs:
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
                async with asyncio.timeout(limit):
                    message = await read_message(self._reader)
                limit = patience
            except TimeoutError as error:
                raise ChildSilent from error
            except (EOFError, ConnectionError):
                return
            yield message

    async def wait(self) -> int:
        """Return its exit code; negative for a signal."""
        code = await self._process.wait()
        self._writer.close()
        return code

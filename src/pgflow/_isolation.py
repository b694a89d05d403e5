"""Processes for handlers that must be killable: each serves one task at a time over a private socket.

JSON in, JSON out, length-prefixed; never pickle. A process is kept for the next task, so what its
modules loaded stays loaded; it is killed at a timeout and replaced after a crash.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import orjson

from pgflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    Message = Mapping[str, Any]
    Answer = Callable[[Message], Awaitable[Message | None]]

_HEADER = struct.Struct("!I")
_BOOTSTRAP = """
import json, sys
descriptors, sys.path[:], file, module = json.loads(sys.argv.pop())
from pgflow._isolated_child import main
main(*descriptors, file, module)
"""


class Border:
    """Tells on which side of an isolated handler's border this process is."""

    inside = False

    @classmethod
    def refuse_inside(cls, what: str) -> None:
        """Raise UsageError in the process of an isolated handler, which imports the user's script anew."""
        if cls.inside:
            raise UsageError(
                f"{what} was called while the process of an isolated handler imported the script",
                hint="Put that call under `if __name__ == '__main__':`.",
            )


class ProcessCrashed(Exception):  # noqa: N818 - an outcome, named like errors.LeaseLost
    """The process of an isolated handler ended before it answered."""


def pack(message: Message) -> bytes:
    """Return one frame."""
    body = orjson.dumps(message)
    return _HEADER.pack(len(body)) + body


def read_frame(connection: socket.socket) -> dict[str, Any]:
    """Read one frame, blocking; raise EOFError when the other side is gone."""
    (size,) = _HEADER.unpack(_read_exactly(connection, _HEADER.size))
    message: dict[str, Any] = orjson.loads(_read_exactly(connection, size))
    return message


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    chunks = bytearray()
    while len(chunks) < size:
        chunk = connection.recv(min(size - len(chunks), 1 << 20))
        if not chunk:
            raise EOFError
        chunks += chunk
    return bytes(chunks)


@contextmanager
def closed_on_error(*connections: socket.socket) -> Iterator[None]:
    """Close the connections if what they are for does not come about."""
    try:
        yield
    except BaseException:
        for connection in connections:
            connection.close()
        raise


async def read_message(reader: asyncio.StreamReader) -> dict[str, Any]:
    """Read one frame; raise EOFError when the other side is gone."""
    (size,) = _HEADER.unpack(await reader.readexactly(_HEADER.size))
    message: dict[str, Any] = orjson.loads(await reader.readexactly(size))
    return message


class IsolatedProcesses:
    """At most `limit` processes, started when needed."""

    def __init__(self, limit: int) -> None:
        self._free = asyncio.Semaphore(limit)
        self._idle: list[_Process] = []
        self._live: set[_Process] = set()

    async def run(
        self, request: Message, answer: Answer, started: Callable[[], None]
    ) -> Mapping[str, Any]:
        """Return the reply; raise ProcessCrashed; cancelling kills the process.

        `answer` gets what the handler sends meanwhile, `started` is called when a process takes the task.
        """
        async with self._free:
            process = await self._take()
            try:
                started()
                reply = await process.ask(request, answer)
            except BaseException:
                await self._discard(process)
                raise
            if reply.get("spent"):
                await self._discard(process)
            else:
                self._idle.append(process)
            return reply

    async def close(self) -> None:
        """Kill every process."""
        for process in list(self._live):
            await self._discard(process)
        self._idle.clear()

    async def _take(self) -> _Process:
        while self._idle:
            process = self._idle.pop()
            if process.is_alive:
                return process
            await self._discard(process)
        process = await _Process.start()
        self._live.add(process)
        return process

    async def _discard(self, process: _Process) -> None:
        self._live.discard(process)
        await asyncio.shield(process.kill())


class _Process:
    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        life: socket.socket,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._life = life
        """When it is closed, as by the end of this process, the kernel kills the other one's group (Linux)."""
        self._end = asyncio.create_task(self._clean_up())

    @classmethod
    async def start(cls) -> _Process:
        (ours, theirs), (life, lifeline) = socket.socketpair(), socket.socketpair()
        descriptors = [theirs.fileno(), lifeline.fileno()]
        with theirs, lifeline, closed_on_error(ours, life):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                _BOOTSTRAP,
                orjson.dumps([descriptors, sys.path, *main_module()]).decode(),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=descriptors,
                # With a group of its own, the programs that a handler has started can be killed with it.
                process_group=0,
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        return cls(process, reader, writer, life)

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None and not self._reader.at_eof()

    async def ask(self, request: Message, answer: Answer) -> Mapping[str, Any]:
        try:
            self._writer.write(pack(request))
            await self._writer.drain()
            while True:
                message = await self._read()
                if "outcome" in message:
                    return message
                reply = await answer(message)
                if reply is not None:
                    self._writer.write(pack(reply))
        except (EOFError, ConnectionError) as error:
            # A grandchild may hold the socket open, and the process may outlive its socket: end both.
            raise ProcessCrashed(await self._describe_end()) from error

    async def kill(self) -> None:
        """Kill the process, and what it has started."""
        # The id of a process that has been waited for may be somebody else's by now; its group has been seen to.
        if self._process.returncode is None:
            self._kill_group()
        self._writer.close()
        await self._end

    async def _clean_up(self) -> None:
        """Kill what the process has started and left behind: at once, while nobody else can have its id."""
        await self._process.wait()
        self._kill_group()
        self._life.close()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):  # macOS refuses for a group of zombies
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _read(self) -> dict[str, Any]:
        frame = asyncio.ensure_future(read_message(self._reader))
        try:
            await asyncio.wait({frame, self._end}, return_when=asyncio.FIRST_COMPLETED)
            if frame.done():
                return frame.result()
            # What it wrote before it died still counts; what never comes must not be waited for.
            return await asyncio.wait_for(frame, timeout=1)
        except TimeoutError as error:
            raise EOFError from error
        finally:
            frame.cancel()

    async def _describe_end(self) -> str:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), timeout=1)
        code = self._process.returncode
        if code is None:
            return "the handler's process closed its connection"
        if code < 0:
            with suppress(ValueError):
                return f"the handler's process was killed by {signal.Signals(-code).name}"
        return f"the handler's process ended with exit code {code}"


def main_module() -> tuple[str | None, str | None]:
    """Return the file, or else the module's name, of what this process runs as `__main__`."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    file = getattr(main, "__file__", None)
    if spec is not None:
        return None, spec.name
    return (os.path.abspath(file) if file else None), None  # noqa: PTH100 - no Path needed for one call

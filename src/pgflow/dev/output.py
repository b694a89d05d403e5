"""What the workers print, read from one pipe line by line, and what this process logs."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK = 1 << 16
LAST_LINES = 1.0
"""Seconds to wait for the end of the pipe: a process that a handler has left behind may hold it open."""


class WorkerOutput:
    """A pipe for worker processes; an async context manager that passes on the lines."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take
        self._read_end, self.write_end = os.pipe()
        self._reading: asyncio.Task[None]
        self._transport: asyncio.ReadTransport

    async def __aenter__(self) -> Self:
        """Begin to read."""
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
        pipe = os.fdopen(self._read_end, "rb", buffering=0)
        self._transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        self._reading = asyncio.create_task(self._read(reader))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Pass on what is left."""
        os.close(self.write_end)
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_LINES):
                await self._reading
        self._transport.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await reader.read(CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._take(line.decode(errors="replace").rstrip("\r"))
        if rest:
            self._take(rest.decode(errors="replace"))


@contextmanager
def logs_to(tell: Callable[[logging.LogRecord], None]) -> Iterator[None]:
    """Give what pgflow logs in this process, the supervisor's warnings, to `tell` and to nobody else."""
    logger, handler = logging.getLogger("pgflow"), _Teller(tell)
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


class _Teller(logging.Handler):
    def __init__(self, tell: Callable[[logging.LogRecord], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record)

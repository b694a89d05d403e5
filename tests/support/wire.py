"""PostgreSQL's messages on a stream: whole, one after the other; and how a connection is broken for good."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

CHUNK = 1 << 16
"""Bytes read at once."""


async def messages(reader: asyncio.StreamReader) -> AsyncIterator[tuple[bytes, bytes]]:
    """Yield the type and the whole bytes of each message until the other side hangs up."""
    buffer = bytearray()
    with suppress(ConnectionError):
        while chunk := await reader.read(CHUNK):
            buffer += chunk
            start = 0
            while len(buffer) - start >= 5:
                end = start + 1 + int.from_bytes(buffer[start + 1 : start + 5], "big")
                if end > len(buffer):
                    break
                yield bytes(buffer[start : start + 1]), bytes(buffer[start:end])
                start = end
            del buffer[:start]


def hang_up(writer: asyncio.StreamWriter) -> None:
    """Shut a connection down for whoever may hold it, a forked child as well."""
    connection = writer.get_extra_info("socket")
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    writer.transport.abort()

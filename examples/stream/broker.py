"""The broker: a nats-server with JetStream in a directory of its own, which may be killed and started again.

It runs on a leash (leash.py), so that it ends with this process.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.js.api import StorageType, StreamConfig

STREAM = "SALES"
SUBJECT = "sales"
LOOPBACK = "127.0.0.1"
PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin")
"""Where it may be beside the PATH: Debian installs it for the administrator."""
PATIENCE = 30.0
"""Seconds for a start, and for the first connection."""

MISSING = """nats-server is not installed.
  Debian, Ubuntu: apt-get install nats-server
  macOS:          brew install nats-server
  elsewhere:      https://github.com/nats-io/nats-server/releases (put it on the PATH, or name it by --nats-server)"""


def find_server(given: str | None) -> str | None:
    """Return the path of the program, or nothing."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *PLACES))
    return shutil.which(given or "nats-server", path=path)


class NoBroker(Exception):  # noqa: N818 - it says what happened
    """Nothing answers at the address."""


async def connect(url: str, patience: float = PATIENCE) -> Client:
    """Connect within `patience` seconds, and then stay connected over restarts of the broker."""
    latest: Exception | None = None

    async def note(error: Exception) -> None:
        """Outages are expected here; what they interrupt is repeated by the caller."""
        nonlocal latest
        latest = error

    try:
        async with asyncio.timeout(patience):
            return await nats.connect(
                url, error_cb=note, max_reconnect_attempts=-1, reconnect_time_wait=0.1
            )
    except TimeoutError:
        raise NoBroker(f"no broker answers at {url}: {latest!r}") from None


class Broker:
    """One nats-server, on the same port after each start."""

    def __init__(self, program: str, directory: Path) -> None:
        with socket.create_server((LOOPBACK, 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.url = f"nats://{LOOPBACK}:{self.port}"
        self._command = [
            *(sys.executable, "-m", f"{__package__}.leash"),
            *(program, "-js", "-sd", str(directory / "jetstream")),
            *("-a", LOOPBACK, "-p", str(self.port), "-l", str(directory / "nats-server.log")),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, and return when it answers."""
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE)  # noqa: ASYNC220, S603 - returns at once; a list, no shell
        async with asyncio.timeout(PATIENCE):
            while not await self._answers():
                if self._process.poll() is not None:
                    raise RuntimeError(f"nats-server ended at once: {' '.join(self._command)}")
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._end(b"")

    def stop(self) -> None:
        """End it in order."""
        self._end(b".")

    def _end(self, word: bytes) -> None:
        """Tell the leash to end it, as leash.py says."""
        if self._process is not None:
            process, self._process = self._process, None
            process.communicate(word)

    async def _answers(self) -> bool:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(LOOPBACK, self.port)
            writer.close()
            return True
        return False


async def create_stream(url: str) -> None:
    """Make the stream; an event published again within two minutes, by its id, is kept once."""
    client = await connect(url)
    await client.jetstream().add_stream(
        StreamConfig(
            name=STREAM, subjects=[SUBJECT], storage=StorageType.FILE, duplicate_window=120
        )
    )
    await client.close()


async def unacknowledged(url: str, durable: str) -> int:
    """Return how many events the broker has not delivered, or would deliver again."""
    client = await connect(url)
    info = await client.jetstream().consumer_info(STREAM, durable)
    await client.close()
    return (info.num_pending or 0) + (info.num_ack_pending or 0)

"""A private Redis in a temporary directory, for the peers that need one: durable by an append-only file."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from benchmarks.processes import tree_cpu

START_TIMEOUT = 10.0
SETTINGS = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
    "save": "",
}
"""What Celery and BullMQ recommend for production; a crash loses up to a second, unlike PostgreSQL's."""


class RedisMissing(Exception):  # noqa: N818 - a reason that stands in the tables
    """There is no redis-server here."""


class Redis:
    """A server on a unix socket, gone at the end. Raises RedisMissing where none is installed."""

    def __init__(self) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            raise RedisMissing("no redis-server: apt-get install redis-server")
        self._directory = Path(tempfile.mkdtemp(prefix="pgflow-redis-"))
        self.socket = str(self._directory / "socket")
        options = {"port": "0", "unixsocket": self.socket, "dir": str(self._directory), **SETTINGS}
        arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
        self._process = subprocess.Popen([binary, *arguments], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_TIMEOUT
        while not Path(self.socket).exists():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.__exit__()
                raise RedisMissing("redis-server does not start")
            time.sleep(0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def version(self) -> str:
        """Return its version."""
        lines = self._ask("INFO server").splitlines()
        return next(x.partition(":")[2] for x in lines if x.startswith("redis_version:"))

    def flush(self) -> None:
        """Forget everything, and begin the file anew."""
        self._ask("FLUSHALL")

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        return tree_cpu([self._process.pid])

    def _ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.socket)
            connection.sendall(f"{command}\r\n".encode())
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        if answer.startswith("-"):
            raise RuntimeError(f"Redis answers {command} with {answer.strip()}")
        return answer

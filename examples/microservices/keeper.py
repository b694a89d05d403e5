"""Keeper: starts the services, starts again what ends, and ends them all with itself."""

from __future__ import annotations

import os
import secrets
import signal
import smtplib
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import httpx

from .services import SERVICES
from .signing import SECRET

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LOOPBACK = "127.0.0.1"
PATIENCE = 60.0
"""Seconds for all services to answer, and for the killer to find what it waits for."""
PAUSE = 0.2
"""Seconds before a service is started again."""


@dataclass
class Kept:
    """A service and the processes that it has had."""

    name: str
    store: Path
    listener: socket.socket
    delays: Sequence[float]
    """Of its first process, its second …; the last holds for those that follow."""
    pids: list[int] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Return the port, the same for every process."""
        return int(self.listener.getsockname()[1])


class Keeper:
    """Runs every service for the length of a `with` block, each in a process of its own.

    The sockets are the keeper's: a port never changes, and a call to a service that is being started again waits.
    """

    def __init__(self, directory: Path, delays: Mapping[str, Sequence[float]]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.services = {
            name: Kept(
                name,
                directory / f"{name}.sqlite3",
                socket.create_server((LOOPBACK, 0)),
                delays.get(name, (0.02,)),
            )
            for name in SERVICES
        }
        self._environment = os.environ | {SECRET: secrets.token_hex()}
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._keep, args=(service,), daemon=True)
            for service in self.services.values()
        ]

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables by which clients find the services."""
        addresses = {
            f"{name.upper()}_URL": f"{'smtp' if name == 'mail' else 'http'}://{LOOPBACK}:{kept.port}"
            for name, kept in self.services.items()
        }
        return addresses | {SECRET: self._environment[SECRET]}

    def __enter__(self) -> Self:
        """Start the services, and return when all answer."""
        for service in self.services.values():
            for file in service.store.parent.glob(f"{service.store.name}*"):
                file.unlink()
        for thread in self._threads:
            thread.start()
        try:
            for service in self.services.values():
                if service.name == "mail":
                    smtplib.SMTP(LOOPBACK, service.port, timeout=PATIENCE).quit()
                else:
                    url = f"http://{LOOPBACK}:{service.port}/health"
                    httpx.get(url, timeout=PATIENCE, trust_env=False).raise_for_status()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End the services: their standard input ends, and a process that takes no notice is killed."""
        with self._lock:
            self._stopping.set()
            for service in self.services.values():
                if service.process is not None and service.process.stdin is not None:
                    service.process.stdin.close()
        for service, thread in zip(self.services.values(), self._threads, strict=True):
            thread.join(timeout=5)
            if thread.is_alive() and service.process is not None:
                service.process.kill()
                thread.join()
            service.listener.close()

    def kill_after_the_first(self, name: str, kind: str) -> threading.Thread:
        """Kill a service, in the background, as soon as its store has an effect of this kind."""
        thread = threading.Thread(target=self._kill, args=(self.services[name], kind), daemon=True)
        thread.start()
        return thread

    def _kill(self, service: Kept, kind: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not self._stopping.wait(0.02):
            with closing(sqlite3.connect(service.store, timeout=PATIENCE)) as connection:
                query = "select pid from effects where kind = ? limit 1"
                if found := connection.execute(query, (kind,)).fetchone():
                    os.kill(found[0], signal.SIGKILL)
                    say(
                        f"{service.name} {found[0]} killed: its store has the {kind}, no caller has"
                    )
                    return

    def _keep(self, service: Kept) -> None:
        while (process := self._start(service)) is not None:
            service.exits.append(process.wait())
            if process.stdin is not None:
                process.stdin.close()
            self._stopping.wait(PAUSE)

    def _start(self, service: Kept) -> subprocess.Popen[bytes] | None:
        """Start a process of the service, unless all is to end."""
        delay = service.delays[min(len(service.pids), len(service.delays) - 1)]
        descriptor = service.listener.fileno()
        command = [sys.executable, "-m", f"{__package__}.serve", service.name]
        command += ["--fd", str(descriptor), "--store", str(service.store), "--delay", str(delay)]
        with self._lock:
            if self._stopping.is_set():
                return None
            # A group of its own: Ctrl-C is the keeper's to handle.
            service.process = subprocess.Popen(  # noqa: S603 - a list, no shell
                command,
                stdin=subprocess.PIPE,
                pass_fds=[descriptor],
                env=self._environment,
                process_group=0,
            )
            service.pids.append(service.process.pid)
            if service.exits:
                say(f"{service.name} started again as {service.process.pid}")
            return service.process


def say(text: str) -> None:
    """Tell on standard error what befell a service."""
    print(text, file=sys.stderr, flush=True)

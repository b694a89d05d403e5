"""The process beside an embedded server: starts it, and stops it when its last user has gone.

Runs as a script, on the standard library alone. A user is a process with a shared lock on the users file, so one that
is killed is gone as well. The watch lock, which this process inherits, tells that the server has somebody to stop it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

PATIENCE = 60.0
"""Seconds for an orderly shutdown; after them the server is told to stop at once and recovers at its next start."""


def running_pid(pid_path: str) -> int | None:
    """Return the pid in a server's pid file; it may be stale."""
    with suppress(OSError, ValueError), open(pid_path, "rb") as pid_file:  # noqa: PTH123 - see below
        return int(pid_file.readline())
    return None


def stop(pid_path: str, request: signal.Signals = signal.SIGINT) -> None:
    """Shut a server down and return when it has removed its pid file, or is gone."""
    pid = running_pid(pid_path)
    if pid is None:
        return
    with suppress(ProcessLookupError):
        for attempt in (request, signal.SIGQUIT):
            os.kill(pid, attempt)
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                if running_pid(pid_path) != pid:
                    return
                os.kill(pid, 0)
                time.sleep(0.005)


def start(command: list[str], user: str, log_path: str) -> None:
    """Start the server as a child of this process, which ends with it."""
    identity: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user else {}
    with open(log_path, "ab") as log:  # noqa: PTH123 - pathlib would double this process's start
        server = subprocess.Popen(  # noqa: S603 - a list, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **identity,
        )

    def server_ended(*_: object) -> None:
        if server.poll() is not None:
            os._exit(0)

    signal.signal(signal.SIGCHLD, server_ended)
    server_ended()


def wait_for_users_or_end(users: int, pid_path: str) -> None:
    """Wait until nobody uses a server that is not this process's child, or until it has ended."""
    pid = running_pid(pid_path)
    with suppress(ProcessLookupError):
        while pid is not None and running_pid(pid_path) == pid:
            os.kill(pid, 0)
            with suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(0.2)
    os._exit(0)


def main(users_path: str, pid_path: str, log_path: str, user: str, *command: str) -> None:
    """Look after the running server, or start `command`; the caller's session and terminal are left."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    with open(users_path, "rb") as users:  # noqa: PTH123 - as above
        if command:
            start(list(command), user, log_path)
            fcntl.flock(users, fcntl.LOCK_EX)
        else:
            wait_for_users_or_end(users.fileno(), pid_path)
        stop(pid_path)


if __name__ == "__main__":
    main(*sys.argv[1:])

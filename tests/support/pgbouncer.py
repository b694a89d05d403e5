"""A real PgBouncer in front of a test's database, as the user that the embedded server runs as."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 30.0
PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

needs_pgbouncer = pytest.mark.skipif(
    PROGRAM is None, reason="pgbouncer is not installed (apt-get install pgbouncer)"
)

SETTINGS = """
[databases]
{database} = host={host} port={port} dbname={database} user={user} {password}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
pool_mode = {mode}
auth_type = any
auth_file = {directory}/users
default_pool_size = {servers}
max_client_conn = 200
logfile = {directory}/log
pidfile =
admin_users = {user}
"""


@contextmanager
def pgbouncer(
    dsn: str, mode: Literal["transaction", "session"] = "transaction", servers: int = 6
) -> Iterator[str]:
    """Put a PgBouncer with so many server connections in front of a database; lend its address."""
    assert PROGRAM
    given = conninfo_to_dict(dsn)
    directory = Path(tempfile.mkdtemp(prefix="pgflow-bouncer-"))
    with closing(socket.create_server(("127.0.0.1", 0))) as reserved:
        listen_port = reserved.getsockname()[1]
    values = {
        "host": given.get("host", "127.0.0.1"),
        "port": given.get("port", 5432),
        "user": given["user"],
        "database": given["dbname"],
        "password": f"password={given['password']}" if "password" in given else "",
    }
    (directory / "users").write_text("")
    (directory / "settings.ini").write_text(
        SETTINGS.format(
            **values, listen_port=listen_port, mode=mode, servers=servers, directory=directory
        )
    )
    user = _user(str(values["host"]))
    if user is not None:
        for path in (directory, *directory.iterdir()):
            shutil.chown(path, user)
    process = subprocess.Popen(
        [PROGRAM, "-q", str(directory / "settings.ini")],
        user=user,
        group=user and pwd.getpwnam(user).pw_gid,
        extra_groups=[] if user else None,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = make_conninfo(
        "", host="127.0.0.1", port=listen_port, user=given["user"], dbname=given["dbname"]
    )
    try:
        _wait(address, process, directory / "log")
        yield address
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _user(host: str) -> str | None:
    """Return whom PgBouncer has to run as: never root, and somebody who can reach the server's socket."""
    if os.geteuid() != 0:
        return None
    owner = Path(host).stat().st_uid if host.startswith("/") else 0
    return pwd.getpwuid(owner).pw_name if owner else "nobody"


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            psycopg.connect(address, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                words = log.read_text() if log.exists() else ""
                raise AssertionError(f"pgbouncer does not answer: {error}\n{words}") from error
            time.sleep(0.05)
        else:
            return

"""Databases for tests: a server for the session, shared by all xdist workers, and clones of one template.

The server is an embedded one in a temporary directory, or PGFLOW_TEST_DATABASE_URL; pgmq is that of the `pgmq`
package, or the SQL file PGFLOW_TEST_PGMQ_SQL. The process that starts the
session makes the directory and clears everything away at its end; the workers are told where it is.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgflow.embedded import EmbeddedServer
from pgflow.schema import install

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Thousands of databases come and go: flushing their files costs more than the tests do. Only a machine's own crash
# could lose what is not flushed, not the death of a server.
SETTINGS = {
    "shared_buffers": "128MB",
    "max_connections": "200",
    "max_wal_size": "1GB",
    "fsync": "off",
    "full_page_writes": "off",
}

MEMORY = Path("/dev/shm")
PLENTY = 8 << 30
"""Bytes."""


class Databases:
    """The databases of one test session on one server; all their names begin with the session's."""

    def __init__(self, directory: Path, settings: Mapping[str, str] = SETTINGS) -> None:
        self.directory = directory
        self.settings = settings
        self.prefix = f"pgflow_{directory.name.rpartition('-')[2].lower()}"
        self.server: EmbeddedServer | None = None
        self._address = os.environ.get("PGFLOW_TEST_DATABASE_URL")

    @property
    def address(self) -> str:
        """DSN of a database to administer the server from; starts the embedded server at first use."""
        if self._address is None:
            self.server = EmbeddedServer.ensure(self.directory / "server", settings=self.settings)
            self._address = self.server.dsn
        return self._address

    def dsn(self, name: str) -> str:
        """DSN of a database of the session."""
        return make_conninfo(self.address, dbname=name)

    @contextmanager
    def empty(self) -> Iterator[str]:
        """Lend the DSN of a database with nothing in it."""
        with self._lent("template0") as dsn:
            yield dsn

    @contextmanager
    def installed(self) -> Iterator[str]:
        """Lend the DSN of a database with the schema."""
        with self._lent(self._template()) as dsn:
            yield dsn

    def remove(self) -> None:
        """Drop the session's databases, and the server if it is the session's own."""
        if "PGFLOW_TEST_DATABASE_URL" in os.environ:
            with self._administering() as connection:
                pattern = self.prefix.replace("_", r"\_") + "%"
                query = "select datname from pg_database where datname like %s"
                for (name,) in connection.execute(query, [pattern]).fetchall():
                    _drop(connection, name)
        elif (self.directory / "server").exists():
            # Joining is the way to be the last who leaves, should a worker have died without a word.
            server = EmbeddedServer.ensure(self.directory / "server")
            server.stop("immediate")
            server.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    @contextmanager
    def _lent(self, template: str) -> Iterator[str]:
        name = f"{self.prefix}_{uuid.uuid4().hex[:12]}"
        with self._administering() as connection:
            statement = "create database {} template {}"
            connection.execute(
                sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(template))
            )
        try:
            yield self.dsn(name)
        finally:
            with self._administering() as connection:
                _drop(connection, name)

    def _template(self) -> str:
        name = f"{self.prefix}_template"
        with (self.directory / "template").open("a+") as marker:
            fcntl.flock(marker, fcntl.LOCK_EX)
            marker.seek(0)
            if not marker.read():
                with self._administering() as connection:
                    connection.execute(
                        sql.SQL("create database {} template template0").format(
                            sql.Identifier(name)
                        )
                    )
                self._install_given_pgmq(name)
                install(self.dsn(name))
                marker.write("made")
        return name

    def _install_given_pgmq(self, name: str) -> None:
        if given := os.environ.get("PGFLOW_TEST_PGMQ_SQL"):
            with psycopg.connect(self.dsn(name)) as connection:
                connection.execute(Path(given).read_bytes())

    @contextmanager
    def _administering(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.address, autocommit=True) as connection:
            yield connection


def _drop(connection: psycopg.Connection[Any], name: str) -> None:
    connection.execute(
        sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
    )


def session_directory() -> Path:
    """Make the directory of a session; its path is short, for the sake of the socket in it.

    In memory where there is plenty of it: making and removing the files of databases and queues takes half of the tests'
    time on a disk.
    """
    return Path(tempfile.mkdtemp(prefix="pgflow-tests-", dir=_memory()))


def _memory() -> Path | None:
    """Return the file system in memory, if there is one that holds all that the tests could ever put there."""
    has_room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= PLENTY
    return MEMORY if has_room and os.access(MEMORY, os.W_OK) else None

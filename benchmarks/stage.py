"""What is measured on: a private server, a new database for each figure, worker processes; and the gauges on them."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from benchmarks.processes import parent_of, peak_rss, tree_cpu
from pgflow.embedded import EmbeddedServer
from pgflow.schema import install
from pgflow.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "jit": "off",
}
"""Durable like a production server, and the same for every engine."""
SHOWN_SETTINGS = (*SETTINGS,)
OBSERVER = "pgflow bench"
"""Application name of the connections that only look."""


class Server:
    """A private server in a temporary directory, gone at the end."""

    def __init__(self, **more_settings: str) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="pgflow-bench-"))
        settings = SETTINGS | more_settings
        self._server = EmbeddedServer.ensure(self._directory, settings=settings)
        self._databases = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop("immediate")
        self._server.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    @contextmanager
    def database(self, *, schema: bool = True) -> Iterator[str]:
        """Lend the DSN of a new database, with pgflow's schema or empty; a checkpoint before is nobody's cost."""
        self._databases += 1
        name = f"bench_{self._databases}"
        dsn = make_conninfo(self._server.dsn, dbname=name)
        with observing(self._server.dsn) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
            if schema:
                install(dsn)
            connection.execute("checkpoint")
            try:
                yield dsn
            finally:
                drop = sql.SQL("drop database {} with (force)")
                connection.execute(drop.format(sql.Identifier(name)))

    def settings(self) -> dict[str, str]:
        """Return the version and the settings that matter for the figures."""
        with observing(self._server.dsn) as connection:
            names = ("server_version", *SHOWN_SETTINGS)
            query = "select name, current_setting(name) from unnest(%s::text[]) as name"
            return dict(connection.execute(query, [list(names)]).fetchall())


def as_url(dsn: str) -> str:
    """Return a DSN in the form that drivers other than libpq's take too."""
    parts = conninfo_to_dict(dsn)
    place = urlencode({"host": parts["host"], "port": parts["port"]})
    return f"postgresql://{parts['user']}@/{parts['dbname']}?{place}"


@contextmanager
def observing(dsn: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """Lend a connection that says what it is for."""
    with psycopg.connect(make_conninfo(dsn, application_name=OBSERVER), autocommit=True) as found:
        yield found


@asynccontextmanager
async def workers(dsn: str, flow: str, processes: int) -> AsyncIterator[list[int]]:
    """Run worker processes of a flow of this package; yields their process ids."""
    supervisor = Supervisor(
        f"benchmarks.flows:{flow}", processes=processes, dsn=dsn, log_level="ERROR"
    )
    async with supervisor:
        await supervisor.ready()
        yield list(supervisor.pids.values())


@dataclass(frozen=True, slots=True)
class Usage:
    """What was spent between two readings; 0 where the system does not tell."""

    seconds: float
    worker_cpu: float
    server_cpu: float
    """Seconds of CPU of all the server's processes: backends, WAL writer, checkpointer, autovacuum."""
    wal_bytes: int
    transactions: int
    """Transactions that wrote something."""
    database_bytes: int
    peak_rss: int
    """Bytes, of the largest worker since its start."""


class Gauges:
    """Reads clocks and counters at its start, and again at each `usage`."""

    def __init__(self, dsn: str, worker_pids: Sequence[int] = ()) -> None:
        self._dsn = dsn
        self._pids = worker_pids
        self._before = self._read()

    def usage(self) -> Usage:
        """Return what was spent since the start."""
        before, after = self._before, self._read()
        return Usage(
            seconds=after.seconds - before.seconds,
            worker_cpu=after.worker_cpu - before.worker_cpu,
            server_cpu=after.server_cpu - before.server_cpu,
            wal_bytes=after.wal_bytes - before.wal_bytes,
            transactions=after.transactions - before.transactions,
            database_bytes=after.database_bytes - before.database_bytes,
            peak_rss=after.peak_rss,
        )

    def _read(self) -> Usage:
        now = time.monotonic()
        with observing(self._dsn) as connection:
            (wal, transactions, size, backend) = connection.execute(
                """select pg_current_wal_insert_lsn() - '0/0'::pg_lsn,
                     pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
                     pg_database_size(current_database()), pg_backend_pid()"""
            ).fetchall()[0]
            postmaster = parent_of(backend)
        return Usage(
            seconds=now,
            worker_cpu=tree_cpu(self._pids),
            server_cpu=tree_cpu([postmaster] if postmaster else []),
            wal_bytes=int(wal),
            transactions=transactions,
            database_bytes=size,
            peak_rss=max(map(peak_rss, self._pids), default=0),
        )

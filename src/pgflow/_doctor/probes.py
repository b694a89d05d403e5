"""Tries out what stands between us and the server: a pooler, and whether notifications arrive."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import psycopg
from psycopg.sql import SQL, Identifier

from pgflow._doctor.findings import Finding, error, info, warning
from pgflow._doctor.readings import Reader
from pgflow.database import LISTEN_DSN

if TYPE_CHECKING:
    from collections.abc import Iterator

TRIES: Final = 4
NOTICE_SECONDS: Final = 3.0


def check_pooler(reader: Reader) -> Iterator[Finding]:
    """Tell whether a pooler answers in the server's place, and whether it lends connections by the transaction."""
    if not is_pooled(reader):
        return
    if is_lent_by_transaction(reader):
        yield info(
            "pooler",
            "a pooler lends server connections by the transaction: statements are not prepared,"
            " session settings are not ours alone",
            mend=f"Workers wake at once if {LISTEN_DSN} is a direct address of the server; for the timeouts of sessions: alter role … set",
        )
    else:
        yield info("pooler", "a pooler in session mode stands between us and the server")


def is_pooled(reader: Reader) -> bool:
    """Tell whether the process that answers is another than the one that was announced."""
    (row,) = reader.read("select pg_backend_pid() as pid")
    announced: int = reader.connection.info.backend_pid
    return bool(row["pid"] != announced)


def is_lent_by_transaction(reader: Reader) -> bool:
    """Tell whether two connections of ours that are both open are served by one process."""
    statement = "select pg_backend_pid() as pid"
    with ExitStack() as stack:
        readers = [reader, *(stack.enter_context(Reader.open(reader.dsn)) for _ in range(TRIES))]
        pids = [one.read(statement)[0]["pid"] for one in readers]
    return len(set(pids)) < len(pids)


def check_listener(reader: Reader) -> Iterator[Finding]:
    """Send a notification from one connection to another, the way that workers get theirs."""
    given = os.environ.get(LISTEN_DSN, "")
    if given == "off":
        yield info("listener", f"listening is off ({LISTEN_DSN}): idle workers look once a second")
        return
    try:
        with Reader.open(given or reader.dsn) as listener:
            arrives = passes_on(reader, listener)
    except Exception as failure:  # noqa: BLE001 - whatever keeps it from listening is the finding
        what = f"cannot listen: {failure}"
        yield warning("listener", what, given and LISTEN_DSN, f"Mend or unset {LISTEN_DSN}.")
        return
    if not arrives:
        yield error_or_warning(given)


def error_or_warning(given: str) -> Finding:
    """Return what a notification that did not arrive means."""
    if given:
        return error(
            "listener",
            "notifications do not arrive over the address for listening",
            LISTEN_DSN,
            "Give the address of the same database on the same server, without a pooler.",
        )
    return warning(
        "listener",
        "notifications do not arrive, so idle workers look once a second instead of being woken",
        mend=f"Set {LISTEN_DSN} to a direct address of the server, or to off.",
    )


def passes_on(sender: Reader, listener: Reader) -> bool:
    """Tell whether a notification that one connection sends reaches the other."""
    channel = f"pgflow_doctor_{uuid4().hex[:16]}"
    connection = listener.connection
    connection.execute(SQL("listen {}").format(Identifier(channel)))
    try:
        sender.read("select pg_notify(%(channel)s, '')", channel=channel)
        return any(True for _ in connection.notifies(timeout=NOTICE_SECONDS, stop_after=1))
    except psycopg.Error:
        return False
    finally:
        if not connection.closed:
            connection.execute(SQL("unlisten {}").format(Identifier(channel)))

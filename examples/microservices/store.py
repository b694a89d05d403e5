"""What a service remembers: an SQLite file of its own, which outlives its process.

`once` is the service's half of exactly-once: an effect, the answer that told of it and the caller's key are one
commit, so a call that is repeated with its key gets the first answer and has no second effect.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

SCHEMA = """
create table if not exists effects (
    key text primary key, kind text not null, request text not null, answer text not null, pid integer not null
);
create table if not exists calls (
    id integer primary key, key text, path text not null, pid integer not null,
    received_at real not null, answered_at real, status integer
);
"""
PATIENCE = 10.0
"""Seconds to wait for another writer of the same file."""


class KeyReused(Exception):  # noqa: N818 - it says what happened
    """The key came before, with another request."""


class Store:
    """One service's database; every use opens the file anew, so any thread may."""

    def __init__(self, path: Path, schema: str = "") -> None:
        self._path = path
        with closing(self._connect()) as connection:
            connection.execute("pragma journal_mode = wal")
            connection.executescript(SCHEMA + schema)

    def once(
        self,
        key: str,
        kind: str,
        request: Mapping[str, Any],
        act: Callable[[sqlite3.Connection], dict[str, Any]],
    ) -> tuple[dict[str, Any], bool]:
        """Return the answer of `act`, and whether it is that of an earlier call with this key."""
        text = json.dumps(request, sort_keys=True)
        with closing(self._connect()) as connection, connection:
            connection.execute("begin immediate")
            known = connection.execute(
                "select kind, request, answer from effects where key = ?", (key,)
            ).fetchone()
            if known is not None:
                if known[:2] != (kind, text):
                    raise KeyReused(key)
                return json.loads(known[2]), True
            answer = act(connection)
            connection.execute(
                "insert into effects values (?, ?, ?, ?, ?)",
                (key, kind, text, json.dumps(answer), os.getpid()),
            )
        return answer, False

    def read(self, query: str, *parameters: Any) -> list[Any]:
        """Return the rows of a query."""
        with closing(self._connect()) as connection:
            return connection.execute(query, parameters).fetchall()

    def log_call(self, key: str | None, path: str) -> int:
        """Note that a call came; return its number."""
        with closing(self._connect()) as connection, connection:
            cursor = connection.execute(
                "insert into calls (key, path, pid, received_at) values (?, ?, ?, ?)",
                (key, path, os.getpid(), time.time()),
            )
            return cursor.lastrowid or 0

    def log_answer(self, call: int, status: int) -> None:
        """Note that a call is about to be answered."""
        with closing(self._connect()) as connection, connection:
            connection.execute(
                "update calls set answered_at = ?, status = ? where id = ?",
                (time.time(), status, call),
            )

    def _connect(self) -> sqlite3.Connection:
        # Durable before it is answered: that is what "charged" means.
        connection = sqlite3.connect(self._path, timeout=PATIENCE)
        connection.execute("pragma synchronous = full")
        return connection

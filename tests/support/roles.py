"""Databases with roles, and logins that have one of them and nothing else."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUPS = ("pgflow_owner", "pgflow_worker", "pgflow_client", "pgflow_viewer")


@contextmanager
def login(dsn: str, *groups: str) -> Iterator[str]:
    """Make a role that may log in and is a member of the groups; lend its DSN. Dropped with all it owns."""
    name = f"pgflow_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        statement = sql.SQL("create role {} login password 'secret'")
        connection.execute(statement.format(sql.Identifier(name)))
        for group in groups:
            grant = sql.SQL("grant {} to {}").format(sql.Identifier(group), sql.Identifier(name))
            connection.execute(grant)
    try:
        yield make_conninfo(dsn, user=name, password="secret")
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            for end in (
                sql.SQL("reassign owned by {} to current_user"),
                sql.SQL("drop owned by {} cascade"),
                sql.SQL("drop role {}"),
            ):
                connection.execute(end.format(sql.Identifier(name)))

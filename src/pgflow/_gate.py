"""Whether a database's schema is the one that this code works with."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from psycopg import errors as server

from pgflow import __version__
from pgflow._pool import fetch
from pgflow._sources import SOURCES
from pgflow.errors import SchemaMismatch

if TYPE_CHECKING:
    from psycopg import AsyncConnection


async def installed_version(connection: AsyncConnection[Any]) -> int | None:
    """Return the schema's version, or nothing where there is none."""
    try:
        rows = await fetch(connection, "select max(version) from pgflow.schema_migrations")
    except (SchemaMismatch, server.UndefinedTable):
        return None
    return None if rows[0][0] is None else int(rows[0][0])


async def require_functions(connection: AsyncConnection[Any]) -> None:
    """Raise SchemaMismatch if an older release has installed other functions and views than ours."""
    statement = "select name, checksum from pgflow.schema_migrations where version = 0"
    for name, checksum in await fetch(connection, statement):
        release = str(name).rpartition(" ")[2]
        if _numbers(release) < _numbers(__version__) and checksum != SOURCES.fingerprint:
            raise SchemaMismatch(
                f"the schema has the functions of pgflow {release}, this is {__version__}"
            )


def _numbers(release: str) -> list[int]:
    return [int(part) for part in release.split(".") if part.isdecimal()]


@cache
def expected_schema_version() -> int:
    """Return the schema version that this code works with: the number of its last migration."""
    migrations = files("pgflow").joinpath("sql", "migrations").iterdir()
    return max(int(file.name[:4]) for file in migrations if file.name.endswith(".sql"))


def require_schema(found: int | None) -> None:
    """Raise SchemaMismatch unless the version found is the expected one."""
    expected = expected_schema_version()
    if found is None:
        raise SchemaMismatch("the database has no pgflow schema yet")
    if found < expected:
        raise SchemaMismatch(f"the schema has version {found}, this pgflow needs {expected}")
    if found > expected:
        message = f"the schema has version {found}, this pgflow knows only {expected}"
        raise SchemaMismatch(message, hint="Upgrade the package: pip install --upgrade py-pgflow")

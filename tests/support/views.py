"""Reading the shipped views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.sql import rows

if TYPE_CHECKING:
    from tests.support.sql import Connection


def view(connection: Connection, name: str, **where: object) -> list[dict[str, Any]]:
    """Return the rows of a view with these values in these columns."""
    condition = " and ".join(f"{column} = %s" for column in where) or "true"
    return rows(connection, f"select * from pgflow.{name} where {condition}", *where.values())


def only(connection: Connection, name: str, **where: object) -> dict[str, Any]:
    """Return the only such row."""
    (found,) = view(connection, name, **where)
    return found


def picked(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """Return only the columns that are expected."""
    return {column: found[column] for column in expected}

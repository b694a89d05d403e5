"""What the parts of `Database` call it by: each of them has statements, and none of them a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import LiteralString

    from psycopg import AsyncConnection

    from pgflow._pool import Query, Rows


class Calls:
    """Runs statements; `connection=` puts one into the caller's transaction."""

    async def _fetch(
        self,
        statement: Query,
        *parameters: object,
        connection: AsyncConnection[Any] | None = None,
    ) -> Rows:
        raise NotImplementedError

    async def _call(
        self,
        statement: LiteralString,
        *parameters: object,
        connection: AsyncConnection[Any] | None = None,
    ) -> Rows:
        """Make one of the calls that workers make all the time."""
        raise NotImplementedError

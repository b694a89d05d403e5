"""Defining flows and starting runs, for the pool's connections and for synchronous ones of the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import errors as server

from pgflow._pool import fetch_sync
from pgflow.errors import FlowNotFound, PgflowError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    import psycopg
    from psycopg import Connection

    from pgflow._pool import Rows

DEFINE = "select pgflow.define_flow(%s::text, %s::jsonb)"
START = "select run_id from pgflow.start_flow(%s::text, %s::jsonb, %s::uuid, %s::text, %s::int)"

REFUSED = (server.ForeignKeyViolation, server.CheckViolation, server.RaiseException)
"""What PostgreSQL raises when it refuses to start a run."""


def refused(error: psycopg.Error, flow_slug: str, known: Iterable[str]) -> PgflowError:
    if isinstance(error, server.ForeignKeyViolation):
        return FlowNotFound(flow_slug, known)
    if error.diag.constraint_name == "idempotency_key_is_not_blank":
        return UsageError("the key of a run must not be blank")
    return UsageError(error.diag.message_primary or str(error))


def only_id(rows: Rows) -> UUID:
    ((run_id,),) = rows
    return run_id  # type: ignore[no-any-return]  # a uuid column


def start_flow_on(  # noqa: PLR0917 - the SQL function's parameters
    connection: Connection[Any],
    flow_slug: str,
    input: str,  # noqa: A002 - the SQL function's parameter
    run_id: UUID | None = None,
    idempotency_key: str | None = None,
    version: int | None = None,
) -> UUID:
    """Start a run in the transaction of a synchronous connection."""
    try:
        rows = fetch_sync(connection, START, (flow_slug, input, run_id, idempotency_key, version))
    except REFUSED as error:
        raise refused(error, flow_slug, ()) from error
    return only_id(rows)


def define_flow_on(connection: Connection[Any], flow_slug: str, definition: str) -> int:
    """Store a definition in the transaction of a synchronous connection."""
    return int(fetch_sync(connection, DEFINE, (flow_slug, definition))[0][0])

"""The runs' part of `Database`: starting and steering them; and starts on synchronous connections of the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import errors as server

from pgflow._pool import fetch_sync
from pgflow._reads import CONDITIONAL_STEPS, Reads
from pgflow._tasks import text_array
from pgflow.errors import FlowNotFound, PgflowError, UsageError
from pgflow.records import RunRecord, TaskOutput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import LiteralString
    from uuid import UUID

    import psycopg
    from psycopg import AsyncConnection, Connection

    from pgflow._pool import Rows

DEFINE = "select pgflow.define_flow(%s::text, %s::jsonb)"
START = "select run_id from pgflow.start_flow(%s::text, %s::jsonb, %s::uuid, %s::text, %s::int)"

START_MANY = """select run_id from pgflow.start_many(
  %s::text, %s::text[]::jsonb[], %s::text[], null, %s::int)"""

REFUSED = (server.ForeignKeyViolation, server.CheckViolation, server.RaiseException)
"""What PostgreSQL raises when it refuses to start a run."""


class Runs(Reads):
    """Calls about runs."""

    async def _start(
        self,
        statement: LiteralString,
        *parameters: object,
        connection: AsyncConnection[Any] | None = None,
    ) -> Rows:
        """Make one of the calls that clients make all the time."""
        raise NotImplementedError

    async def start_flow(
        self,
        flow_slug: str,
        input: str,  # noqa: A002 - the SQL function's parameter
        run_id: UUID | None = None,
        idempotency_key: str | None = None,
        version: int | None = None,
        *,
        connection: AsyncConnection[Any] | None = None,
    ) -> UUID:
        """Start a run on `input` (JSON text) and return its id; the same key returns the same run."""
        parameters = (flow_slug, input, run_id, idempotency_key, version)
        try:
            rows = await self._start(START, *parameters, connection=connection)
        except REFUSED as error:
            raise refused(error, flow_slug, await self.flow_slugs()) from error
        return only_id(rows)

    async def start_many(
        self,
        flow_slug: str,
        inputs: Sequence[str],
        idempotency_keys: Sequence[str | None] | None = None,
        version: int | None = None,
        *,
        connection: AsyncConnection[Any] | None = None,
    ) -> list[UUID]:
        """Start a run for each input (JSON text), all or none, and return their ids in that order."""
        keys = None if idempotency_keys is None else text_array(idempotency_keys)
        parameters = (flow_slug, text_array(inputs), keys, version)
        try:
            rows = await self._start(START_MANY, *parameters, connection=connection)
        except REFUSED as error:
            raise refused(error, flow_slug, await self.flow_slugs()) from error
        return [run_id for (run_id,) in rows]

    async def cancel_run(self, run_id: UUID, reason: str | None = None) -> RunRecord | None:
        """Cancel a run; one that has ended stays as it is. Returns nothing for an unknown id."""
        runs = await self._read(
            RunRecord, "from pgflow.cancel_run(%s::uuid, %s::text)", run_id, reason
        )
        return runs[0] if runs else None

    async def retry_run(self, run_id: UUID, step_slug: str | None = None) -> RunRecord | None:
        """Work again on what failed in a run, or in one step of it."""
        runs = await self._read(
            RunRecord, "from pgflow.retry_run(%s::uuid, %s::text)", run_id, step_slug
        )
        return runs[0] if runs else None

    async def step_output(
        self, run_id: UUID, step_slug: str, after_index: int = -1, max_rows: int = 1000
    ) -> list[TaskOutput]:
        """Return one page of a step's task outputs, in the order of their index."""
        statement = "select task_index, output from pgflow.step_output(%s::uuid, %s::text, %s::int, %s::int)"
        return [
            TaskOutput(*row)
            for row in await self._fetch(statement, run_id, step_slug, after_index, max_rows)
        ]


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


def conditional_steps_on(connection: Connection[Any], flow_slug: str) -> list[str]:
    """Return the steps of a flow that have conditions, on a synchronous connection."""
    return [str(row[0]) for row in fetch_sync(connection, CONDITIONAL_STEPS, (flow_slug,))]


def define_flow_on(connection: Connection[Any], flow_slug: str, definition: str) -> int:
    """Store a definition in the transaction of a synchronous connection."""
    return int(fetch_sync(connection, DEFINE, (flow_slug, definition))[0][0])

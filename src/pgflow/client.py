"""Client: start runs, find them, wait for them, steer them, from any process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload
from uuid import UUID
from weakref import WeakKeyDictionary

import orjson
import psycopg

from pgflow._redaction import Redaction
from pgflow._repertoire import refuse_conditions, refuse_conditions_of
from pgflow._result import Result
from pgflow._run import Progress, Run, steered
from pgflow._vault import PLAIN, Vault, conditions_problem, conditions_refused
from pgflow.codec import Where, encode, encode_input
from pgflow.database import conditional_steps_on, define_flow_on, start_flow_on
from pgflow.errors import (
    DefinitionError,
    EncodingError,
    FlowNotFound,
    RunNotFound,
    UsageError,
    did_you_mean,
)
from pgflow.flow import Flow
from pgflow.records import Pruned, RunStatus

if TYPE_CHECKING:
    from builtins import list as List  # noqa: N812 - Client.list hides the builtin in its class
    from collections.abc import Awaitable, Callable, Iterable

    from psycopg import AsyncConnection, Connection

    from pgflow._vault import ValueCodec
    from pgflow.database import Database
    from pgflow.records import FailedTask, FlowRecord, RunRecord, RunSummary, WorkerRecord

__all__ = ["Client", "Progress", "Result", "Run", "start_in"]

ENDS = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})

InputT = TypeVar("InputT")
T = TypeVar("T")


class Client:
    """Starts and steers runs in a database; any number may share one Database.

    >>> async with Database.connect("postgresql://…") as db:
    ...     run = await Client(db).start(campaign, Campaign(campaign_id=123), key="campaign-123")
    ...     await run.wait(timeout=30)
    """

    _versions: ClassVar[WeakKeyDictionary[Database, dict[str, int]]] = WeakKeyDictionary()

    def __init__(self, database: Database) -> None:
        self.database = database

    @overload
    async def start(
        self,
        flow: Flow[InputT],
        input: InputT,
        *,
        key: str | None = None,
        connection: AsyncConnection[Any] | None = None,
    ) -> Run: ...
    @overload
    async def start(
        self,
        flow: Flow[None] | str,
        input: object = None,
        *,
        key: str | None = None,
        connection: AsyncConnection[Any] | None = None,
    ) -> Run: ...
    async def start(
        self,
        flow: Flow[Any] | str,
        input: object = None,  # noqa: A002 - the word for it everywhere
        *,
        key: str | None = None,
        connection: AsyncConnection[Any] | None = None,
    ) -> Run:
        """Start a run of a flow, or return the run that the same `key` has started before.

        A Flow is registered first, and the run is pinned to exactly this version of it; a slug
        starts the version that the database holds. With `connection`, the run exists if and when
        the caller's transaction commits. Raises EncodingError before anything is written.
        """
        if isinstance(connection, psycopg.Connection):
            raise UsageError(
                "Client.start needs an AsyncConnection",
                hint="With a synchronous connection use: pgflow.client.start_in(connection, flow, input)",
            )
        slug, text = encode_start(flow, input, self.database.vault)
        run_id = await self._start(
            flow,
            lambda version: self.database.start_flow(
                slug, text, None, key, version, connection=connection
            ),
            once=connection is not None,
        )
        return Run(self.database, run_id, flow)

    async def start_many(
        self,
        flow: Flow[InputT] | str,
        inputs: Iterable[InputT],
        *,
        keys: Iterable[str | None] | None = None,
        connection: AsyncConnection[Any] | None = None,
    ) -> List[Run]:
        """Start a run of a flow for each input, in one transaction, and return them in that order.

        `keys` are as many as the inputs; None among them is a run without a key. All else is as in `start`.
        A call for a thousand runs takes a fraction of the time of a thousand calls; beyond some ten thousand inputs
        make several calls, since each holds all its inputs in memory.
        """
        texts = [encode_start(flow, value, self.database.vault)[1] for value in inputs]
        named = None if keys is None else list(keys)
        if named is not None and len(named) != len(texts):
            raise UsageError(f"{len(named)} keys were given for {len(texts)} inputs")
        slug = flow.slug if isinstance(flow, Flow) else flow
        run_ids = await self._start(
            flow,
            lambda version: self.database.start_many(
                slug, texts, named, version, connection=connection
            ),
            once=connection is not None,
        )
        return [Run(self.database, run_id, flow) for run_id in run_ids]

    async def get(self, run_id: UUID | str, *, flow: Flow[Any] | None = None) -> Run:
        """Return the handle of a run; `flow` lets its outputs be decoded. Raises RunNotFound."""
        found = await self.database.run_summary(_uuid(run_id))
        if found is None:
            raise RunNotFound(run_id)
        return Run(self.database, found.run_id, flow or found.flow_slug)

    async def list(
        self,
        flow: Flow[Any] | str | None = None,
        status: RunStatus | str | None = None,
        limit: int = 50,
    ) -> List[RunSummary]:
        """Return the latest runs, newest first."""
        if status is not None and status not in set(RunStatus):
            guess = did_you_mean(status, list(RunStatus))
            raise UsageError(
                f"'{status}' is not a status of runs{guess}",
                hint="One of: started, completed, failed, cancelled.",
            )
        slug = flow.slug if isinstance(flow, Flow) else flow
        found = await self.database.runs(slug, status, limit)
        if not found and slug is not None and await self.database.flow(slug) is None:
            raise FlowNotFound(slug, await self.database.flow_slugs())
        return found

    async def cancel(self, run_id: UUID | str, reason: str | None = None) -> RunRecord:
        """Cancel a run: what is queued never starts, what runs is not waited for."""
        known = _uuid(run_id)
        return await steered(self.database.cancel_run(known, reason), known)

    async def retry(self, run_id: UUID | str, step: str | None = None) -> RunRecord:
        """Work again on what failed in a run; the steps behind it run again, everything else stays."""
        known = _uuid(run_id)
        return await steered(self.database.retry_run(known, step), known)

    async def failed_tasks(self, run_id: UUID | str, *, limit: int = 1000) -> List[FailedTask]:
        """Return the tasks of a run that failed for good, with their input and error."""
        known = await self.get(run_id)
        return await self.database.failed_tasks(known.id, limit=limit)

    async def prune(
        self,
        older_than: float,
        *,
        flow: Flow[Any] | str | None = None,
        statuses: Iterable[RunStatus | str] | None = None,
        batch_size: int = 1000,
    ) -> Pruned:
        """Delete runs that ended more than `older_than` seconds ago, and return how much that was.

        In batches of `batch_size` runs, a transaction each, so live runs are not held up. Archived messages and silent
        workers of that age go with them, unless a `flow` or `statuses` (completed, failed, cancelled) restrict it to
        runs of these. What somebody holds at that moment is left. Raises UsageError.
        """
        if older_than < 0 or batch_size < 1:
            raise UsageError("older_than must not be negative, and batch_size be at least 1")
        chosen = None if statuses is None else [str(status) for status in statuses]
        if unknown := set(chosen or ()) - ENDS:
            raise UsageError(
                f"'{min(unknown)}' is not how a run ends",
                hint=f"One of: {', '.join(sorted(ENDS))}.",
            )
        slug = flow.slug if isinstance(flow, Flow) else flow
        if slug is not None and await self.database.flow(slug) is None:
            raise FlowNotFound(slug, await self.database.flow_slugs())
        total = Pruned()
        while batch := await self.database.prune_batch(older_than, batch_size, slug, chosen):
            total += batch
        return total

    async def flows(self) -> List[FlowRecord]:
        """Return all flows."""
        return await self.database.flows()

    async def workers(self) -> List[WorkerRecord]:
        """Return the workers, the latest heartbeat first."""
        return await self.database.workers()

    async def _start(
        self, flow: Flow[Any] | str, start: Callable[[int | None], Awaitable[T]], *, once: bool
    ) -> T:
        if isinstance(flow, str):
            await refuse_conditions_of(self.database, flow)
            return await start(None)
        refuse_conditions(self.database, flow)
        try:
            return await start(await self._version(flow, afresh=False))
        except FlowNotFound:
            # Somebody has deleted the flow since this process has registered it.
            if once:
                raise
        return await start(await self._version(flow, afresh=True))

    async def _version(self, flow: Flow[Any], *, afresh: bool) -> int:
        definition = _definition(flow)
        known = self._versions.setdefault(self.database, {})
        if afresh or definition not in known:
            known[definition] = await self.database.define_flow(flow.slug, definition)
        return known[definition]


def start_in(
    connection: Connection[Any],
    flow: Flow[Any] | str,
    input: object = None,  # noqa: A002 - the word for it everywhere
    *,
    key: str | None = None,
    value_codec: ValueCodec | None = None,
) -> UUID:
    """Start a run in the transaction of a synchronous connection and return its id.

    The run exists if and when the caller commits. `value_codec` seals the input, as that of a Database does.

    >>> with psycopg.connect(dsn) as connection:
    ...     connection.execute("insert into orders …")
    ...     run_id = start_in(connection, fulfil, {"order": 7}, key="order-7")
    """
    if not isinstance(connection, psycopg.Connection):
        raise UsageError(
            "start_in needs a synchronous psycopg.Connection",
            hint="Elsewhere use: await Client(db).start(flow, input, connection=connection)",
        )
    slug, text = encode_start(flow, input, Vault(value_codec))
    if value_codec is not None:
        problem = (
            conditions_refused(conditional_steps_on(connection, slug))
            if isinstance(flow, str)
            else conditions_problem(flow)
        )
        if problem:
            raise DefinitionError([problem], flow=slug)
    version = None if isinstance(flow, str) else define_flow_on(connection, slug, _definition(flow))
    return start_flow_on(connection, slug, text, None, key, version)


def encode_start(flow: Flow[Any] | str, value: object, vault: Vault = PLAIN) -> tuple[str, str]:
    """Return a flow's slug and a run's input as the JSON text to store.

    Raises EncodingError, whose text does not quote what the flow redacts.
    """
    slug = flow if isinstance(flow, str) else flow.slug
    return slug, vault.seal(_encoded(flow, value), Where(slug))


def _encoded(flow: Flow[Any] | str, value: object) -> str:
    if isinstance(flow, str):
        return encode(value, where=Where(flow=flow))
    redaction = Redaction.of(flow.redact)
    if redaction is None:
        return encode_input(flow, value)
    try:
        return encode_input(flow, value)
    except EncodingError as error:
        error.message = redaction.secrets([value]).scrub(error.message)
        error.args = (error.message,)
        # What lies below it quotes the value.
        raise error from None


def _definition(flow: Flow[Any]) -> str:
    return orjson.dumps(flow.definition()).decode()


def _uuid(text: UUID | str) -> UUID:
    if isinstance(text, UUID):
        return text
    try:
        return UUID(text)
    except ValueError as error:
        hint = "An id looks like 0f8fad5b-d9cb-469f-a165-70867728950e; see: pgflow runs"
        raise UsageError(f"'{text}' is not the id of a run", hint=hint) from error

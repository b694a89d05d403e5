"""The definitions' part of `Database`: storing flows, and what else concerns them as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pgflow._reads import IN_PROGRESS, Reads
from pgflow._starts import DEFINE
from pgflow._tasks import text_array, uuid_array
from pgflow.records import FlowRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from psycopg import AsyncConnection

    from pgflow.records import RawJson


class PlanOfRun(NamedTuple):
    """Which plan a run follows. The hash tells what its version says, also where a slug was deleted and used again."""

    flow_slug: str
    shape_hash: str
    redact: tuple[str, ...]


class Definitions(Reads):
    """Calls about flows and their steps."""

    async def define_flow(
        self, flow_slug: str, definition: str, *, connection: AsyncConnection[Any] | None = None
    ) -> int:
        """Store a definition (JSON text) and return its version; idempotent."""
        rows = await self._fetch(DEFINE, flow_slug, definition, connection=connection)
        return int(rows[0][0])

    async def create_flow(  # noqa: PLR0917 - the SQL function's parameters
        self,
        flow_slug: str,
        max_attempts: int | None = None,
        base_delay: int | None = None,
        timeout: int | None = None,  # noqa: ASYNC109 - an option of flows and steps
        max_delay: int | None = None,
        jitter: float | None = None,
        redact: Sequence[str] | None = None,
        max_items: int | None = None,
    ) -> FlowRecord:
        """Create a flow without steps; one that exists is returned unchanged."""
        source = """from pgflow.create_flow(%s::text, %s::int, %s::int, %s::int, %s::int, %s::real,
              %s::text[], %s::int)"""
        paths = text_array(redact) if redact else None
        options = (max_attempts, base_delay, timeout, max_delay, jitter, paths, max_items)
        return (await self._read(FlowRecord, source, flow_slug, *options))[0]

    async def add_step(
        self,
        flow_slug: str,
        step_slug: str,
        deps_slugs: Sequence[str] = (),
        *,
        max_attempts: int | None = None,
        base_delay: int | None = None,
        timeout: int | None = None,  # noqa: ASYNC109 - an option of flows and steps
        start_delay: int | None = None,
        step_type: str = "single",
        required_input_pattern: str | None = None,
        forbidden_input_pattern: str | None = None,
        when_unmet: str = "skip",
        when_exhausted: str = "fail",
        max_delay: int | None = None,
        jitter: float | None = None,
        queue: str | None = None,
        initial_tasks: int | None = None,
        max_failed_tasks: int | None = None,
        max_failed_percent: float | None = None,
        batch_size: int | None = None,
    ) -> None:
        """Add a step (patterns as JSON text) to a flow; one that exists stays unchanged."""
        statement = """select 1 from pgflow.add_step(%s::text, %s::text, %s::text[], %s::int, %s::int,
          %s::int, %s::int, %s::text, %s::jsonb, %s::jsonb, %s::text, %s::text,
          %s::int, %s::real, %s::text, %s::int, %s::int, %s::real, %s::int)"""
        await self._fetch(
            statement, flow_slug, step_slug, text_array(deps_slugs), max_attempts, base_delay, timeout,
            start_delay, step_type, required_input_pattern, forbidden_input_pattern, when_unmet,
            when_exhausted, max_delay, jitter, queue, initial_tasks, max_failed_tasks, max_failed_percent,
            batch_size,
        )  # fmt: skip

    async def delete_flow_and_data(
        self, flow_slug: str, *, connection: AsyncConnection[Any] | None = None
    ) -> None:
        """Delete a flow with its runs and its queue, whatever state they are in."""
        statement = "select pgflow.delete_flow_and_data(%s::text)"
        await self._fetch(statement, flow_slug, connection=connection)

    async def flow_queue_names(self, flow_slug: str) -> list[str]:
        """Return the queues that a flow's tasks wait in."""
        return [
            row[0]
            for row in await self._fetch("select pgflow.flow_queue_names(%s::text)", flow_slug)
        ]

    async def ensure_queue(self, queue_name: str) -> None:
        """Create a queue unless it exists."""
        await self._fetch("select pgflow.ensure_queue(%s::text)", queue_name)

    # Versions

    async def live_versions(self, flow_slug: str) -> list[RawJson]:
        """Return the definitions of a flow's older versions that live runs follow, oldest first."""
        statement = f"""select known.definition from pgflow.flow_versions as known
          inner join pgflow.flows as flow on known.flow_slug = flow.flow_slug and known.version <> flow.version
          where known.flow_slug = %s and known.version = any(array(
            select distinct flow_version from pgflow.runs where flow_slug = %s and status = 'started' {IN_PROGRESS}
          ))
          order by known.version"""  # noqa: S608 - our own words
        return [row[0] for row in await self._fetch(statement, flow_slug, flow_slug)]

    async def steps_of_versions(self, flow_slug: str) -> set[str]:
        """Return the slugs of all steps that a flow has had."""
        statement = """select distinct step.value ->> 'slug' from pgflow.flow_versions as known
          cross join lateral jsonb_array_elements(known.definition -> 'steps') as step (value)
          where known.flow_slug = %s"""
        return {row[0] for row in await self._fetch(statement, flow_slug)}

    async def handler_keys(
        self, run_ids: Sequence[UUID], step_slugs: Sequence[str]
    ) -> list[tuple[UUID, str, str]]:
        """Return steps of runs with the keys that workers claim them with; one of the workers' quick calls."""
        statement = """select run_id, step_slug,
            flow_slug || '.' || step_slug || '(' || step_type || ':' || array_to_string(deps, ',') || ')'
          from pgflow.step_states
          where (run_id, step_slug) in (select * from unnest(%s::uuid[], %s::text[]))"""
        rows = await self._call(statement, uuid_array(run_ids), text_array(step_slugs))
        return [(run_id, step_slug, key) for run_id, step_slug, key in rows]

    async def plans_of_runs(self, run_ids: Sequence[UUID]) -> list[tuple[UUID, PlanOfRun]]:
        """Return which plan each of some runs follows; one of the workers' quick calls."""
        statement = """select run.run_id, run.flow_slug, known.shape_hash, flow.redact
          from unnest(%s::uuid[]) as wanted (run_id)
          inner join pgflow.runs as run on wanted.run_id = run.run_id
          inner join pgflow.flows as flow on run.flow_slug = flow.flow_slug
          inner join pgflow.flow_versions as known
            on run.flow_slug = known.flow_slug and run.flow_version = known.version"""
        rows = await self._call(statement, uuid_array(run_ids))
        return [
            (run_id, PlanOfRun(slug, shape_hash, tuple(redact or ())))
            for run_id, slug, shape_hash, redact in rows
        ]

    async def plan_of_version(self, flow_slug: str, shape_hash: str) -> RawJson | None:
        """Return the definition of a flow that has this hash; one of the workers' quick calls."""
        statement = """select definition from pgflow.flow_versions
          where flow_slug = %s and shape_hash = %s"""
        rows = await self._call(statement, flow_slug, shape_hash)
        return rows[0][0] if rows else None

    async def queues_of_plans(self) -> list[tuple[str, set[str]]]:
        """Return the queues that stored plans and those of live runs name, with the handlers that are wanted there."""
        statement = f"""select step.value ->> 'queue', array_agg(distinct step.value -> 'handler' ->> 'name')
          from pgflow.flow_versions as known
          inner join pgflow.flows as flow on known.flow_slug = flow.flow_slug
          cross join lateral jsonb_array_elements(known.definition -> 'steps') as step (value)
          where step.value -> 'handler' ->> 'name' is not null and step.value ->> 'queue' is not null
            and (known.version = flow.version or (known.flow_slug, known.version) in (
              select flow_slug, flow_version from pgflow.runs where status = 'started' {IN_PROGRESS}
            ))
          group by 1 order by 1"""  # noqa: S608 - our own words
        return [(queue, set(names)) for queue, names in await self._fetch(statement)]

    async def plan_definition(self, flow_slug: str) -> RawJson | None:
        """Return the definition of a flow that new runs get."""
        statement = """select known.definition from pgflow.flow_versions as known
          inner join pgflow.flows as flow
            on known.flow_slug = flow.flow_slug and known.version = flow.version
          where known.flow_slug = %s"""
        rows = await self._fetch(statement, flow_slug)
        return rows[0][0] if rows else None

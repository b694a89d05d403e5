"""The doctor's statements: each a short transaction of its own, so that a pooler or a big table does no harm."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import psycopg
from psycopg import IsolationLevel
from psycopg.rows import dict_row

from pgflow._pool import complete_dsn
from pgflow._server_errors import translated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import LiteralString, Self

    from psycopg import Connection

Row: TypeAlias = dict[str, Any]

STATEMENT_SECONDS: Final = 15
"""Longest time that one reading may take; what takes longer is reported as not looked at."""
LONG_SECONDS: Final = 120
"""The same for looking at all live runs, and for mending them."""
WANTED_SETTINGS: Final = (
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "default_transaction_read_only",
    "default_transaction_isolation",
    "statement_timeout",
    "transaction_timeout",
    "idle_session_timeout",
    "autovacuum",
    "track_activities",
    "max_connections",
)


class Reader:
    """Reads one database over one connection; close it, or use it as a context."""

    def __init__(self, connection: Connection[Row], dsn: str) -> None:
        self.connection = connection
        self.dsn = dsn

    @classmethod
    def open(cls, dsn: str) -> Self:
        """Connect; raise ConnectionFailed or UsageError."""
        full = complete_dsn(dsn, application_name="pgflow doctor")
        try:
            opened = psycopg.connect(
                full, autocommit=True, prepare_threshold=None, row_factory=cast("Any", dict_row)
            )
        except psycopg.Error as error:
            raise translated(error) from error
        opened.isolation_level = IsolationLevel.READ_COMMITTED
        return cls(cast("Connection[Row]", opened), dsn)

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self.connection.close()

    @contextmanager
    def transaction(self, seconds: int | None = None) -> Iterator[Connection[Row]]:
        """Give the connection in a transaction whose statements give up in time; nothing outlives it."""
        with self.connection.transaction():
            self.connection.execute(
                "select set_config('statement_timeout', %s, true), set_config('lock_timeout', '2s', true)",
                [f"{seconds or STATEMENT_SECONDS}s"],
            )
            yield self.connection

    def read(self, statement: LiteralString, **parameters: object) -> list[Row]:
        """Return the rows of one statement; parameters are named, as `%(name)s`."""
        with self.transaction() as connection:
            return connection.execute(statement, parameters).fetchall()

    # The server

    def server(self) -> Row:
        """Return the server's version, role and load."""
        (row,) = self.read(
            """select current_setting('server_version') as version, pg_is_in_recovery() as is_standby,
              (select count(*)::int from pg_stat_activity where backend_type = 'client backend') as connections,
              current_setting('superuser_reserved_connections')::int as reserved,
              current_user::text as role, current_database()::text as database"""
        )
        return row

    def settings(self) -> dict[str, str]:
        """Return the settings that new sessions of this role get."""
        rows = self.read(
            "select name, reset_val from pg_settings where name = any(%(names)s)",
            names=list(WANTED_SETTINGS),
        )
        return {row["name"]: row["reset_val"] for row in rows}

    def clock_difference(self) -> float:
        """Return how many seconds the server's clock is ahead of ours, give or take half the way to it."""
        before = datetime.now(UTC)
        (row,) = self.read("select clock_timestamp() as now")
        after = datetime.now(UTC)
        ahead: float = (row["now"] - (before + (after - before) / 2)).total_seconds()
        return ahead

    def long_transactions(self, seconds: int) -> list[Row]:
        """Return what keeps vacuum from clearing up for longer than that, the oldest first."""
        return self.read(
            """select 'transaction' as kind, pid::text as name, usename::text as owner, application_name as application,
                state, extract(epoch from clock_timestamp() - xact_start)::float8 as age
              from pg_stat_activity
              where xact_start < clock_timestamp() - make_interval(secs => %(seconds)s) and pid <> pg_backend_pid()
                and backend_type = 'client backend' and (backend_xmin is not null or backend_xid is not null)
              union all
              select 'prepared', gid, owner::text, database::text, 'prepared',
                extract(epoch from clock_timestamp() - prepared)::float8
              from pg_prepared_xacts where prepared < clock_timestamp() - make_interval(secs => %(seconds)s)
              union all
              select 'slot', slot_name::text, coalesce(database::text, ''), coalesce(plugin::text, ''), 'inactive', null
              from pg_replication_slots where not active and coalesce(xmin, catalog_xmin) is not null
              order by age desc nulls last""",
            seconds=seconds,
        )

    # The schema

    def functions(self) -> list[Row]:
        """Return our functions with their bodies and what a wrong one lacks."""
        return self.read(
            """select proname::text as name, oid::regprocedure::text as signature, prosrc as body,
                coalesce(proconfig, '{}') @> array['search_path=""'] as pins_path,
                exists (
                  select from aclexplode(coalesce(proacl, acldefault('f', proowner))) as acl where acl.grantee = 0
                ) as is_public
              from pg_proc where pronamespace = to_regnamespace('pgflow') order by 1"""
        )

    def public_relations(self) -> list[Row]:
        """Return tables and views of ours on which PUBLIC has rights."""
        return self.read(
            """select distinct relation.oid::regclass::text as name
              from pg_class as relation cross join aclexplode(relation.relacl) as acl
              where relation.relnamespace = to_regnamespace('pgflow') and acl.grantee = 0 order by 1"""
        )

    def invalid_indexes(self) -> list[Row]:
        """Return indexes that queries cannot use, or that do not guard what they should."""
        return self.read(
            """select index.indexrelid::regclass::text as name
              from pg_index as index inner join pg_class as relation on relation.oid = index.indrelid
              where relation.relnamespace in (to_regnamespace('pgflow'), to_regnamespace('pgmq'))
                and not (index.indisvalid and index.indisready) order by 1"""
        )

    # Tables

    def tables(self) -> list[Row]:
        """Return the tables of ours and of queues with their sizes and what vacuum has left."""
        return self.read(
            """select stats.relid::regclass::text as name, stats.n_live_tup as live, stats.n_dead_tup as dead,
                pg_total_relation_size(stats.relid) as bytes,
                stats.schemaname = 'pgmq' and stats.relname like 'a\\_%%' as is_archive,
                exists (
                  select from pg_class as relation
                  where relation.oid = stats.relid and array_to_string(relation.reloptions, ',') ~ 'autovacuum_enabled=(false|off|no|0)'
                ) as is_never_vacuumed
              from pg_stat_user_tables as stats where stats.schemaname in ('pgflow', 'pgmq') order by 1""",
        )

    # The work

    def queues(self) -> list[Row]:
        """Return the queues with what is due, and the live workers that serve each."""
        return self.read(
            """select queue.queue_name, queue.visible, queue.total, queue.oldest_age_seconds,
                (
                  select count(*)::int from pgflow.workers as worker
                  where worker.stopped_at is null and worker.last_heartbeat_at > clock_timestamp() - interval '75 s'
                    and queue.queue_name = any(coalesce(worker.queue_names, array[worker.queue_name]))
                ) as workers
              from pgflow.queue_summary as queue order by 1"""
        )

    def live_workers(self) -> list[Row]:
        """Return what the living workers have said of themselves."""
        return self.read(
            """select worker_id, coalesce(queue_names, array[queue_name]) as queues, info -> 'handlers' as handlers,
                info -> 'flows' as flows, info -> 'registered' as registered
              from pgflow.workers
              where stopped_at is null and last_heartbeat_at > clock_timestamp() - interval '75 s'"""
        )

    def dead_workers(self) -> list[Row]:
        """Return the workers that fell silent within a day without saying goodbye."""
        return self.read(
            """select worker_id, hostname, pid, function_name,
                extract(epoch from clock_timestamp() - last_heartbeat_at)::float8 as silent
              from pgflow.workers
              where stopped_at is null
                and last_heartbeat_at between clock_timestamp() - interval '1 day' and clock_timestamp() - interval '75 s'
              order by last_heartbeat_at desc"""
        )

    def live_steps(self) -> list[Row]:
        """Return the steps that have started in live runs and have tasks to do, with what workers know them by.

        That is the key that handlers have, and in a plan the name of a registered handler.
        """
        return self.read(
            """select state.flow_slug, state.step_slug, state.step_type, state.deps, state.queue_name, named.handler,
                sum(state.runs)::int as runs, extract(epoch from clock_timestamp() - min(state.started_at))::float8 as age
              from (
                select known.flow_slug, run.flow_version, known.step_slug, known.step_type, known.deps,
                  coalesce(known.queue_name, known.flow_slug) as queue_name, count(*) as runs, min(known.started_at) as started_at
                from pgflow.runs as run
                inner join pgflow.step_states as known on known.run_id = run.run_id
                where run.completed_at is null and run.failed_at is null and run.cancelled_at is null
                  and known.status = 'started'
                group by 1, 2, 3, 4, 5, 6
              ) as state
              left join lateral (
                select step.value -> 'handler' ->> 'name' as handler
                from pgflow.flow_versions as version
                cross join lateral jsonb_array_elements(version.definition -> 'steps') as step (value)
                where version.flow_slug = state.flow_slug and version.version = state.flow_version
                  and step.value ->> 'slug' = state.step_slug
              ) as named on true
              group by 1, 2, 3, 4, 5, 6 order by 1, 2, 3, 4, 5, 6"""
        )

    def invariants(self) -> list[Row]:
        """Return the violated invariants."""
        with self.transaction(LONG_SECONDS) as connection:
            return connection.execute("select * from pgflow.invariant_violations").fetchall()

    def mend(self) -> list[Row]:
        """Mend what can be mended without a decision; return what it was."""
        with self.transaction(LONG_SECONDS) as connection:
            return connection.execute("select * from pgflow.mend_invariants()").fetchall()

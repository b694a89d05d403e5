"""The SQL that brings a schema to this version, piece by piece, in the order in which it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pgflow import __version__
from pgflow._sources import pgmq_sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow._sources import Migration, Source, Sources

LOCK_PATIENCE: Final = "60s"
"""How long an upgrade waits for transactions that use what it changes; others wait behind it."""

CODE_ROW: Final = 0
"""The row of schema_migrations that tells which functions and views are installed."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Statements that belong together, and what they are for."""

    name: str
    text: str


def begin() -> Piece:
    text = f"""
set local client_min_messages = warning;
set local statement_timeout = 0;
set local lock_timeout = 0;
set local check_function_bodies = off;
set local search_path = '';
select pg_advisory_xact_lock({int.from_bytes(b"pgflow")});
set local lock_timeout = '{LOCK_PATIENCE}';
"""
    return Piece("one at a time", text)


def pieces(sources: Sources, *, roles: bool = False, tenants: bool = False) -> Iterator[Piece]:
    """Give what brings a schema to these sources; roles and tenants where they are asked for, or in use already."""
    yield _pgmq()
    yield Piece("the schema and its record of migrations", _BOOTSTRAP)
    yield Piece("calls that are under way", _AWAIT_CALLS)
    yield from map(_migration, sources.migrations)
    yield from (Piece(f"function {source.name}", source.text) for source in sources.functions)
    yield from (Piece(f"view {source.name}", source.text) for source in sources.views)
    yield Piece("outdated signatures", _drop_outdated(sources.functions))
    yield Piece("functions of the queues", _QUEUES)
    yield Piece("rights", _RIGHTS)
    yield from role_pieces(sources, roles=roles, tenants=tenants)
    yield Piece(
        "which functions and views these are",
        _record(CODE_ROW, f"py-pgflow {__version__}", sources.fingerprint),
    )


def role_pieces(sources: Sources, *, roles: bool, tenants: bool) -> Iterator[Piece]:
    """Give what makes roles and keeps tenants apart; what is not asked for is renewed where it is in use."""
    for source, is_asked_for, is_used in (
        (sources.roles, roles, _ROLES_ARE_USED),
        (sources.tenants, tenants, _TENANTS_ARE_USED),
    ):
        if source and is_asked_for:
            yield Piece(source.name, source.text)
        elif source:
            yield Piece(f"{source.name}, where they are in use", _where(is_used, source.text))


_ROLES_ARE_USED: Final = """(
  select pg_catalog.pg_get_userbyid(relation.relowner) = 'pgflow_owner' from pg_catalog.pg_class as relation
  where relation.oid = 'pgflow.schema_migrations'::regclass
)"""
_TENANTS_ARE_USED: Final = """(
  select relation.relrowsecurity from pg_catalog.pg_class as relation
  where relation.oid = to_regclass('pgflow.runs')
)"""

_BOOTSTRAP: Final = """
do $$
begin
  -- Not "create schema if not exists": that asks for the right to create even where there is nothing to create.
  if to_regnamespace('pgflow') is null then
    create schema pgflow;
  end if;
  if to_regclass('pgflow.schema_migrations') is null then
    create table pgflow.schema_migrations (
      version integer not null constraint schema_migrations_pkey primary key,
      name text not null,
      checksum text not null,
      applied_at timestamptz not null default now()
    );
    comment on table pgflow.schema_migrations is
      'One row a migration that was applied; row 0 tells which functions and views are installed.';
  end if;
end
$$;
"""

# A call that is under way goes on with the body that it began with, so none may be inside of functions that are replaced.
# All that calls touch is locked at once or not at all: whoever waits for a part of it waits for less time than it takes to
# notice a deadlock, so there is none.
_AWAIT_CALLS: Final = f"""
do $$
declare
  v_relations text;
  v_deadline timestamptz := clock_timestamp() + interval '{LOCK_PATIENCE}';
begin
  select string_agg(relation.oid::regclass::text, ', ' order by relation.relkind, relation.oid) into v_relations
  from pg_catalog.pg_class as relation
  where relation.relnamespace = 'pgflow'::regnamespace and relation.relkind in ('r', 'v')
    and relation.relname <> 'schema_migrations';
  if v_relations is null then
    return;
  end if;
  loop
    begin
      perform set_config('lock_timeout', (
        select (greatest(3, setting.setting::int) / 3)::text from pg_catalog.pg_settings as setting
        where setting.name = 'deadlock_timeout'
      ), true);
      execute 'lock table ' || v_relations || ' in access exclusive mode';
      exit;
    exception when lock_not_available then
      if clock_timestamp() > v_deadline then
        raise;
      end if;
    end;
    perform pg_sleep(0.1 * random());
  end loop;
  perform set_config('lock_timeout', '{LOCK_PATIENCE}', true);
end
$$;
"""

_QUEUES: Final = """
do $$
begin
  if to_regprocedure('pgflow._refresh_queue_functions()') is not null then
    perform pgflow._refresh_queue_functions();
  end if;
end
$$;
"""

_RIGHTS: Final = """
revoke all on schema pgflow from public;
revoke all on all tables in schema pgflow from public;
revoke all on all sequences in schema pgflow from public;
revoke all on all routines in schema pgflow from public;
"""


def _where(condition: str, script: str) -> str:
    return f"""
do $do$
begin
  if {condition} then
    execute {_quoted(script)};
  end if;
end
$do$;
"""


def _pgmq() -> Piece:
    text = f"""
do $do$
begin
  if to_regnamespace('pgmq') is null then
    if exists (select from pg_catalog.pg_available_extensions where name = 'pgmq') then
      create extension pgmq;
    else
      execute {_quoted(pgmq_sql())};
    end if;
  end if;
  if to_regprocedure('pgmq.send(text, jsonb, jsonb)') is null then
    raise exception 'the installed pgmq is older than 1.5' using hint = 'Upgrade it: alter extension pgmq update;';
  end if;
end
$do$;
"""
    return Piece("pgmq: its extension where the server offers it, else its SQL", text)


def _migration(migration: Migration) -> Piece:
    text = f"""
do $do$
begin
  if not exists (select from pgflow.schema_migrations where version = {migration.version}) then
    execute {_quoted(migration.text)};
    {_record(migration.version, migration.name, migration.checksum).strip()}
  end if;
end
$do$;
"""
    return Piece(f"migration {migration.name}", text)


def _record(number: int, name: str, checksum: str) -> str:
    return f"""
insert into pgflow.schema_migrations (version, name, checksum)
values ({number}, '{name}', '{checksum}')
on conflict (version) do update set name = excluded.name, checksum = excluded.checksum, applied_at = excluded.applied_at;
"""


def _drop_outdated(functions: list[Source]) -> str:
    """Return SQL that leaves one signature of each function: the newest, for none of ours is overloaded."""
    names = ", ".join(f"'{function.name}'" for function in functions) or "null"
    return f"""
do $$
declare
  v_outdated regprocedure;
begin
  for v_outdated in
    select function.oid::regprocedure
    from pg_catalog.pg_proc as function
    where function.pronamespace = 'pgflow'::regnamespace
      and function.proname in ({names})
      and exists (
        select from pg_catalog.pg_proc as newer
        where newer.pronamespace = function.pronamespace
          and newer.proname = function.proname
          and newer.oid > function.oid
      )
  loop
    execute format('drop function %s', v_outdated);
  end loop;
end
$$;
"""


def _quoted(text: str) -> str:
    assert "$source$" not in text
    return f"$source${text}$source$"

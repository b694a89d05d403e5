"""Finds out which locks a session holds, by trying for each row from another one, and what takes the same lock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.sql import Connection, rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STRONG = """
  select class.oid::regclass::text as name from pg_locks as held join pg_class as class on class.oid = held.relation
  where
    held.pid = %s and held.locktype = 'relation' and held.granted and class.relkind = 'r'
    and held.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    and class.relnamespace in ('pgflow'::regnamespace, 'pgmq'::regnamespace)
  order by 1"""

ADVISORY = """
  select (held.classid::bigint << 32) | held.objid::bigint as key from pg_locks as held
  where held.pid = %s and held.locktype = 'advisory' and held.granted order by 1"""

KEY = """
  select format('%%I', attribute.attname) as name
  from pg_index as index cross join lateral unnest(index.indkey) with ordinality as part (number, position)
  join pg_attribute as attribute on attribute.attrelid = index.indrelid and attribute.attnum = part.number
  where index.indrelid = %s::regclass and index.indisprimary order by part.position"""


@dataclass(frozen=True)
class Lock:
    """What a session holds a lock on."""

    name: str
    statement: str
    """Takes a lock in the way of everybody who needs this one."""


def locks_of(session: Connection, observer: Connection, tables: Iterable[str]) -> list[Lock]:
    """Return the rows of some tables, the tables and the advisory locks that a session's transaction has locked."""
    pid = session.info.backend_pid
    strong = [one["name"] for one in rows(observer, STRONG, pid)]
    found = [Lock(name, f"lock table {name} in access share mode") for name in strong]
    found += [
        Lock(f"advisory {one['key']}", f"select pg_advisory_xact_lock({one['key']})")
        for one in rows(observer, ADVISORY, pid)
    ]
    for table in tables:
        if table not in strong:
            found += _rows_of(observer, table)
    return found


def _rows_of(observer: Connection, table: str) -> Iterator[Lock]:
    keys = [one["name"] for one in rows(observer, KEY, table)]
    if not keys:  # a log that is only appended to
        return
    place = f"format('{' and '.join(f'{key} = %L' for key in keys)}', {', '.join(keys)})"
    every = f"select {place} as place from {table} order by 1"
    # Ordered by the rows' places in the table, as `for update` asks; each lock is gone with its statement.
    free = f"select {place} as place from {table} for update skip locked"
    available = {one["place"] for one in rows(observer, free)}
    for one in rows(observer, every):
        if one["place"] not in available:
            where = one["place"]
            yield Lock(f"{table} where {where}", f"select 1 from {table} where {where} for update")

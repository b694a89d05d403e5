"""The tables: how far the stream is taken, which run has which events, which no run can have, and the metrics."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import psycopg

CANCEL = """
select pgflow.cancel_run(run_id, 'the example began anew')
from pgflow.run_summary where flow_slug = 'stream_example' and status = 'started'
"""

SCHEMA = """
create schema stream_example;

create table stream_example.offsets (
  stream text primary key,
  -- Not the last number alone: after a crash the broker delivers new events before those that it delivers again.
  taken int8multirange not null default '{}',
  redelivered int not null default 0
);

create table stream_example.batches (
  run_id uuid primary key,
  stream text not null references stream_example.offsets,
  first_seq int8 not null,
  events int not null,
  taken_at timestamptz not null default clock_timestamp(),
  written_at timestamptz
);

create table stream_example.quarantine (
  stream text not null references stream_example.offsets,
  seq int8 not null,
  data bytea not null,
  reason text not null,
  primary key (stream, seq)
);

create table stream_example.totals (
  shop text primary key,
  sales int8 not null,
  cents int8 not null
);

create table stream_example.metrics (
  run_id uuid not null, -- with the shop no key: a second row would show that a batch was written twice
  shop text not null,
  sales int not null,
  cents int8 not null,
  mean_low float8 not null,
  mean_high float8 not null
);
"""

NEW = """
select seq
from stream_example.offsets
cross join unnest(%s::int8[]) as seq
where stream = %s and not taken @> seq
for update of offsets
"""

TAKE = """
update stream_example.offsets set
  taken = taken + (select range_agg(int8range(seq, seq + 1)) from unnest(%s::int8[]) as seq)
where stream = %s
"""

NOTE = """
insert into stream_example.batches (run_id, stream, first_seq, events) values (%s, %s, %s, %s)
"""

PUT_ASIDE = """
insert into stream_example.quarantine (stream, seq, data, reason) values (%s, %s, %s, %s)
"""

ADD = """
insert into stream_example.totals as old (shop, sales, cents) values (%(shop)s, %(sales)s, %(cents)s)
on conflict (shop) do update set sales = old.sales + excluded.sales, cents = old.cents + excluded.cents
"""

KEEP = """
insert into stream_example.metrics (run_id, shop, sales, cents, mean_low, mean_high)
values (%(run_id)s, %(shop)s, %(sales)s, %(cents)s, %(mean_low)s, %(mean_high)s)
"""

AsyncConnection = psycopg.AsyncConnection[Any]


@dataclass(frozen=True)
class Metric:
    """What is known of one shop's sales in a batch."""

    shop: str
    sales: int
    cents: int
    mean_low: float
    """95 % interval of the mean."""
    mean_high: float


@dataclass(frozen=True)
class BadEvent:
    """An event that cannot be read."""

    data: bytes
    reason: str


def create(dsn: str) -> None:
    """Make the tables anew, for runs to come: those that were interrupted would still write to them."""
    with psycopg.connect(dsn) as connection:
        connection.execute(CANCEL)
        connection.execute("drop schema if exists stream_example cascade")
        connection.execute(SCHEMA)


async def open_stream(connection: AsyncConnection, stream: str) -> None:
    """Make a stream known."""
    await connection.execute(
        "insert into stream_example.offsets (stream) values (%s) on conflict do nothing", (stream,)
    )


async def untaken(connection: AsyncConnection, stream: str, seqs: Collection[int]) -> list[int]:
    """Lock the stream's offsets; return which of these events are not taken, in order."""
    found = await connection.execute(NEW, (list(seqs), stream))
    return sorted(seq for (seq,) in await found.fetchall())


async def take(connection: AsyncConnection, stream: str, seqs: Sequence[int]) -> None:
    """Note that these events are taken: a run has them, or the quarantine."""
    await connection.execute(TAKE, (list(seqs), stream))


async def note_run(
    connection: AsyncConnection, stream: str, seqs: Sequence[int], run_id: UUID
) -> None:
    """Note which events a run has."""
    await connection.execute(NOTE, (run_id, stream, seqs[0], len(seqs)))


async def put_aside(connection: AsyncConnection, stream: str, bad: Mapping[int, BadEvent]) -> None:
    """Keep events that no run can have, with the reason."""
    rows = [(stream, seq, each.data, each.reason) for seq, each in bad.items()]
    await connection.cursor().executemany(PUT_ASIDE, rows)


async def count_redelivered(connection: AsyncConnection, stream: str, events: int) -> None:
    """Note that so many events came again."""
    await connection.execute(
        "update stream_example.offsets set redelivered = redelivered + %s where stream = %s",
        (events, stream),
    )


def add(connection: psycopg.Connection[Any], run_id: UUID, metrics: Sequence[Metric]) -> None:
    """Add the metrics of a run, which come in the order of the shops, so that two runs cannot deadlock."""
    cursor = connection.cursor()
    rows = [{"run_id": run_id, **asdict(metric)} for metric in metrics]
    cursor.executemany(ADD, rows)
    cursor.executemany(KEEP, rows)
    cursor.execute(
        "update stream_example.batches set written_at = clock_timestamp() where run_id = %s",
        (run_id,),
    )

"""The set-based limit: the least that a durable engine must write for a map, in bare SQL, with no worker's logic.

N messages and N task rows; batches claimed and completed with outputs; the messages archived; one counter count-down
a batch; `jsonb_agg` at the end. The messages are pgmq's, as pgflow's protocol asks for; `lean` has the leanest queue
table in their place. Nothing else of pgflow is used: an engine can come near this, and hardly beyond.
"""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Literal

import psycopg

from benchmarks.checks import WrongResult
from benchmarks.stage import observing

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH = 100
PATIENCE = 300.0

Variant = Literal["fused", "one", "inside", "lean"]
FUSED: Final = "fused"
DESCRIPTIONS: Final[dict[Variant, str]] = {
    "fused": "two connections, completing a batch and claiming the next in one transaction",
    "one": "one connection, a call to claim and a call to complete",
    "inside": "two connections, all inside the server",
    "lean": "as the first, with a queue table of its own instead of pgmq's",
}

PGMQ: Final = {
    "queue": "select pgmq.create('bare');",
    "send": """select pgmq.send_batch('bare', (
    select array_agg(jsonb_build_object('task_index', i) order by i) from generate_series(0, p_size - 1) as i)) as msg_id""",
    "read": "select array_agg((message ->> 'task_index')::int) into indexes from pgmq.read('bare', 30, p_batch);",
    "archive": "perform pgmq.archive('bare', ids);",
    "queued": "pgmq.q_bare",
    "archived": "pgmq.a_bare",
}
LEAN: Final = {
    "queue": """create table bare.messages (
  msg_id bigint generated always as identity primary key, read_ct int not null default 0,
  enqueued_at timestamptz not null default now(), vt timestamptz not null default now(), message jsonb not null);
create table bare.archive (
  msg_id bigint primary key, read_ct int not null, enqueued_at timestamptz not null,
  archived_at timestamptz not null default now(), message jsonb not null);""",
    "send": """insert into bare.messages (message)
    select jsonb_build_object('task_index', i) from generate_series(0, p_size - 1) as i returning msg_id""",
    "read": """with picked as (
    select msg_id from bare.messages where vt <= clock_timestamp()
    order by msg_id limit p_batch for update skip locked),
  hidden as (
    update bare.messages as m set vt = clock_timestamp() + '30 seconds', read_ct = read_ct + 1
    from picked where m.msg_id = picked.msg_id returning (m.message ->> 'task_index')::int as task_index)
  select array_agg(task_index) into indexes from hidden;""",
    "archive": """with gone as (
    delete from bare.messages where msg_id = any(ids) returning msg_id, read_ct, enqueued_at, message)
  insert into bare.archive (msg_id, read_ct, enqueued_at, message) select * from gone;""",
    "queued": "bare.messages",
    "archived": "bare.archive",
}

SCHEMA = """
create schema bare;
{queue}
create table bare.states (run int primary key, remaining int not null, output jsonb) with (fillfactor = 50);
create table bare.tasks (
  run int, task_index int, status text not null default 'queued', msg_id bigint, attempts int not null default 0,
  input jsonb not null, output jsonb, started_at timestamptz, completed_at timestamptz,
  primary key (run, task_index)) with (fillfactor = 60);

create function bare.start(p_run int, p_size int) returns void language sql as $$
  with sent as ({send})
  insert into bare.tasks (run, task_index, msg_id, input)
  select p_run, place - 1, msg_id, to_jsonb(place - 1)
  from (select row_number() over (order by msg_id) as place, msg_id from sent) as numbered;
  insert into bare.states values (p_run, p_size) $$;

create function bare.claim(p_run int, p_batch int, out indexes int[], out inputs text[]) language plpgsql as $$
begin
  {read}
  with granted as (
    update bare.tasks set status = 'started', attempts = attempts + 1, started_at = clock_timestamp()
    where run = p_run and task_index = any(indexes) and status = 'queued' returning task_index, input)
  select array_agg(task_index), array_agg(input::text) into indexes, inputs from granted;
end $$;

create function bare.complete(p_run int, p_indexes int[], p_outputs text[]) returns void language plpgsql as $$
declare
  ids bigint[];
  left_over int;
begin
  with accepted as (
    update bare.tasks as t set status = 'completed', output = done.output::jsonb, completed_at = clock_timestamp()
    from unnest(p_indexes, p_outputs) as done (task_index, output)
    where t.run = p_run and t.task_index = done.task_index and t.status = 'started' returning t.msg_id)
  select array_agg(msg_id) into ids from accepted;
  {archive}
  update bare.states set remaining = remaining - cardinality(ids) where run = p_run returning remaining into left_over;
  if left_over = 0 then
    update bare.states set output = (
      select jsonb_agg(output order by task_index) from bare.tasks where run = p_run) where run = p_run;
  end if;
end $$;

create function bare.cycle(p_run int, p_indexes int[], p_outputs text[], p_batch int, out indexes int[], out inputs text[])
language plpgsql as $$
begin
  perform bare.complete(p_run, p_indexes, p_outputs);
  select c.indexes, c.inputs into indexes, inputs from bare.claim(p_run, p_batch) as c;
end $$;

create procedure bare.work(p_run int, p_batch int) language plpgsql as $$
declare
  batch record;
begin
  loop
    select * into batch from bare.claim(p_run, p_batch);
    exit when batch.indexes is null;
    commit;
    perform bare.complete(p_run, batch.indexes, batch.inputs);
    commit;
  end loop;
end $$;

create function bare.found(p_run int, out done bigint, out queued bigint, out archived bigint, out remaining int,
  out output jsonb) language sql as $$
  select (select count(*) from bare.tasks where run = p_run and status = 'completed' and attempts = 1),
    (select count(*) from {queued}), (select count(*) from {archived}), remaining, output
  from bare.states where run = p_run $$;
"""

WARM_UP = 300
"""Tasks of a first run, not measured: every plan has then been made."""
CLAIM = "select indexes, inputs from bare.claim(%s, %s)"
COMPLETE = "select bare.complete(%s, %s, %s)"
CYCLE = "select indexes, inputs from bare.cycle(%s, %s, %s, %s)"


def measure_limit(dsn: str, variant: Variant, size: int) -> float:
    """Return tasks a second for the bookkeeping of one map, in a fresh database with pgmq.

    Raises WrongResult where anything is lost or done twice.
    """
    with observing(dsn) as connection:
        connection.execute(SCHEMA.format(**(LEAN if variant == "lean" else PGMQ)).encode())
        _run(dsn, variant, 1, WARM_UP)
        seconds = _run(dsn, variant, 2, size)
        check_limit(connection, run=2, size=size, before=WARM_UP)
    return size / seconds


def _run(dsn: str, variant: Variant, run: int, size: int) -> float:
    workers = [_Connection(dsn, variant, run) for _ in range(1 if variant == "one" else 2)]
    with observing(dsn) as connection:
        try:
            begin = time.monotonic()
            connection.execute("select bare.start(%s, %s)", [run, size])
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join(PATIENCE)
            return time.monotonic() - begin
        finally:
            for worker in workers:
                worker.close()


def check_limit(connection: psycopg.Connection[Any], *, run: int, size: int, before: int) -> None:
    """Demand every task completed by its only grant, every message archived, and the right aggregate."""
    query = "select done, queued, archived, remaining, output from bare.found(%s)"
    found = connection.execute(query, [run]).fetchall()
    if found != [(size, 0, size + before, 0, list(range(size)))]:
        counts = [row[:4] for row in found]
        raise WrongResult(
            f"{size} tasks: done, queued, archived, remaining are {counts}, or the aggregate is wrong"
        )


class _Connection(threading.Thread):
    """One connection at work; the output of a task is its input."""

    def __init__(self, dsn: str, variant: Variant, run: int) -> None:
        super().__init__(daemon=True)
        self._connection = psycopg.connect(dsn, autocommit=True, prepare_threshold=0)
        self._variant = variant
        self._run = run

    def run(self) -> None:
        match self._variant:
            case "inside":
                self._connection.execute("call bare.work(%s, %s)", [self._run, BATCH])
            case "fused" | "lean":
                self._cycle()
            case "one":
                self._alternate()

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def _alternate(self) -> None:
        while (batch := self._fetch(CLAIM, [self._run, BATCH])) and batch[0]:
            self._connection.execute(COMPLETE, [self._run, *_outputs(batch)])

    def _cycle(self) -> None:
        batch = self._fetch(CLAIM, [self._run, BATCH])
        while batch[0]:
            batch = self._fetch(CYCLE, [self._run, *_outputs(batch), BATCH])

    def _fetch(self, query: str, parameters: Sequence[Any]) -> tuple[Any, ...]:
        rows: list[tuple[Any, ...]] = self._connection.execute(
            query.encode(), parameters
        ).fetchall()
        return rows[0]


def _outputs(batch: tuple[Any, ...]) -> tuple[list[int], list[str]]:
    indexes, inputs = batch
    return indexes, [json.dumps(json.loads(value)) for value in inputs]

"""The tables, and everything that is written to them: the facts, the quarantine, one line for each load."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb
from pydantic import RootModel

from .rows import Fact, Row

CANCEL = """
select pgflow.cancel_run(run_id, 'the example began anew')
from pgflow.run_summary where flow_slug = 'etl_example' and status = 'started'
"""

SCHEMA = """
create schema etl_example;

create table etl_example.orders (
  order_id text primary key,
  ordered_on date not null,
  customer text not null,
  country text not null,
  quantity int not null,
  unit_price numeric not null,
  currency text not null,
  amount_eur numeric not null,
  written_by uuid -- the run
);

create table etl_example.quarantine (
  source text,
  row_number int,
  step text not null,
  reason text not null,
  detail text not null,
  raw jsonb not null,
  found_by uuid not null, -- the run
  resolved_by uuid, -- the run that has loaded the mended row
  primary key (source, row_number)
);

create table etl_example.loads (
  run_id uuid not null, -- not unique: a second line would show that a load has happened twice
  loaded_at timestamptz not null default now(),
  extracted int not null,
  inserted int not null,
  updated int not null,
  unchanged int not null,
  quarantined int not null,
  resolved int not null,
  constraint no_row_is_lost check (inserted + updated + unchanged + quarantined = extracted)
);
"""

UPSERT = """
with written as (
  insert into etl_example.orders as old (
    order_id, ordered_on, customer, country, quantity, unit_price, currency, amount_eur, written_by
  )
  select order_id, ordered_on, customer, country, quantity, unit_price, currency, amount_eur, %(run_id)s
  from jsonb_populate_recordset(null::etl_example.orders, %(facts)s::jsonb)
  on conflict (order_id) do update set
    ordered_on = excluded.ordered_on, customer = excluded.customer, country = excluded.country,
    quantity = excluded.quantity, unit_price = excluded.unit_price, currency = excluded.currency,
    amount_eur = excluded.amount_eur, written_by = excluded.written_by
  where
    (old.ordered_on, old.customer, old.country, old.quantity, old.unit_price, old.currency, old.amount_eur)
    is distinct from (
      excluded.ordered_on, excluded.customer, excluded.country, excluded.quantity, excluded.unit_price,
      excluded.currency, excluded.amount_eur
    )
  returning xmax = 0 as is_new
)
select count(*) filter (where is_new), count(*) filter (where not is_new) from written
"""

QUARANTINE = """
insert into etl_example.quarantine as old (source, row_number, step, reason, detail, raw, found_by)
values (%s, %s, %s, %s, %s, %s, %s)
on conflict (source, row_number) do update set
  step = excluded.step, reason = excluded.reason, detail = excluded.detail, raw = excluded.raw
where old.resolved_by is null
"""

RESOLVE = """
update etl_example.quarantine set resolved_by = %s
where source = %s and row_number = any(%s) and resolved_by is null
"""

NOTE = """
insert into etl_example.loads (run_id, extracted, inserted, updated, unchanged, quarantined, resolved)
values (%(run_id)s, %(extracted)s, %(inserted)s, %(updated)s, %(unchanged)s, %(quarantined)s, %(resolved)s)
"""


class Facts(RootModel[list[Fact]]):
    """All facts of a run, as one JSON document."""


@dataclass(frozen=True)
class Refusal:
    """A row that a map has refused."""

    row: Row
    step: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Load:
    """What a load has done."""

    extracted: int
    inserted: int
    updated: int
    unchanged: int
    quarantined: int
    resolved: int
    """Rows of the quarantine that are good now."""


def create(dsn: str) -> None:
    """Make the tables anew, for runs to come: those that were interrupted would still write to them."""
    with psycopg.connect(dsn) as connection:
        connection.execute(CANCEL)
        connection.execute("drop schema if exists etl_example cascade")
        connection.execute(SCHEMA)


def refused_rows(
    connection: psycopg.Connection[Any], run_id: UUID, rows: Sequence[Row]
) -> list[Refusal]:
    """Read pgflow's own list of failed items; an item's index is the place of its row."""
    failed = connection.execute(
        "select task_index, step_slug, error_message from pgflow.failed_tasks"
        " where run_id = %s order by task_index",
        (run_id,),
    )
    return [
        Refusal(rows[index], step, *_parted(message)) for index, step, message in failed.fetchall()
    ]


def write(
    connection: psycopg.Connection[Any],
    run_id: UUID,
    source: str,
    *,
    extracted: int,
    good: Mapping[int, Fact],
    bad: Sequence[Refusal],
) -> Load:
    """Upsert, quarantine, resolve, and note what was done."""
    cursor = connection.cursor()
    facts = Facts([*good.values()]).model_dump_json()
    cursor.execute(UPSERT, {"run_id": run_id, "facts": facts})
    inserted, updated = cursor.fetchone() or (0, 0)
    cursor.executemany(
        QUARANTINE,
        [
            (
                source,
                one.row.number,
                one.step,
                one.reason,
                one.detail,
                Jsonb(one.row.fields),
                run_id,
            )
            for one in bad
        ],
    )
    cursor.execute(RESOLVE, (run_id, source, [*good]))
    done = Load(
        extracted=extracted,
        inserted=inserted,
        updated=updated,
        unchanged=len(good) - inserted - updated,
        quarantined=len(bad),
        resolved=cursor.rowcount,
    )
    cursor.execute(NOTE, {"run_id": run_id, **asdict(done)})
    return done


def _parted(message: str) -> tuple[str, str]:
    reason, _, detail = message.removeprefix("BadRow: ").partition(": ")
    return reason, detail


def unresolved(connection: psycopg.Connection[Any], source: str) -> list[dict[str, Any]]:
    """Return the rows in quarantine as they stood in the file, with number and reason."""
    found = connection.execute(
        "select row_number, reason, detail, raw from etl_example.quarantine"
        " where source = %s and resolved_by is null order by row_number",
        (source,),
    )
    return [
        {"row": number, "reason": reason, "detail": detail, **raw}
        for number, reason, detail, raw in found
    ]

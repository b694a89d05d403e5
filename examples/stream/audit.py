"""Compare the tables with the publisher's ledger: neither knows of the other."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from .publisher import Entry, read_ledger

COUNTS = """
select
  (select coalesce(sum(events), 0)::int from stream_example.batches) as taken,
  (select coalesce(sum(sales), 0)::int from stream_example.totals) as written
"""

OPEN_RUNS = """
select count(*) from stream_example.batches as batch
inner join pgflow.runs as run on batch.run_id = run.run_id
where run.status <> 'completed'
"""

INPUTS = """
select (sale ->> 'seq')::int8
from stream_example.batches as batch
inner join pgflow.runs as run on batch.run_id = run.run_id
cross join jsonb_array_elements(run.input -> 'sales') as sale
"""

LOST = """
select count(*) from stream_example.batches as batch
inner join pgflow.task_attempts as attempt on batch.run_id = attempt.run_id
where attempt.outcome = 'lost'
"""

RUNS = "select count(*) from stream_example.batches"
SHORT_RUNS = "select count(*) from stream_example.batches where events < 100"
OFFSETS = "select taken, redelivered from stream_example.offsets"
TOTALS = "select shop, sales, cents from stream_example.totals"
DOUBLED = """
select count(*) from (
  select from stream_example.metrics group by run_id, shop having count(*) > 1
) as doubled
"""
METRICS = (
    "select shop, sum(sales)::int8, sum(cents)::int8 from stream_example.metrics group by shop"
)


@dataclass(frozen=True)
class Figures:
    """What was counted, on both sides."""

    runs: int
    short_runs: int
    """Started by the interval, with fewer events than a batch has."""
    redelivered: int
    """Events that the bridge got again and recognised."""
    published_again: int
    """Events for which the publisher heard nothing at first."""
    lost_attempts: int
    """Tasks that died with their workers."""
    totals: dict[str, tuple[int, int]]
    """Shop -> sales and cents, as the flow has added them up."""


def totals_of(ledger: list[Entry]) -> dict[str, tuple[int, int]]:
    """Add up what was published."""
    totals: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for entry in ledger:
        sales, cents = totals[entry.shop]
        totals[entry.shop] = sales + 1, cents + entry.cents
    return dict(totals)


def audit(
    connection: psycopg.Connection[Any], ledger_file: Path, events: int, unacknowledged: int
) -> tuple[Figures, dict[str, bool]]:
    """Return what was counted, and what holds."""
    ledger = read_ledger(ledger_file)
    (taken, redelivered), *other_streams = connection.execute(OFFSETS).fetchall()
    inputs = sorted(seq for (seq,) in connection.execute(INPUTS))
    figures = Figures(
        runs=count(connection, RUNS),
        short_runs=count(connection, SHORT_RUNS),
        redelivered=redelivered,
        published_again=sum(entry.attempts > 1 for entry in ledger),
        lost_attempts=count(connection, LOST),
        totals=_by_shop(connection, TOTALS),
    )
    everything = [*range(1, events + 1)]
    checks = {
        "every event is in the stream once": sorted(entry.seq for entry in ledger) == everything,
        "every event is in the input of one run": inputs == everything,
        "the offsets say the same: one range without a gap": not other_streams
        and [(part.lower, part.upper) for part in taken] == [(1, events + 1)],
        "count and sum of each shop are those of the publisher's ledger": figures.totals
        == totals_of(ledger),
        "no batch was written twice": count(connection, DOUBLED) == 0,
        "the batches add up to the totals": _by_shop(connection, METRICS) == figures.totals,
        "all runs have completed": count(connection, OPEN_RUNS) == 0,
        "the broker has nothing left to deliver": unacknowledged == 0,
        "events came again, and were recognised": redelivered > 0,
        "tasks died with the workers, and were done again": figures.lost_attempts > 0,
    }
    return figures, checks


def count(connection: psycopg.Connection[Any], query: str) -> int:
    """Return the number that a query finds."""
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def _by_shop(connection: psycopg.Connection[Any], query: str) -> dict[str, tuple[int, int]]:
    return {
        shop: (int(sales), int(cents)) for shop, sales, cents in connection.execute(query.encode())
    }

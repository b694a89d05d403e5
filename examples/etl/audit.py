"""Compare what is in the tables with what the generator knows of the file: two accounts that share no code."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg

from .generate import Truth
from .sabotage import Killed

NOW = """
select
  (select count(*) from etl_example.orders) as loaded,
  (select coalesce(sum(amount_eur), 0) from etl_example.orders) as amount_eur,
  (select count(*) from etl_example.quarantine where resolved_by is null) as quarantined,
  (select count(*) from etl_example.quarantine) as ever_quarantined,
  (select md5(string_agg(o::text, '|' order by order_id)) from etl_example.orders as o) as fingerprint
"""

LOADS = "select count(*) from etl_example.loads where run_id = %s"
WRITERS = "select distinct written_by from etl_example.orders"
ATTEMPTS = """
select outcome::text from pgflow.task_attempts where run_id = %s and step_slug = 'load' order by attempt
"""
REASONS = "select row_number, reason from etl_example.quarantine order by row_number"


@dataclass(frozen=True)
class State:
    """What the tables hold at one moment."""

    loaded: int
    amount_eur: Decimal
    quarantined: int
    """Rows that wait to be mended."""
    ever_quarantined: int
    fingerprint: str
    """Of all loaded rows."""


def state(connection: psycopg.Connection[Any]) -> State:
    """Read the tables."""
    row = connection.execute(NOW).fetchone()
    assert row is not None
    return State(*row)


def reasons(connection: psycopg.Connection[Any]) -> dict[int, str]:
    """Return why each row is, or was, in quarantine."""
    return dict(connection.execute(REASONS).fetchall())


def first_run(
    connection: psycopg.Connection[Any], run_id: UUID, killed: Killed, truth: Truth
) -> dict[str, bool]:
    """Check the run in which a worker was killed."""
    now = state(connection)
    loads = connection.execute(LOADS, (run_id,)).fetchone()
    attempts = [outcome for (outcome,) in connection.execute(ATTEMPTS, (run_id,))]
    return {
        "loaded + quarantined = extracted": now.loaded + now.quarantined == truth.rows,
        "in quarantine are the bad rows, each with what is wrong with it, and no other": reasons(
            connection
        )
        == truth.bad,
        "the amount loaded is that of the good rows, to the cent": now.amount_eur
        == truth.good_amount_eur,
        "the worker died with its upsert half written, of which nobody saw a row": (
            killed.bytes_written > 0 and killed.rows_visible == 0
        ),
        "its attempt was lost, the next one completed": attempts == ["lost", "completed"],
        "exactly one upsert remains": loads == (1,)
        and connection.execute(WRITERS).fetchall() == [(run_id,)],
    }


def second_run(before: State, after: State, inserted: int, updated: int) -> dict[str, bool]:
    """Check that the same file adds nothing."""
    return {
        "the same file again adds nothing and changes nothing": (inserted, updated) == (0, 0)
        and before == after
    }


def mended_run(after: State, resolved: int, truth: Truth) -> dict[str, bool]:
    """Check that nothing is left in quarantine."""
    return {
        "after the mend, loaded = extracted": after.loaded == truth.rows,
        "the quarantine is resolved": after.quarantined == 0
        and resolved == after.ever_quarantined == len(truth.bad),
        "the amount loaded is that of all orders, to the cent": after.amount_eur
        == truth.amount_eur,
    }

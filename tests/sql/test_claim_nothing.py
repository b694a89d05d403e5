"""A claim that finds nothing costs no commit: idle and woken workers write nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.sql import call, define, rows, start, value, worker

if TYPE_CHECKING:
    import uuid

    import psycopg


def claims_and_writes(connection: psycopg.Connection, worker_id: uuid.UUID) -> tuple[int, bool]:
    """Claim in a transaction of its own; return how many were granted and whether it wrote anything."""
    with connection.transaction():
        granted = call(connection, "claim_tasks", queue_name="f", worker_id=worker_id, qty=10)
        transaction = value(connection, "select pg_current_xact_id_if_assigned()")
    return len(granted), transaction is not None


def test_a_claim_that_finds_nothing_writes_nothing(committing: psycopg.Connection) -> None:
    define(committing, "f", {"a": []})
    worker_id = worker(committing, "f")
    assert claims_and_writes(committing, worker_id) == (0, False)
    start(committing, "f")
    assert claims_and_writes(committing, worker_id) == (1, True)
    assert claims_and_writes(committing, worker_id) == (0, False)


def test_a_new_queue_is_set_up_for_short_lived_messages(committing: psycopg.Connection) -> None:
    define(committing, "f", {"a": []})
    (found,) = rows(committing, "select reloptions from pg_class where oid = 'pgmq.q_f'::regclass")
    assert {"fillfactor=50", "autovacuum_vacuum_scale_factor=0"} <= set(found["reloptions"])

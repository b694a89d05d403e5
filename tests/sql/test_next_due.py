"""pgflow.next_due: when an idle worker has to look again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sql import define, row, start, value, work
from tests.support.tasks import claim_one, one_step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.sql import Connection


def next_due(
    connection: Connection, *queues: str, handlers: Sequence[str] | None = None
) -> float | None:
    found: float | None = value(
        connection, "select pgflow.next_due(%s::text[], %s::text[])", list(queues), handlers
    )
    return found


def delay(connection: Connection, queue: str, seconds: float) -> None:
    row(
        connection,
        "select pgmq.set_vt(%s, msg_id, %s) from pgmq.q_f",
        queue,
        int(seconds),
    )


def test_an_empty_queue_has_nothing_due(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    assert next_due(connection, "f") is None
    assert next_due(connection) is None


def test_what_is_due_is_due_now(connection: Connection) -> None:
    one_step(connection)
    assert next_due(connection, "f") == 0


def test_a_lease_tells_when_it_ends(connection: Connection) -> None:
    one_step(connection)
    claim_one(connection, "f")
    assert next_due(connection, "f") == pytest.approx(30, abs=2)


def test_a_delayed_message_tells_when_it_is_due(connection: Connection) -> None:
    one_step(connection)
    delay(connection, "f", 100)
    assert next_due(connection, "f") == pytest.approx(100, abs=2)


def test_the_soonest_of_all_queues_counts(connection: Connection) -> None:
    one_step(connection)
    delay(connection, "f", 100)
    define(connection, "g", {"a": []})
    assert next_due(connection, "g", "f") == pytest.approx(100, abs=2)
    start(connection, "g")
    assert next_due(connection, "f", "g") == 0
    assert next_due(connection, "f") == pytest.approx(100, abs=2)


def test_what_no_handler_can_run_is_not_due(connection: Connection) -> None:
    one_step(connection)
    assert next_due(connection, "f", handlers=["f.b(single:)"]) is None
    assert next_due(connection, "f", handlers=["f.a(single:)"]) == 0


def test_a_message_that_names_no_step_is_due_for_everybody(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    row(connection, "select pgmq.send('f', '{}'::jsonb)")
    assert next_due(connection, "f", handlers=["f.b(single:)"]) == 0


def test_nothing_is_changed(connection: Connection) -> None:
    one_step(connection)
    before = row(connection, "select vt, read_ct from pgmq.q_f")
    next_due(connection, "f")
    assert row(connection, "select vt, read_ct from pgmq.q_f") == before
    work(connection, "f")
    assert next_due(connection, "f") is None


@pytest.mark.parametrize("hours", [-1, 1])
def test_it_reads_one_message_however_many_are_queued(connection: Connection, hours: int) -> None:
    define(connection, "f", {"a": []})
    connection.execute(
        """insert into pgmq.q_f (vt, message)
           select now() + make_interval(hours => %s), '{}' from generate_series(1, 20000)""",
        [hours],
    )
    next_due(connection, "f")
    read = """select coalesce(idx_tup_fetch, 0) + seq_tup_read
      from pg_stat_xact_user_tables where relname = 'q_f'"""
    before = value(connection, read)
    assert next_due(connection, "f") == pytest.approx(max(0, hours * 3600), abs=5)
    assert value(connection, read) - before <= 2

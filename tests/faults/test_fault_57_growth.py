"""Fault 57: what has been done does not fill the disk, given that somebody prunes."""

from __future__ import annotations

import psycopg

from tests.support.sql import (
    Connection,
    claim,
    complete_batch,
    define,
    fail_batch,
    row,
    start,
    value,
)

ROUNDS = 8
RUNS = 40
ITEMS = 50

SIZE = """
  select sum(pg_total_relation_size(oid)) from pg_class
  where relkind = 'r' and relnamespace in ('pgflow'::regnamespace, 'pgmq'::regnamespace)
"""


def busy_round(session: Connection) -> None:
    """Do a day's work: runs with maps, retries among them."""
    for _ in range(RUNS):
        start(session, "f", list(range(ITEMS)))
    while tasks := claim(session, "f", 500):
        bad = [task for task in tasks if task["tries"] == 1 and task["task_index"] % 10 == 3]
        good = [task for task in tasks if task not in bad]
        if bad:
            assert set(fail_batch(session, bad)) == {"accepted"}
        assert set(complete_batch(session, good, [task["input"] for task in good])) == {"accepted"}
        session.execute("update pgmq.q_f set vt = clock_timestamp() where vt > clock_timestamp()")


def prune(session: Connection) -> None:
    while True:
        pruned = row(session, "select * from pgflow.prune_batch('0 seconds', max_runs => 25)")
        if not any(pruned.values()):
            break
    # What autovacuum does in its own time.
    session.execute("vacuum (analyze)")


def test_fault_57_with_retention_the_size_stays_bounded(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as session:
        define(session, "f", {"m": {"step_type": "map"}, "z": ["m"]}, base_delay=0)
        sizes = []
        for _ in range(ROUNDS):
            busy_round(session)
            prune(session)
            sizes.append(int(value(session, SIZE)))
        for table in ("runs", "step_states", "step_tasks", "attempts", "workers"):
            assert value(session, f"select count(*) from pgflow.{table}") == 0
        assert value(session, "select count(*) from pgmq.a_f") == 0
        assert value(session, "select count(*) from pgmq.q_f") == 0
    # The first rounds make the room that the later ones use again.
    assert max(sizes[3:]) <= 1.15 * max(sizes[:3]), sizes


def test_fault_57_without_it_the_history_grows_by_what_was_done(database_url: str) -> None:
    """The comparison: it shows that the figure above would notice."""
    with psycopg.connect(database_url, autocommit=True) as session:
        define(session, "f", {"m": {"step_type": "map"}, "z": ["m"]}, base_delay=0)
        sizes = []
        for _ in range(4):
            busy_round(session)
            session.execute("vacuum (analyze)")
            sizes.append(int(value(session, SIZE)))
    assert sizes[3] > 1.5 * sizes[0], sizes

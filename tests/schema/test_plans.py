"""Plans as tests (fault 26): what claims, reports and fan-outs touch, however much is delayed, in flight or archived.

A buffer is a page of 8 kB that a statement looks at, wherever it is; nested statements count. A session with old plans
has made them while the tables were empty; there are no statistics until `analyze`, since autovacuum is off here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.sql import Connection, Row, claim, define, rows, start, worker
from tests.support.tasks import arrays, buffers

if TYPE_CHECKING:
    from collections.abc import Callable

IN_FLIGHT = 100_000
DELAYED = 100_000
ARCHIVED = 1_000_000
PER_RUN = 1_000

TRIES = 6

Query: TypeAlias = tuple[str, list[object]]
Operation: TypeAlias = "Callable[[Connection], Query]"
Situations: TypeAlias = dict[str, dict[str, int]]

# Operations: each prepares something, and returns the query to measure with its arguments


def claiming(count: int) -> Operation:
    def prepare(connection: Connection) -> Query:
        start(connection, "items", list(range(150)))
        return "select * from pgflow.claim_tasks('f', %s, %s)", [worker(connection), count]

    return prepare


def named(tasks: list[Row]) -> list[object]:
    return list(arrays(tasks).values())


def completing(flow: str, count: int) -> Operation:
    def prepare(connection: Connection) -> Query:
        start(connection, flow, list(range(150)))
        held = claim(connection, "f", count)
        outputs = [Jsonb("done")] * count
        return "select * from pgflow.complete_tasks(%s, %s, %s, %s, %s)", [*named(held), outputs]

    return prepare


def handing_over(connection: Connection) -> Query:
    start(connection, "chain")
    held = claim(connection, "f")
    query = "select * from pgflow.complete_and_claim(%s, %s, %s, %s, %s, %s, '{f}', 1)"
    return query, [*named(held), [Jsonb("done")], worker(connection)]


def starting(connection: Connection) -> Query:
    return "select * from pgflow.start_flow('chain', '{}')", []


def fanning_out(connection: Connection) -> Query:
    start(connection, "fan")
    query = "select * from pgflow.complete_tasks(%s, %s, %s, %s, %s)"
    return query, [*named(claim(connection, "f")), [Jsonb(list(range(1000)))]]


def slicing(connection: Connection) -> Query:
    """Claim one task of a map that is created in slices: that creates the next 1,000 tasks."""
    start(connection, "items", list(range(21_000)))
    return "select * from pgflow.claim_tasks('f', %s, 1)", [worker(connection)]


def extending(connection: Connection) -> Query:
    start(connection, "items", list(range(150)))
    return "select * from pgflow.extend_leases(%s, %s, %s, %s)", named(claim(connection, "f", 100))


OPERATIONS: dict[str, tuple[Operation, int, int]] = {
    "claim of 1": (claiming(1), 46, 75),
    "claim of 100": (claiming(100), 3087, 4600),
    "completion of 1 of a chain": (completing("chain", 1), 98, 160),
    "completion of 1 of a map": (completing("items", 1), 60, 95),
    "completion of 100 of a map": (completing("items", 100), 3986, 6000),
    "completion of 1 and claim": (handing_over, 107, 170),
    "start of a chain": (starting, 81, 130),
    "fan-out of 1,000": (fanning_out, 16_269, 24_000),
    "next slice of 1,000": (slicing, 16_267, 24_000),
    "extension of 100": (extending, 2025, 3200),
}
"""Each with the most buffers that it touched when this was written (PostgreSQL 18), and the bound that it must keep to."""

# The full database

FILL = (
    "set session_replication_role = replica",  # no checks of keys: a million rows are inserted in seconds
    f"""insert into pgflow.runs (run_id, flow_slug, input, status, completed_at)
      select lpad(n::text, 32, '0')::uuid, 'items', '[]', case when n < {IN_FLIGHT / PER_RUN} then 'started' else 'completed' end,
        case when n >= {IN_FLIGHT / PER_RUN} then now() end
      from generate_series(0, {(IN_FLIGHT + ARCHIVED) // PER_RUN - 1}) as n""",
    f"""insert into pgflow.step_states
        (flow_slug, run_id, step_slug, status, step_type, queue_name, initial_tasks, remaining_tasks, started_at)
      select flow_slug, run_id, 'm', status, 'map', 'f', {PER_RUN}, case status when 'started' then {PER_RUN} else 0 end, now()
      from pgflow.runs where input = '[]'""",
    f"""insert into pgflow.step_tasks
        (flow_slug, run_id, step_slug, task_index, message_id, status, attempts_count, input)
      select 'items', lpad((n / {PER_RUN})::text, 32, '0')::uuid, 'm', n % {PER_RUN}, n + 1,
        case when n < {IN_FLIGHT} then 'started' else 'completed' end, 1, to_jsonb(n)
      from generate_series(0, {IN_FLIGHT + ARCHIVED - 1}) as n""",
    f"""insert into pgmq.q_f (vt, message)
      select clock_timestamp() + interval '1 hour' + n * interval '1 us', jsonb_build_object('flow_slug', 'items',
        'run_id', lpad((n / {PER_RUN})::text, 32, '0')::uuid, 'step_slug', 'm', 'task_index', n % {PER_RUN})
      from generate_series(0, {IN_FLIGHT - 1}) as n""",
    f"""insert into pgmq.q_f (vt, message)
      select clock_timestamp() + interval '1 day' + n * interval '1 s', '{{"flow_slug": "items", "step_slug": "m"}}'
      from generate_series(1, {DELAYED}) as n""",
    f"""insert into pgmq.a_f (msg_id, vt, enqueued_at, message)
      select n, now(), now(), '{{"flow_slug": "items", "step_slug": "m"}}'
      from generate_series({IN_FLIGHT + 1}, {IN_FLIGHT + ARCHIVED}) as n""",
    "select setval(pg_get_serial_sequence('pgmq.q_f', 'msg_id'), 2000000)",
    "reset session_replication_role",
)
TABLES = (
    "pgmq.q_f",
    "pgmq.a_f",
    *(f"pgflow.{name}" for name in ("runs", "step_states", "step_tasks", "attempts", "workers")),
)


def measure(connection: Connection) -> dict[str, int]:
    """Return the buffers of each operation: the fewest of a few, so that the first's plans don't count.

    Nor does the way past what was rolled back before: a claim of one starts at either end, by chance.
    """
    found: dict[str, int] = {}
    rows(connection, "select setseed(0)::text")
    for name, (prepare, _, _) in OPERATIONS.items():
        tries = []
        for _ in range(TRIES):
            with connection.transaction(force_rollback=True):
                query, arguments = prepare(connection)
                tries.append(buffers(connection, query, *arguments))
        found[name] = min(tries)
    return found


FULL = ("old plans", "no statistics", "fresh statistics")


def measured(dsn: str) -> Situations:
    """Measure everything in a database that is empty, then full, then full and analyzed."""
    found: Situations = {}
    with psycopg.connect(dsn, autocommit=True) as old:
        here = {"queue": "f"}
        define(old, "f", {"a": []})
        define(old, "chain", {"a": here, "b": {"deps": ["a"], **here}})
        define(old, "fan", {"a": here, "m": {"deps": ["a"], "step_type": "map", **here}})
        define(old, "items", {"m": {"step_type": "map", **here}})
        for table in TABLES:
            old.execute(f"alter table {table} set (autovacuum_enabled = false)".encode())
        found["empty"] = measure(old)
        for statement in FILL:
            rows(old, statement)
        found["old plans"] = measure(old)
        with psycopg.connect(dsn, autocommit=True) as new:
            found["no statistics"] = measure(new)
        old.execute(
            "vacuum pgmq.q_f"
        )  # the operations were rolled back, but for their index entries
        old.execute("analyze")
        with psycopg.connect(dsn, autocommit=True) as new:
            found["fresh statistics"] = measure(new)
    return found


@pytest.mark.slow
def test_fault_26_what_is_delayed_in_flight_or_archived_makes_no_operation_dearer(
    database_url: str,
) -> None:
    found = measured(database_url)
    beyond = {
        (situation, name): (touched, bound)
        for situation, all_touched in found.items()
        for name, touched in all_touched.items()
        if touched > (bound := OPERATIONS[name][2])
    }
    assert beyond == {}
    # Indexes of a million rows have two levels more than those of none, and each look-up reads both.
    dearer = {
        (situation, name): (touched, found["empty"][name])
        for situation in FULL
        for name, touched in found[situation].items()
        if touched > 1.4 * found["empty"][name]
    }
    assert dearer == {}

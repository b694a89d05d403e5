"""Scenes of the matrix of races: a flow and its runs in a known state, kept as a copy, put back within milliseconds.

All identifiers are fixed, so an act names its tasks, messages and workers without looking, and a row keeps its key
through all cases.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from tests.support.sql import Connection, call, rows, start, value
from tests.support.tasks import break_down, version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FLOW = "f"
MAIN = uuid.UUID(int=1)
OLD = uuid.UUID(int=2)
WORKER = uuid.UUID(int=9)
"""Holds all tasks, makes all claims, and had its last heartbeat so long ago that a prune deletes it."""

LEASE = 300
DELAY = 1000
"""Seconds; hundreds apart, so that they are told apart however slow the machine is."""

STEPS: list[dict[str, Any]] = [
    {"slug": "one"},
    {"slug": "hard", "max_attempts": 1},
    {"slug": "soft", "max_attempts": 1, "when_exhausted": "skip"},
    {"slug": "items", "step_type": "map"},
    {"slug": "packs", "step_type": "map", "batch_size": 2},
    {"slug": "after", "depends_on": ["one", "items"]},
    {"slug": "tail", "depends_on": ["after", "hard", "packs", "soft"]},
]
INPUT = [10, 11, 12]
HELD = [("hard", 0), ("items", 0), ("items", 1), ("one", 0), ("packs", 0), ("soft", 0)]
"""Tasks that WORKER holds in the scene `live`, each by its first attempt; `items` 1 has lost its lease."""

LONG_AGO = "interval '40 days'"
RETENTION = "interval '30 days'"

DUE = "timestamptz '2001-01-01'"
"""A message before this time has been due when its scene was built; all others are hidden for LEASE."""


def _prepare(connection: Connection) -> None:
    version(connection, FLOW, STEPS, max_attempts=2, base_delay=DELAY)
    named = {"queue_names": [FLOW], "function_name": "races"}
    call(connection, "register_worker", worker_id=WORKER, **named)
    start(connection, FLOW, [], run_id=OLD)
    take(connection, {"one", "hard", "soft"}, OLD)
    _finish(connection, [("one", 0), ("hard", 0), ("soft", 0)], OLD)
    for step in ("after", "tail"):
        take(connection, {step}, OLD)
        _finish(connection, [(step, 0)], OLD)
    assert value(connection, "select status from pgflow.runs where run_id = %s", OLD) == "completed"
    start(connection, FLOW, INPUT, run_id=MAIN)


def _age(connection: Connection) -> None:
    connection.execute(f"update pgflow.workers set last_heartbeat_at = now() - {LONG_AGO}")
    connection.execute(
        f"update pgflow.runs set completed_at = now() - {LONG_AGO} where status = 'completed'"
    )
    connection.execute(
        f"update pgflow.runs set failed_at = now() - {LONG_AGO} where status = 'failed'"
    )
    # Whatever is held is held for too long, so that requeue_stalled_tasks has something to do.
    connection.execute(
        "update pgflow.step_tasks set started_at = now() - interval '1 hour' where status = 'started'"
    )
    connection.execute(f"update pgmq.a_{FLOW} set archived_at = now() - {LONG_AGO}")


def output_of(step: str, index: int) -> str:
    """Return the output of a task, whoever completes it, so that the outputs of runs can be compared."""
    return f"output of {step} {index}"


def take(connection: Connection, steps: set[str], run_id: uuid.UUID = MAIN) -> None:
    """Let WORKER claim all due tasks of the given steps, as their first attempts."""
    handlers = [f"{FLOW}.{slug}" for slug in steps]
    granted = call(
        connection,
        "claim_tasks",
        queue_name=FLOW,
        worker_id=WORKER,
        qty=20,
        lease=LEASE,
        handlers=handlers,
    )
    assert {one["step_slug"] for one in granted} == steps
    assert {one["run_id"] for one in granted} == {run_id}


def names(tasks: Iterable[tuple[str, int]], run_id: uuid.UUID = MAIN) -> dict[str, list[Any]]:
    """Name tasks by the four arrays of a report; the fence is that of the first attempt."""
    steps, indexes = zip(*tasks, strict=True)
    return {
        "run_ids": [run_id] * len(steps),
        "step_slugs": list(steps),
        "task_indexes": list(indexes),
        "attempts": [1] * len(steps),
    }


def _finish(connection: Connection, tasks: list[tuple[str, int]], run_id: uuid.UUID = MAIN) -> None:
    outputs = [Jsonb(output_of(*task)) for task in tasks]
    reports = call(connection, "complete_tasks", **names(tasks, run_id), outputs=outputs)
    assert {one["outcome"] for one in reports} == {"accepted"}


def live(connection: Connection) -> None:
    """Build a run in full swing: tasks of each kind held, queued, expired, and one that has lost its message."""
    _prepare(connection)
    take(connection, {"one", "hard", "soft", "items", "packs"})
    keep = [f"{step}.{index}" for step, index in HELD]
    queued = """update pgflow.step_tasks
      set status = 'queued', started_at = null, attempts_count = 0, last_worker_id = null
      where run_id = %s and step_slug || '.' || task_index <> all(%s) returning message_id"""
    free = [one["message_id"] for one in rows(connection, queued, MAIN, keep)]
    expired = value(connection, _MESSAGE_OF, MAIN, "items", 1)
    connection.execute(
        f"update pgmq.q_{FLOW} set vt = {DUE} where msg_id = any(%s)",
        [[*free, expired]],
    )
    lost = value(connection, _MESSAGE_OF, MAIN, "packs", 2)
    connection.execute(f"delete from pgmq.q_{FLOW} where msg_id = %s", [lost])


_MESSAGE_OF = """select message_id from pgflow.step_tasks
  where run_id = %s and step_slug = %s and task_index = %s"""


def ending(connection: Connection) -> None:
    """Build a run in which the last two items of a map are held, and nothing else is left before `after`."""
    _prepare(connection)
    take(connection, {"one", "hard", "soft", "items", "packs"})
    _finish(connection, [("one", 0), ("hard", 0), ("soft", 0), ("items", 2)])
    for index, outputs in ((0, ["x", "y"]), (2, ["z"])):
        given = [Jsonb(outputs)]
        call(connection, "complete_tasks", **names([("packs", index)]), outputs=given)


def last(connection: Connection) -> None:
    """Build a run whose last task is held."""
    ending(connection)
    _finish(connection, [("items", 0), ("items", 1)])
    take(connection, {"after"})
    _finish(connection, [("after", 0)])
    take(connection, {"tail"})


def failed(connection: Connection) -> None:
    """Build a run that has failed long ago, while workers held other tasks of it."""
    live(connection)
    rows(connection, "select pgflow.resend_lost_messages()")
    task = {"run_id": MAIN, "step_slug": "one", "task_index": 0, "attempt": 1}
    assert break_down(connection, [task], final=True) == ["accepted"]


BUILDERS: dict[str, Callable[[Connection], None]] = {
    "live": live,
    "ending": ending,
    "last": last,
    "failed": failed,
}


def has_queue(connection: Connection) -> bool:
    """Tell whether the flow's queue is there: an act may have deleted it."""
    return bool(value(connection, f"select to_regclass('pgmq.q_{FLOW}') is not null"))


class Scenes:
    """Keeps a copy of each scene in the database, and puts it back."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        connection.autocommit = True
        connection.execute("create schema saved")
        # Rows come back as they were: no trigger counts them, no key is checked.
        connection.execute("set session_replication_role = replica")
        self.tables = [
            one["name"]
            for one in rows(
                connection,
                """select format('%I.%I', relnamespace::regnamespace, relname) as name from pg_class
                where relnamespace = 'pgflow'::regnamespace and relkind = 'r' and relname <> 'schema_migrations'
                order by relname""",
            )
        ]
        self.queues = [f"pgmq.q_{FLOW}", f"pgmq.a_{FLOW}"]
        self._restored = 0
        for scene, build in BUILDERS.items():
            self._save(scene, build)

    @property
    def all_tables(self) -> list[str]:
        """All tables that a case can change."""
        return [*self.tables, *self.queues]

    def _save(self, scene: str, build: Callable[[Connection], None]) -> None:
        for table in self.tables:
            self.connection.execute(f"delete from {table}".encode())
        rows(self.connection, "select pgmq.drop_queue(queue_name) from pgmq.list_queues()")
        self.connection.execute("set session_replication_role = origin")
        with self.connection.transaction():
            build(self.connection)
            _age(self.connection)
        for table in self.all_tables:
            copy = f"create table saved.{scene}_{table.replace('.', '_')} as table {table}"
            self.connection.execute(copy.encode())
        self.connection.execute("set session_replication_role = replica")

    def restore(self, scene: str) -> None:
        """Put a scene back."""
        if not has_queue(self.connection):
            rows(self.connection, "select pgflow.ensure_queue(%s)", FLOW)
        statements = [
            f"delete from {table}; insert into {table} overriding system value "
            f"select * from saved.{scene}_{table.replace('.', '_')}"
            for table in self.all_tables
        ]
        statements.append(
            f"update pgmq.q_{FLOW} set vt = clock_timestamp() + interval '{LEASE} s' where vt > {DUE}"
        )
        statements.append(f"select setval('pgmq.q_{FLOW}_msg_id_seq', 100)")
        self.connection.execute(";".join(statements).encode())
        self._restored += 1
        if self._restored % 50 == 0:
            self.connection.execute(f"vacuum {', '.join(self.all_tables)}".encode())

    def make_due(self) -> None:
        """Let messages be due that a claim has put aside for a moment, since another session held their tasks."""
        if has_queue(self.connection):
            self.connection.execute(
                f"update pgmq.q_{FLOW} set vt = clock_timestamp() where vt < now() + interval '10 s'"
            )

"""A database in which maps are sliced, and outputs kept in their tasks, at sizes that a test can work off."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from tests.support.sql import (
    Connection,
    Row,
    begin,
    claim,
    complete,
    complete_batch,
    rows,
    start,
    value,
)
from tests.support.tasks import version

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator

    from tests.support.servers import Databases

MAX_SLICE = 8
SLICE = 4
"""Maps of more tasks than `MAX_SLICE` are created in slices of this many."""

MAX_AGGREGATE_BYTES = 1000

COUNT = 30
EACH = [(index, 100 + index) for index in range(COUNT)]
"""The items that `chain` and `root_map_of` go over, with their indexes."""

_LIMIT = """create or replace function pgflow.{}() returns {} language plpgsql immutable set search_path = ''
  as $$ begin return {}; end $$"""


@contextmanager
def sliced_database(databases: Databases) -> Iterator[str]:
    """Lend the DSN of a database with small limits. Sessions fold them into their plans, so they never change in it."""
    with databases.installed() as dsn:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(_LIMIT.format("_max_slice", "integer", MAX_SLICE).encode())
            limit = _LIMIT.format("_max_aggregate_bytes", "bigint", MAX_AGGREGATE_BYTES)
            connection.execute(limit.encode())
        yield dsn


def root_map_of(connection: Connection, count: int, flow: str = "f", **step: object) -> uuid.UUID:
    """Start a run of `items (map) -> end` over 100, 101, … and return its id."""
    items = {"slug": "items", "step_type": "map", **step}
    version(connection, flow, [items, {"slug": "end", "depends_on": ["items"]}], base_delay=0)
    run_id: uuid.UUID = start(connection, flow, list(range(100, 100 + count)))["run_id"]
    return run_id


def fan_outs(connection: Connection) -> list[Row]:
    """Return how far the maps are that are created in slices."""
    return rows(connection, "select step_slug, next_index, paused from pgflow.fan_outs order by 1")


def created(connection: Connection, run_id: uuid.UUID, step: str = "items") -> int:
    """Return how many tasks of a map there are."""
    query = "select count(*) from pgflow.step_tasks where run_id = %s and step_slug = %s"
    return int(value(connection, query, run_id, step))


def chain(connection: Connection, *steps: dict[str, object], **options: object) -> uuid.UUID:
    """Start `source -> maps one after the other`, and complete the source with 100, 101, …; return the run's id."""
    defined: list[dict[str, object]] = [{"slug": "source"}]
    for step in steps:
        last = defined[-1]["slug"]
        defined.append({"step_type": "map", "depends_on": [last], **step})
    version(connection, "f", defined, base_delay=0, **options)
    run_id: uuid.UUID = start(connection, "f")["run_id"]
    begin(connection, "f")
    complete(connection, run_id, "source", list(range(100, 100 + COUNT)))
    return run_id


def drain(connection: Connection, *, qty: int = 5, queue: str = "f") -> list[Row]:
    """Claim and complete until nothing is due, each task with its input and a tag; return the tasks in their order."""
    done = []
    while granted := claim(connection, queue, qty):
        outputs = [f"{one['step_slug']}:{one['input']}" for one in granted]
        assert set(complete_batch(connection, granted, outputs)) == {"accepted"}
        done += granted
    return sorted(done, key=lambda one: (one["step_slug"], one["task_index"]))


def given(done: list[Row], step: str = "items") -> list[tuple[int, object]]:
    """Return index and input of a step's tasks."""
    return [(one["task_index"], one["input"]) for one in done if one["step_slug"] == step]

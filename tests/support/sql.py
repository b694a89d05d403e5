"""Short calls of the engine's SQL for tests: define flows, start runs, work tasks off, look at rows.

Everything takes the `connection` fixture's psycopg connection and stays inside its transaction. Rows are dicts.
JSON arguments are Python values: `None` is JSON null, `SQL_NULL` is SQL's own.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

Connection = psycopg.Connection[Any]
Row = dict[str, Any]

SQL_NULL: Final = object()
"""A JSON argument that is SQL null; `None` stands for JSON null."""

EMPTY: Final = object()
"""The default input of a run: `{}`."""


def jsonb(value: object) -> Jsonb | None:
    """Wrap a Python value as a jsonb argument."""
    return None if value is SQL_NULL else Jsonb(value)


# Queries


def rows(connection: Connection, query: str, *arguments: object) -> list[Row]:
    """Return all rows of a query as dicts."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(cast("Any", query), arguments or None)
        return cursor.fetchall() if cursor.description else []


def row(connection: Connection, query: str, *arguments: object) -> Row:
    """Return the only row of a query."""
    found = rows(connection, query, *arguments)
    assert len(found) == 1, f"expected one row, got {len(found)}: {query}"
    return found[0]


def value(connection: Connection, query: str, *arguments: object) -> Any:
    """Return the only column of the only row of a query."""
    (only,) = row(connection, query, *arguments).values()
    return only


def change(connection: Connection, statement: str, *arguments: object) -> int:
    """Execute a write and return the number of rows that it touched."""
    return connection.execute(cast("Any", statement), arguments or None).rowcount


def call(connection: Connection, function: str, /, **named: object) -> list[Row]:
    """Return the rows of a pgflow function called with named arguments."""
    arguments = sql.SQL(", ").join(
        sql.SQL("{} => %s").format(sql.Identifier(name)) for name in named
    )
    query = sql.SQL("select * from pgflow.{}({})").format(sql.Identifier(function), arguments)
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(query, list(named.values()))
        return cursor.fetchall()


@contextmanager
def refused(connection: Connection, message: str, code: str | None = None) -> Iterator[None]:
    """Expect an error whose complete primary text is `message`; what the block did is rolled back."""
    with pytest.raises(psycopg.Error) as caught, connection.transaction():
        yield
    assert caught.value.diag.message_primary == message
    if code is not None:
        assert caught.value.sqlstate == code


# Definitions


def add_step(
    connection: Connection, flow: str, step: str, deps: Sequence[str] = (), **options: object
) -> Row:
    """Add a step by the contract's add_step; patterns among the options are Python values."""
    for pattern in ("required_input_pattern", "forbidden_input_pattern"):
        if pattern in options:
            options[pattern] = jsonb(options[pattern])
    (added,) = call(
        connection, "add_step", flow_slug=flow, step_slug=step, deps_slugs=list(deps), **options
    )
    return added


def define(
    connection: Connection, flow: str, steps: Mapping[str, object], **options: object
) -> str:
    """Create a flow; each step is its dependencies, or a dict of add_step's options with them under `deps`.

    `define(connection, "f", {"a": [], "m": {"deps": ["a"], "step_type": "map"}}, max_attempts=2)`
    """
    call(connection, "create_flow", flow_slug=flow, **options)
    for step, details in steps.items():
        named: dict[str, Any] = dict(details) if isinstance(details, Mapping) else {"deps": details}
        add_step(connection, flow, step, **named)
    return flow


def linear(connection: Connection, flow: str = "linear", **options: object) -> str:
    """Create `a -> b -> c`."""
    return define(connection, flow, {"a": [], "b": ["a"], "c": ["b"]}, **options)


def diamond(connection: Connection, flow: str = "diamond", **options: object) -> str:
    """Create `root -> (left, right) -> merge`."""
    steps = {"root": [], "left": ["root"], "right": ["root"], "merge": ["left", "right"]}
    return define(connection, flow, steps, **options)


def mapped(connection: Connection, flow: str = "mapped", **options: object) -> str:
    """Create `source -> items (map) -> total`."""
    steps = {"source": [], "items": {"deps": ["source"], "step_type": "map"}, "total": ["items"]}
    return define(connection, flow, steps, **options)


# Running


def start(connection: Connection, flow: str, run_input: object = EMPTY, **named: object) -> Row:
    """Start a run and return its row; the default input is `{}`."""
    given = {} if run_input is EMPTY else run_input
    (started,) = call(connection, "start_flow", flow_slug=flow, input=jsonb(given), **named)
    return started


def worker(
    connection: Connection, queue: str = "tests", worker_id: uuid.UUID | None = None
) -> uuid.UUID:
    """Register a worker and return its id."""
    identity = worker_id or uuid.uuid4()
    statement = (
        "insert into pgflow.workers (worker_id, queue_name, function_name) values (%s, %s, 'tests')"
    )
    rows(connection, statement, identity, queue)
    return identity


def begin(connection: Connection, flow: str, qty: int = 1, vt: int = 30) -> list[Row]:
    """Read and start tasks the contract's way (pgmq.read, start_tasks); rows in the order of their messages."""
    read = "select coalesce(array_agg(msg_id), '{}') from pgmq.read(%s, %s, %s)"
    messages = value(connection, read, flow, vt, qty)
    started = call(
        connection,
        "start_tasks",
        flow_slug=flow,
        msg_ids=messages,
        worker_id=worker(connection, flow),
    )
    return sorted(started, key=lambda task: task["msg_id"])


def claim(
    connection: Connection,
    queue: str,
    qty: int = 1,
    *,
    lease: int = 30,
    worker_id: uuid.UUID | None = None,
    handlers: Sequence[str] | None = None,
) -> list[Row]:
    """Claim tasks by claim_tasks, by default for a new worker; a single one is the oldest, not one by chance."""
    if qty == 1:
        connection.execute("select setseed(-0.2)")  # whose first random() is 0.15
    identity = worker_id or worker(connection, queue)
    named = {"worker_id": identity, "qty": qty, "lease": lease}
    if handlers is not None:
        named["handlers"] = list(handlers)
    return call(connection, "claim_tasks", queue_name=queue, **named)


def complete(
    connection: Connection, run_id: uuid.UUID, step: str, output: object = None, index: int = 0
) -> Row:
    """Complete a task by the contract's complete_task and return its row as it is afterwards."""
    named = {"step_slug": step, "task_index": index, "output": jsonb(output)}
    (task,) = call(connection, "complete_task", run_id=run_id, **named)
    return task


def fail(
    connection: Connection, run_id: uuid.UUID, step: str, error: str = "boom", index: int = 0
) -> Row:
    """Fail a task by the contract's fail_task and return its row as it is afterwards."""
    named = {"step_slug": step, "task_index": index, "error_message": error}
    (task,) = call(connection, "fail_task", run_id=run_id, **named)
    return task


def finish(connection: Connection, flow: str, step: str, output: object = None) -> list[Row]:
    """Begin every visible task of the flow and complete those of `step`, each with `output`."""
    done = [task for task in begin(connection, flow, 10_000) if task["step_slug"] == step]
    return [complete(connection, task["run_id"], step, output, task["task_index"]) for task in done]


def work(connection: Connection, flow: str, outputs: Mapping[str, object] | None = None) -> None:
    """Complete tasks until the flow's queue shows none; an output may be a function of the granted task."""
    chosen = outputs or {}
    while tasks := begin(connection, flow, 100):
        for task in tasks:
            output = chosen.get(task["step_slug"], task["step_slug"])
            result = cast("Callable[[Row], object]", output)(task) if callable(output) else output
            complete(connection, task["run_id"], task["step_slug"], result, task["task_index"])


# Set functions: tasks are rows as `claim` returns them


def report(
    connection: Connection,
    function: str,
    tasks: Sequence[Row],
    *,
    fenced: bool = True,
    **more: object,
) -> list[Row]:
    """Call complete_tasks, fail_tasks, extend_leases or release_tasks for granted tasks; reports in the given order."""
    reports = call(
        connection,
        function,
        run_ids=[task["run_id"] for task in tasks],
        step_slugs=[task["step_slug"] for task in tasks],
        task_indexes=[task["task_index"] for task in tasks],
        attempts=[task["attempt"] if fenced else None for task in tasks],
        **more,
    )
    found = {(one["run_id"], one["step_slug"], one["task_index"]): one for one in reports}
    return [found[task["run_id"], task["step_slug"], task["task_index"]] for task in tasks]


def complete_batch(
    connection: Connection, tasks: Sequence[Row], outputs: Sequence[object], *, fenced: bool = True
) -> list[str]:
    """Complete granted tasks by complete_tasks; return their outcomes."""
    given = [jsonb(output) for output in outputs]
    return [
        one["outcome"]
        for one in report(connection, "complete_tasks", tasks, fenced=fenced, outputs=given)
    ]


def fail_batch(
    connection: Connection,
    tasks: Sequence[Row],
    error: str = "boom",
    *,
    details: Mapping[str, object] | None = None,
    fenced: bool = True,
) -> list[str]:
    """Fail granted tasks by fail_tasks, all with the same error; return their outcomes."""
    more: dict[str, object] = {"errors": [error] * len(tasks)}
    if details is not None:
        more["details"] = [Jsonb(dict(details))] * len(tasks)
    return [
        one["outcome"] for one in report(connection, "fail_tasks", tasks, fenced=fenced, **more)
    ]


# Looking


def run(connection: Connection, run_id: uuid.UUID) -> Row:
    """Return the run's row."""
    return row(connection, "select * from pgflow.runs where run_id = %s", run_id)


def state(connection: Connection, run_id: uuid.UUID, step: str) -> Row:
    """Return one step_states row."""
    query = "select * from pgflow.step_states where run_id = %s and step_slug = %s"
    return row(connection, query, run_id, step)


def statuses(connection: Connection, run_id: uuid.UUID) -> dict[str, str]:
    """Return the status of each step."""
    states = rows(
        connection, "select step_slug, status from pgflow.step_states where run_id = %s", run_id
    )
    return {one["step_slug"]: one["status"] for one in states}


def tasks(connection: Connection, run_id: uuid.UUID, step: str | None = None) -> list[Row]:
    """Return the run's tasks, or one step's, by step and index."""
    query = """select * from pgflow.step_tasks
      where run_id = %s and step_slug = coalesce(%s, step_slug) order by step_slug, task_index"""
    return rows(connection, query, run_id, step)


def task(connection: Connection, run_id: uuid.UUID, step: str, index: int = 0) -> Row:
    """Return one task."""
    return tasks(connection, run_id, step)[index]


def attempts(connection: Connection, run_id: uuid.UUID) -> list[Row]:
    """Return the recorded attempts of a run."""
    query = (
        "select * from pgflow.attempts where run_id = %s order by step_slug, task_index, attempt"
    )
    return rows(connection, query, run_id)


def messages(connection: Connection, queue: str) -> list[Row]:
    """Return the live messages of a queue, with `visible` by the wall clock and `delay`, seconds until then."""
    query = sql.SQL(
        """select *, vt <= clock_timestamp() as visible, extract(epoch from vt - clock_timestamp())::float8 as delay
        from pgmq.{} order by msg_id"""
    )
    return rows(
        connection, query.format(sql.Identifier(f"q_{queue.lower()}")).as_string(connection)
    )


def archived(connection: Connection, queue: str) -> list[Row]:
    """Return the archived messages of a queue."""
    query = sql.SQL("select * from pgmq.{} order by msg_id")
    return rows(
        connection, query.format(sql.Identifier(f"a_{queue.lower()}")).as_string(connection)
    )


def make_visible(connection: Connection, queue: str) -> None:
    """Let every delay and lease of the queue run out now."""
    statement = sql.SQL("update pgmq.{} set vt = clock_timestamp()").format(
        sql.Identifier(f"q_{queue.lower()}")
    )
    connection.execute(statement)


# Events


def record_events(connection: Connection) -> None:
    """Create the event sink of the contract, which keeps events in realtime.messages."""
    connection.execute("""
      create schema realtime;
      create table realtime.messages (id uuid default gen_random_uuid(), topic text, extension text, payload jsonb, event text,
        private boolean, updated_at timestamptz default now(), inserted_at timestamptz default clock_timestamp(),
        position bigint generated always as identity);
      create function realtime.send(payload jsonb, event text, topic text, private boolean default true) returns void
      language sql as $$
        insert into realtime.messages (topic, extension, payload, event, private) values (topic, 'broadcast', payload, event, private)
      $$""")


def events(connection: Connection, run_id: uuid.UUID) -> list[Row]:
    """Return the run's recorded events in the order in which they were sent; needs `record_events` before."""
    query = "select event, topic, private, payload from realtime.messages where topic = %s order by position"
    return rows(connection, query, f"pgflow:run:{run_id}")


def event_names(connection: Connection, run_id: uuid.UUID) -> list[str]:
    """Return only the names of `events`."""
    return [one["event"] for one in events(connection, run_id)]


def payload(connection: Connection, run_id: uuid.UUID, event: str) -> Row:
    """Return the payload of the run's only event of this name."""
    (only,) = [one["payload"] for one in events(connection, run_id) if one["event"] == event]
    return cast("Row", only)

"""What tests of tasks need beyond `tests.support.sql`: versioned definitions, raw reports, untyped parameters, costs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from psycopg import pq, sql
from psycopg.types.json import Jsonb

from tests.support.sql import (
    Connection,
    Row,
    begin,
    call,
    claim,
    complete,
    define,
    mapped,
    rows,
    start,
    value,
)

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping, Sequence

Steps: TypeAlias = "Sequence[Mapping[str, object]]"
"""Steps of a definition as define_flow takes them; their type is single unless they say otherwise."""


# Definitions


def version(connection: Connection, flow: str, steps: Steps, **options: object) -> int:
    """Define a flow by define_flow and return its version; a step's type is single unless it says otherwise."""
    definition = {
        "options": options,
        "steps": [{"step_type": "single", "depends_on": [], **step} for step in steps],
    }
    return cast(
        "int", value(connection, "select pgflow.define_flow(%s, %s)", flow, Jsonb(definition))
    )


def root_map(
    connection: Connection, count: int, flow: str = "numbers", **step: object
) -> uuid.UUID:
    """Define a flow of one root map, `items`, start it over 0..count-1 and return the run's id."""
    version(connection, flow, [{"slug": "items", "step_type": "map", **step}], base_delay=0)
    return cast("uuid.UUID", start(connection, flow, list(range(count)))["run_id"])


def started_map(
    connection: Connection, count: int, flow: str = "mapped", **options: object
) -> uuid.UUID:
    """Start `source -> items (map) -> total` and complete the source with 0..count-1; return the run's id."""
    mapped(connection, flow, **options)
    run_id = cast("uuid.UUID", start(connection, flow)["run_id"])
    begin(connection, flow)
    complete(connection, run_id, "source", list(range(count)))
    return run_id


def one_step(
    connection: Connection, flow: str = "f", step: str = "a", **options: object
) -> uuid.UUID:
    """Start a run of a flow with one single step and return the run's id."""
    define(connection, flow, {step: []}, **options)
    return cast("uuid.UUID", start(connection, flow)["run_id"])


# Set functions


def arrays(tasks: Sequence[Row], *, fenced: bool = True) -> dict[str, list[object]]:
    """Turn granted tasks into the four arrays that name them."""
    return {
        "run_ids": [task["run_id"] for task in tasks],
        "step_slugs": [task["step_slug"] for task in tasks],
        "task_indexes": [task["task_index"] for task in tasks],
        "attempts": [task["attempt"] if fenced else None for task in tasks],
    }


def reports(
    connection: Connection, function: str, tasks: Sequence[Row], **more: object
) -> list[Row]:
    """Call a set function and return its reports exactly as they came."""
    return call(connection, function, **arrays(tasks), **more)


def outcomes(
    connection: Connection, function: str, tasks: Sequence[Row], **more: object
) -> list[str]:
    """Call a set function and return only its outcomes, as they came."""
    return [one["outcome"] for one in reports(connection, function, tasks, **more)]


def succeed(connection: Connection, tasks: Sequence[Row], output: object = "done") -> list[str]:
    """Complete granted tasks, all with one output; outcomes as they came."""
    return outcomes(connection, "complete_tasks", tasks, outputs=[Jsonb(output)] * len(tasks))


def break_down(
    connection: Connection, tasks: Sequence[Row], error: str = "boom", **details: object
) -> list[str]:
    """Fail granted tasks, all with one error and its details; outcomes as they came."""
    more: dict[str, object] = {"errors": [error] * len(tasks)}
    if details:
        more["details"] = [Jsonb(details)] * len(tasks)
    return outcomes(connection, "fail_tasks", tasks, **more)


def claim_one(connection: Connection, queue: str, **named: Any) -> Row:
    """Claim and return the only task that is to be had."""
    (only,) = claim(connection, queue, 10, **named)
    return only


def expire(connection: Connection, queue: str, seconds: int = 1) -> None:
    """Let every lease and delay of the queue have run out some seconds ago."""
    statement = sql.SQL("update pgmq.{} set vt = clock_timestamp() - make_interval(secs => %s)")
    connection.execute(statement.format(sql.Identifier(f"q_{queue.lower()}")), [seconds])


def lost_task(connection: Connection, queue: str) -> tuple[Row, Row]:
    """Claim a task twice, its lease expiring in between; return the stale grant and the live one."""
    stale = claim_one(connection, queue)
    expire(connection, queue)
    return stale, claim_one(connection, queue)


def steps_of(tasks: Sequence[Row]) -> list[str]:
    """Return the granted steps, sorted."""
    return sorted(task["step_slug"] for task in tasks)


def indexes_of(tasks: Sequence[Row]) -> list[int]:
    """Return the granted task indexes, sorted."""
    return sorted(task["task_index"] for task in tasks)


def snapshot(connection: Connection, run_id: uuid.UUID) -> dict[str, list[Row]]:
    """Return everything that is stored of a run, its live messages included, to show that nothing changed."""
    names = ("runs", "step_states", "step_tasks", "attempts")
    found = {
        name: rows(
            connection,
            f"select * from pgflow.{name} as one where run_id = %s order by one::text",
            run_id,
        )
        for name in names
    }
    for (queue,) in connection.execute(
        "select queue_name from pgmq.list_queues() order by 1"
    ).fetchall():
        query = sql.SQL("select * from pgmq.{} where message ->> 'run_id' = %s order by msg_id")
        table = sql.Identifier(f"q_{queue.lower()}")
        found[queue] = rows(connection, query.format(table).as_string(connection), str(run_id))
    return found


# The wire


def untyped(
    connection: Connection, statement: str, *parameters: str | None
) -> list[dict[str, str | None]]:
    """Execute a statement with `$n` parameters as drivers of other languages do: text without a type."""
    connection.execute("select")  # opens the transaction that the bare call below would do without
    encoded = [None if one is None else one.encode() for one in parameters]
    result = connection.pgconn.exec_params(statement.encode(), encoded)
    if result.status not in {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}:
        raise AssertionError(result.error_message.decode())
    names = [cast("bytes", result.fname(column)).decode() for column in range(result.nfields)]

    def text(line: int, column: int) -> str | None:
        found = result.get_value(line, column)
        return None if found is None else found.decode()

    return [
        {name: text(line, column) for column, name in enumerate(names)}
        for line in range(result.ntuples)
    ]


# Costs


def buffers(connection: Connection, query: str, *arguments: object) -> int:
    """Return how many buffers a statement touches, nested ones included: a cost that a busy machine can't blur."""
    explain = "explain (analyze, buffers, timing off, summary off, format json) " + query
    plan = value(connection, explain, *arguments)
    top = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
    return int(top["Shared Hit Blocks"]) + int(top["Shared Read Blocks"])


def events_in_order(connection: Connection) -> list[str]:
    """Return the names of all recorded events of all runs, in the order in which they were sent."""
    return [
        one["event"]
        for one in rows(connection, "select event from realtime.messages order by position")
    ]

"""What a case of the matrix of races leaves behind, in a form in which two cases can be compared.

Times become true or false, runs and workers get names, and what only says who came first is left out.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from tests.races.scenes import FLOW, LEASE, MAIN, OLD, WORKER, has_queue, output_of
from tests.support.sql import Connection, Row, call, report, rows, value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LIVE = f"""
  select to_jsonb(message) || jsonb_build_object(
    'vt', ceil(extract(epoch from greatest(message.vt - clock_timestamp(), interval '0')) / 100)
  ) from pgmq.q_{FLOW} as message"""
"""Live messages, with the time until they are due in hundreds of seconds."""

ARCHIVED = f"select to_jsonb(message) - 'vt' from pgmq.a_{FLOW} as message"

TASKS = f"""
  select to_jsonb(task) || jsonb_build_object('message_id', case
    when exists (select from pgmq.q_{FLOW} as live where live.msg_id = task.message_id) then 'live'
    when exists (select from pgmq.a_{FLOW} as gone where gone.msg_id = task.message_id) then 'archived'
    when task.message_id is not null then 'lost' end
  ) from pgflow.step_tasks as task"""
"""Tasks, with what has become of their messages instead of these messages' numbers."""

WITH_QUEUE = {"live messages": LIVE, "archived messages": ARCHIVED, "pgflow.step_tasks": TASKS}

MEANINGLESS = ("msg_id", "read_ct", "quarantined_at")
"""Columns that say who came first, or how often a message was looked at."""

IN_THE_END = [
    f"pgflow.{name}" for name in ("runs", "step_states", "flows", "steps", "deps", "flow_versions")
]
"""What is compared when all is over: batches may have been taken apart, attempts spent by one act or by the other."""


def outcome(connection: Connection, tables: Iterable[str], results: list[object]) -> str:
    """Return what the acts returned and what is in some tables and the queue."""
    queries = {table: f"select to_jsonb(one) from {table} as one" for table in tables}
    if has_queue(connection):
        queries |= WITH_QUEUE
    return _normal({"results": results, **_read(connection, queries)}, MEANINGLESS)


def end(connection: Connection) -> str:
    """Let workers go on until nothing is left to do, and return what became of all runs and of the definitions."""
    if has_queue(connection):
        named = {"queue_names": [FLOW], "function_name": "races"}
        call(connection, "register_worker", worker_id=WORKER, **named)
        while granted := _claim_everything(connection):
            for task in granted:
                _complete(connection, task)
    queries = {table: f"select to_jsonb(one) from {table} as one" for table in IN_THE_END}
    return _normal(_read(connection, queries), ("failed_tasks", *MEANINGLESS))


def _read(connection: Connection, queries: dict[str, str]) -> dict[str, list[Row]]:
    parts = ", ".join(f"'{name}', array({query})" for name, query in queries.items())
    found: dict[str, list[Row]] = value(connection, f"select json_build_object({parts})")
    return found


def _claim_everything(connection: Connection) -> list[Row]:
    rows(connection, "select pgflow.resend_lost_messages()")
    connection.execute(f"update pgmq.q_{FLOW} set vt = clock_timestamp()")
    named = {"queue_name": FLOW, "worker_id": WORKER, "qty": 50, "lease": LEASE}
    return call(connection, "claim_tasks", **named)


def _complete(connection: Connection, task: Row) -> None:
    first, items = task["task_index"], task["items"]
    outputs = [output_of(task["step_slug"], first + number) for number in range(items or 1)]
    output = Jsonb(outputs if items else outputs[0])
    report(connection, "complete_tasks", [task], outputs=[output])


def _normal(found: dict[str, Any], ignored: Iterable[str]) -> str:
    labels = {str(MAIN): "main", str(OLD): "old", str(WORKER): "worker"}
    for one in _dicts(found):
        if "idempotency_key" in one:
            labels.setdefault(str(one["run_id"]), f"run of key {one['idempotency_key']}")

    def plain(one: Any) -> Any:
        if isinstance(one, dict):
            return {
                key: given is not None if key.endswith("_at") else plain(given)
                for key, given in one.items()
                if key not in ignored
            }
        if isinstance(one, (list, tuple)):
            return [plain(each) for each in one]
        return labels.get(str(one), str(one)) if isinstance(one, (str, uuid.UUID)) else one

    def unordered(one: Any) -> Any:
        return sorted(map(plain, one), key=_text) if isinstance(one, list) else plain(one)

    results = [unordered(one) for one in found.pop("results", [])]
    tables = {name: unordered(content) for name, content in found.items()}
    return json.dumps({"results": results, **tables}, indent=1, sort_keys=True)


def _text(one: object) -> str:
    return json.dumps(one, sort_keys=True)


def _dicts(found: Any) -> Iterator[Row]:
    if isinstance(found, dict):
        yield found
        for one in found.values():
            yield from _dicts(one)
    elif isinstance(found, (list, tuple)):
        for one in found:
            yield from _dicts(one)

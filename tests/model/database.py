"""The database's side of a schedule: the same operations as the model's, as calls of the engine's SQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.model.definitions import SQL_NULL
from tests.model.grants import Grant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.model.definitions import Definition, Json, Step
    from tests.model.grants import Claim
    from tests.model.reports import Report

QUEUES = ("alpha", "beta", "side")
Row = dict[str, Any]


def set_stage(dsn: str) -> None:
    """Make the queues and helpers of all schedules of a database."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for queue in QUEUES:
            connection.execute("select pgflow.ensure_queue(%s)", [queue])
        connection.execute(Path(__file__).with_name("stage.sql").read_bytes())


def jsonb(value: Json) -> Jsonb | None:
    return None if value is SQL_NULL else Jsonb(value)


class Engine:
    """The engine behind one connection, in the transaction of one schedule."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.random = 0

    def rows(self, query: str, *arguments: object) -> list[Row]:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(query.encode(), arguments or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, query: str, *arguments: object) -> Any:
        ((found,),) = self.connection.execute(query.encode(), arguments or None).fetchall()
        return found

    def picture(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self.value("select model.picture()"))
        return found

    # Definitions and runs

    def define(self, slug: str, definition: Definition) -> int:
        return int(
            self.value("select pgflow.define_flow(%s, %s)", slug, Jsonb(definition.as_json()))
        )

    def add_step(self, slug: str, step: Step) -> None:
        self.value(
            """select pgflow.add_step(
              %s, %s, %s, max_attempts => %s, base_delay => %s, timeout => %s, start_delay => %s, step_type => %s,
              required_input_pattern => %s, forbidden_input_pattern => %s, when_unmet => %s, when_exhausted => %s,
              queue => %s, initial_tasks => %s, max_failed_tasks => %s, batch_size => %s)::text""",
            slug,
            step.slug,
            list(step.depends_on),
            step.max_attempts,
            step.base_delay,
            step.timeout,
            step.start_delay,
            step.step_type,
            None if step.required_input_pattern is None else Jsonb(step.required_input_pattern),
            None if step.forbidden_input_pattern is None else Jsonb(step.forbidden_input_pattern),
            step.when_unmet,
            step.when_exhausted,
            step.queue,
            step.initial_tasks,
            step.max_failed_tasks,
            step.batch_size,
        )

    def start(
        self,
        slug: str,
        inputs: Sequence[Json],
        keys: Sequence[str | None],
        ids: Sequence[str],
        version: int | None = None,
    ) -> list[str]:
        given = [Jsonb(one) for one in inputs]
        if len(inputs) == 1:
            found = self.rows(
                "select run_id::text from pgflow.start_flow(%s, %s, %s, %s, %s)",
                *(slug, given[0], ids[0], keys[0], version),
            )
        else:
            found = self.rows(
                "select run_id::text from pgflow.start_many(%s, %s, %s, %s::uuid[], %s)",
                *(slug, given, list(keys), list(ids), version),
            )
        return [row["run_id"] for row in found]

    def cancel(self, run_id: str, reason: str | None) -> None:
        self.rows("select pgflow.cancel_run(%s, %s)::text", run_id, reason)

    def retry(self, run_id: str, slug: str | None) -> None:
        self.rows("select pgflow.retry_run(%s, %s)::text", run_id, slug)

    def prune(self, older_than: int) -> None:
        self.value(
            "select pgflow.prune_data_older_than(make_interval(secs => %s))::text", older_than
        )

    # Workers

    def register(self, worker: str) -> None:
        self.value("select pgflow.register_worker(%s, %s, 'model')::text", worker, list(QUEUES))

    def claim(self, claim: Claim) -> list[Grant]:
        self._choose_chance()
        found = self.rows(
            "select * from model.claim(%s, %s, %s, %s, %s)",
            *(claim.queues[0], claim.worker, claim.qty, claim.lease, claim.handlers),
        )
        return [_grant(row) for row in found]

    def start_tasks(
        self, flow: str, keys: Sequence[tuple[str, str, int]], worker: str
    ) -> list[Row]:
        return self.rows(
            """select run_id::text as run, step_slug, task_index, input, flow_input from pgflow.start_tasks(%s, array(
              select task.message_id from pgflow.step_tasks as task
              inner join unnest(%s::uuid[], %s::text[], %s::int[]) as key (run_id, step_slug, task_index)
                using (run_id, step_slug, task_index)
            ), %s)""",
            *(flow, *_columns(keys, 3), worker),
        )

    def _choose_chance(self) -> None:
        """Fix what the database does by chance, so that a schedule is the same each time."""
        self.random += 1
        self.connection.execute("select setseed(%s)", [(self.random * 0.37) % 1])

    # Reports

    def complete(self, reports: Sequence[Report], outputs: Sequence[Json]) -> list[str]:
        return self._report("complete_tasks", reports, [jsonb(one) for one in outputs])

    def complete_and_claim(
        self, reports: Sequence[Report], outputs: Sequence[Json], claim: Claim
    ) -> tuple[list[str], list[Grant]]:
        """Give the outcomes that were not `accepted`, and what was granted."""
        found = self.rows(
            """select * from pgflow.complete_and_claim(
              %s::uuid[], %s::text[], %s::int[], %s::int[], %s::jsonb[], %s, %s, %s, %s, %s)""",
            *_columns(reports, 4),
            [jsonb(one) for one in outputs],
            *(claim.worker, list(claim.queues), claim.qty, claim.lease, claim.handlers),
        )
        refused = [row["outcome"] for row in found if row["outcome"] is not None]
        return refused, [_grant(row) for row in found if row["outcome"] is None]

    def complete_one(self, report: Report, output: Json) -> None:
        query = "select pgflow.complete_task(%s, %s, %s, %s, %s)::text"
        self.rows(query, *report[:3], jsonb(output), report.fence)

    def fail(
        self, reports: Sequence[Report], errors: Sequence[str], details: Sequence[Row]
    ) -> list[str]:
        return self._report(
            "fail_tasks", reports, list(errors), [Jsonb(one) if one else None for one in details]
        )

    def fail_one(self, report: Report, error: str) -> None:
        query = "select pgflow.fail_task(%s, %s, %s, %s, %s)::text"
        self.rows(query, *report[:3], error, report.fence)

    def release(self, reports: Sequence[Report], delay: int) -> list[str]:
        return self._report("release_tasks", reports, delay)

    def extend(self, reports: Sequence[Report], lease: int) -> list[str]:
        return self._report("extend_leases", reports, lease)

    def split(self, reports: Sequence[Report], results: Sequence[Sequence[Json]]) -> list[str]:
        return self._report("split_batches", reports, [Jsonb(list(one)) for one in results])

    def _report(self, function: str, reports: Sequence[Report], *more: object) -> list[str]:
        slots = ", ".join("%s" for _ in more)
        found = self.rows(
            f"select * from pgflow.{function}(%s::uuid[], %s::text[], %s::int[], %s::int[], {slots})",
            *(*_columns(reports, 4), *more),
        )
        named = [(str(row["run_id"]), row["step_slug"], row["task_index"]) for row in found]
        assert named == [report[:3] for report in reports], "reports came in another order"
        return [row["outcome"] for row in found]

    # Repairs and faults

    def requeue_stalled(self) -> int | None:
        return self.value("select pgflow.requeue_stalled_tasks()")  # type: ignore[no-any-return]

    def resend(self) -> int:
        return int(self.value("select model.resend()"))

    def forward(self, seconds: int) -> None:
        self.value("select model.forward(%s)::text", seconds)

    def expire(self, queue: str, key: tuple[str, str, int]) -> None:
        """Make the message of a task due now."""
        self._change(f"update pgmq.q_{queue} as message set vt = clock_timestamp()", key)

    def lose(self, queue: str, key: tuple[str, str, int]) -> None:
        """Delete the message of a task behind the engine's back."""
        self._change(f"delete from pgmq.q_{queue} as message", key)

    def _change(self, statement: str, key: tuple[str, str, int]) -> None:
        condition = """ where msg_id = (select message_id from pgflow.step_tasks
          where run_id = %s and step_slug = %s and task_index = %s)"""
        changed = self.connection.execute((statement + condition).encode(), key).rowcount
        assert changed == 1, f"{changed} messages of {key}"

    def tire(self, key: tuple[str, str, int], requeues: int) -> None:
        """Let a task have been requeued so many times."""
        self.connection.execute(
            """update pgflow.step_tasks set requeued_count = %s
            where run_id = %s and step_slug = %s and task_index = %s""",
            [requeues, *key],
        )

    def send_orphan(self, queue: str, run_id: str) -> None:
        """Send a message that belongs to no task."""
        body = {"flow_slug": queue, "run_id": run_id, "step_slug": "nowhere", "task_index": 0}
        self.value("select pgmq.send(%s, %s)::text", queue, Jsonb(body))


def _columns(keys: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    return [[key[column] for key in keys] for column in range(width)]


def _grant(row: Row) -> Grant:
    assert not row["deferred"], "small outputs are never deferred"
    return Grant(
        run=str(row["run_id"]),
        step=row["step_slug"],
        index=row["task_index"],
        fence=row["attempt"],
        input=row["input"],
        flow_input=row["flow_input"],
        items=row["items"],
        tries=row["tries"],
        max_attempts=row["max_attempts"],
        exhausted=row["exhausted"],
        recovered=row["recovered"],
    )

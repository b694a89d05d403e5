"""pgflow.delete_flow_and_data: a flow with everything that it ever made."""

from __future__ import annotations

import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from tests.support.sql import (
    Connection,
    claim,
    define,
    diamond,
    fail_batch,
    finish,
    messages,
    row,
    rows,
    start,
    value,
    work,
)


def delete(connection: Connection, flow: str) -> None:
    row(connection, "select pgflow.delete_flow_and_data(p_flow_slug => %s)", flow)


@pytest.mark.parametrize(
    "table", ["flows", "steps", "deps", "runs", "step_states", "step_tasks", "flow_versions"]
)
def test_empties_the_table(connection: Connection, table: str) -> None:
    diamond(connection)
    start(connection, "diamond")
    finish(connection, "diamond", "root")
    delete(connection, "diamond")
    query = sql.SQL("select count(*) from pgflow.{}").format(sql.Identifier(table))
    assert value(connection, query.as_string(connection)) == 0


def test_deletes_recorded_attempts(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    start(connection, "f")
    fail_batch(connection, claim(connection, "f"))
    assert value(connection, "select count(*) from pgflow.attempts") == 1
    delete(connection, "f")
    assert value(connection, "select count(*) from pgflow.attempts") == 0


def test_drops_the_queue_and_its_archive(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    delete(connection, "f")
    assert value(connection, "select count(*) from pgmq.list_queues() where queue_name = 'f'") == 0
    assert (
        value(
            connection, "select to_regclass('pgmq.q_f') is null and to_regclass('pgmq.a_f') is null"
        )
        is True
    )


def test_takes_its_messages_out_of_the_own_queues_of_steps(connection: Connection) -> None:
    define_with_queue(connection, "f")
    start(connection, "f")
    delete(connection, "f")
    assert messages(connection, "gpu") == []


def test_keeps_a_queue_that_another_flow_uses(connection: Connection) -> None:
    define_with_queue(connection, "f")
    define_with_queue(connection, "g")
    start(connection, "f")
    kept = start(connection, "g")
    delete(connection, "f")
    assert [one["message"]["run_id"] for one in messages(connection, "gpu")] == [
        str(kept["run_id"])
    ]


def define_with_queue(connection: Connection, flow: str) -> None:
    definition = Jsonb({"steps": [{"slug": "a", "queue": "gpu"}]})
    row(connection, "select pgflow.define_flow(%s, %s)", flow, definition)


def test_leaves_other_flows(connection: Connection) -> None:
    diamond(connection, "f")
    diamond(connection, "g")
    start(connection, "f")
    kept = start(connection, "g")
    delete(connection, "f")
    assert rows(connection, "select * from pgflow.runs") == [kept]
    work(connection, "g")
    assert value(connection, "select status from pgflow.runs") == "completed"


def test_deletes_a_flow_in_the_middle_of_a_run(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    start(connection, "f")
    claim(connection, "f")
    delete(connection, "f")
    assert rows(connection, "select * from pgflow.step_tasks") == []


def test_the_slug_is_free_again(connection: Connection) -> None:
    define(connection, "f", {"a": []}, max_attempts=9)
    delete(connection, "f")
    define(connection, "f", {"b": []})
    assert value(connection, "select opt_max_attempts from pgflow.flows") == 3
    assert value(connection, "select step_slug from pgflow.steps") == "b"


def test_an_unknown_flow_is_no_error(connection: Connection) -> None:
    define(connection, "f", {})
    delete(connection, "nowhere")
    assert value(connection, "select count(*) from pgflow.flows") == 1


def test_a_flow_whose_queue_was_dropped_is_deleted(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    row(connection, "select pgmq.drop_queue('f')")
    delete(connection, "f")
    assert rows(connection, "select * from pgflow.flows") == []

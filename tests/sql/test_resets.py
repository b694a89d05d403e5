"""Deletes of resetting tools, and direct writes to definitions, workers and queues (contract, section 20)."""

from __future__ import annotations

import uuid

import pytest

from tests.support.sql import (
    Connection,
    begin,
    change,
    claim,
    define,
    diamond,
    fail_batch,
    finish,
    mapped,
    messages,
    record_events,
    refused,
    row,
    rows,
    run,
    start,
    task,
    value,
    work,
)

RUN = ("step_tasks", "step_states", "runs")
ALL = (*RUN, "deps", "steps", "flows", "worker_functions")


@pytest.fixture
def run_id(connection: Connection) -> uuid.UUID:
    """A run of source -> items (map) -> total, in the middle of items."""
    mapped(connection, base_delay=0)
    started: uuid.UUID = start(connection, "mapped")["run_id"]
    finish(connection, "mapped", "source", [1, 2, 3])
    begin(connection, "mapped", 1)
    return started


# Resetting tools


def test_all_rows_can_be_deleted_in_the_documented_order(
    connection: Connection, run_id: uuid.UUID
) -> None:
    row(connection, "select pgflow.track_worker_function('shop')")
    fail_batch(connection, claim(connection, "mapped"))
    for table in ALL:
        change(connection, f"delete from pgflow.{table}")
    rows(connection, "select pgmq.drop_queue(queue_name) from pgmq.list_queues()")
    for table in ALL:
        assert rows(connection, f"select * from pgflow.{table}") == []


def test_everything_works_after_such_a_reset(connection: Connection, run_id: uuid.UUID) -> None:
    for table in ALL:
        change(connection, f"delete from pgflow.{table}")
    rows(connection, "select pgmq.drop_queue(queue_name) from pgmq.list_queues()")
    diamond(connection)
    fresh = start(connection, "diamond")["run_id"]
    work(connection, "diamond")
    assert run(connection, fresh)["status"] == "completed"


def test_runs_of_one_flow_can_be_deleted_leaving_its_messages(
    connection: Connection, run_id: uuid.UUID
) -> None:
    for table in RUN:
        change(connection, f"delete from pgflow.{table} where flow_slug = 'mapped'")
    assert len(messages(connection, "mapped")) == 3
    assert begin(connection, "mapped", 10) == []


def test_orphaned_messages_do_not_disturb_the_next_run(
    connection: Connection, run_id: uuid.UUID
) -> None:
    for table in RUN:
        change(connection, f"delete from pgflow.{table} where flow_slug = 'mapped'")
    fresh = start(connection, "mapped")["run_id"]
    work(connection, "mapped", {"source": [1]})
    assert run(connection, fresh)["output"] == {"total": "total"}


def test_the_id_of_a_deleted_run_can_be_used_again(connection: Connection) -> None:
    define(connection, "f", {"a": []}, base_delay=0)
    given = uuid.uuid4()
    for _ in range(2):
        start(connection, "f", run_id=given)
        assert fail_batch(connection, claim(connection, "f")) == ["accepted"]
        assert task(connection, given, "a")["attempts_count"] == 1
        for table in RUN:
            change(connection, f"delete from pgflow.{table}")
        change(connection, "delete from pgmq.q_f")


def test_installation_leaves_the_contracts_tables_empty(connection: Connection) -> None:
    for table in ("flows", "steps", "deps", *RUN, "workers", "worker_functions"):
        assert rows(connection, f"select * from pgflow.{table}") == []


# Definitions


def test_a_step_can_be_inserted_with_three_columns(connection: Connection) -> None:
    define(connection, "f", {})
    change(
        connection,
        "insert into pgflow.steps (flow_slug, step_slug, step_index) values ('f', 'a', 0)",
    )
    fresh = start(connection, "f")["run_id"]
    work(connection, "f")
    assert run(connection, fresh)["output"] == {"a": "a"}


def test_a_second_step_with_the_same_index_is_refused(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    text = 'duplicate key value violates unique constraint "steps_flow_slug_step_index_key"'
    with refused(connection, text, "23505"):
        change(
            connection,
            "insert into pgflow.steps (flow_slug, step_slug, step_index) values ('f', 'b', 0)",
        )


# Workers


def test_workers_can_be_inserted_and_upserted(connection: Connection) -> None:
    upsert = """insert into pgflow.workers (worker_id, queue_name, function_name, started_at, last_heartbeat_at)
      values (%s, 'q', 'f', now() - interval '1 hour', now())
      on conflict (worker_id) do update set last_heartbeat_at = clock_timestamp(), queue_name = excluded.queue_name"""
    given = uuid.uuid4()
    for _ in range(2):
        assert change(connection, upsert, given) == 1
    assert value(connection, "select count(*) from pgflow.workers") == 1


def test_workers_can_be_changed_and_deleted(connection: Connection, run_id: uuid.UUID) -> None:
    statement = """update pgflow.workers set stopped_at = now() - interval '1 day', deprecated_at = now(),
      last_heartbeat_at = now() - interval '40 days'"""
    assert change(connection, statement) > 0
    change(connection, "delete from pgflow.workers")
    found = task(connection, run_id, "items")
    assert (found["status"], found["last_worker_id"]) == ("started", None)


def test_worker_functions_can_be_changed(connection: Connection) -> None:
    row(connection, "select pgflow.track_worker_function('shop')")
    statement = "update pgflow.worker_functions set enabled = false, debounce = '1 second', last_invoked_at = now()"
    assert change(connection, statement) == 1


# Queues and the event sink


def test_queue_tables_can_be_written(connection: Connection, run_id: uuid.UUID) -> None:
    assert change(connection, "update pgmq.q_mapped set vt = now() + interval '1 hour'") == 3
    assert (
        change(connection, "update pgmq.a_mapped set archived_at = now() - interval '40 days'") == 1
    )


def test_message_ids_are_not_unique_over_flows(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    define(connection, "g", {"a": []})
    first, second = start(connection, "f")["run_id"], start(connection, "g")["run_id"]
    assert task(connection, first, "a")["message_id"] == task(connection, second, "a")["message_id"]


def test_a_trigger_on_the_sink_sees_each_event(connection: Connection) -> None:
    record_events(connection)
    connection.execute("""
      create table public.seen (event text);
      create function public.see() returns trigger language plpgsql as
        $$ begin insert into public.seen values (new.event); return null; end $$;
      create trigger see after insert on realtime.messages for each row execute function public.see()""")
    define(connection, "f", {"a": []})
    start(connection, "f")
    assert [one["event"] for one in rows(connection, "select event from public.seen")] == [
        "run:started",
        "step:a:started",
    ]

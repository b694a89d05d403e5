"""pgflow.prune_data_older_than: finished runs, silent workers and old archives go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sql import (
    Connection,
    archived,
    attempts,
    begin,
    change,
    claim,
    define,
    fail,
    fail_batch,
    messages,
    row,
    rows,
    start,
    task,
    value,
    work,
)
from tests.support.tasks import succeed, version

if TYPE_CHECKING:
    import uuid


def prune(connection: Connection, days: int = 7) -> None:
    row(
        connection,
        "select pgflow.prune_data_older_than(retention_interval => make_interval(days => %s))",
        days,
    )


def age_run(connection: Connection, run_id: uuid.UUID, days: int) -> None:
    """Let the run have started and ended so many days ago."""
    update = """update pgflow.runs set started_at = started_at - make_interval(days => %(days)s),
      completed_at = completed_at - make_interval(days => %(days)s),
      failed_at = failed_at - make_interval(days => %(days)s) where run_id = %(run)s"""
    connection.execute(update, {"days": days, "run": run_id})


def completed(connection: Connection, days: int) -> uuid.UUID:
    run_id: uuid.UUID = start(connection, "f")["run_id"]
    work(connection, "f")
    age_run(connection, run_id, days)
    return run_id


def failed(connection: Connection, days: int) -> uuid.UUID:
    run_id: uuid.UUID = start(connection, "f")["run_id"]
    begin(connection, "f")
    fail(connection, run_id, "a")
    age_run(connection, run_id, days)
    return run_id


@pytest.fixture(autouse=True)
def flow(connection: Connection) -> str:
    return define(connection, "f", {"a": [], "b": ["a"]}, max_attempts=1)


def run_ids(connection: Connection) -> set[uuid.UUID]:
    return {one["run_id"] for one in rows(connection, "select run_id from pgflow.runs")}


# Runs


@pytest.mark.parametrize("end", [completed, failed])
def test_deletes_runs_that_ended_before_the_cutoff(connection: Connection, end: object) -> None:
    assert callable(end)
    end(connection, 8)
    kept = end(connection, 6)
    prune(connection)
    assert run_ids(connection) == {kept}


def test_deletes_their_states_and_tasks(connection: Connection) -> None:
    completed(connection, 8)
    kept = completed(connection, 6)
    prune(connection)
    for query in (
        "select distinct run_id from pgflow.step_states",
        "select distinct run_id from pgflow.step_tasks",
    ):
        assert value(connection, query) == kept


def test_deletes_their_recorded_attempts(connection: Connection) -> None:
    run_id = start(connection, "f")["run_id"]
    fail_batch(connection, claim(connection, "f"))
    assert len(attempts(connection, run_id)) == 1
    age_run(connection, run_id, 8)
    prune(connection)
    assert attempts(connection, run_id) == []


def test_deletes_tasks_whatever_their_status(connection: Connection) -> None:
    run_id = failed(connection, 8)
    connection.execute(
        "update pgflow.step_tasks set status = 'started', failed_at = null where run_id = %s",
        [run_id],
    )
    prune(connection)
    assert rows(connection, "select * from pgflow.step_tasks") == []


def test_deletes_their_live_messages(connection: Connection) -> None:
    run_id = start(connection, "f")["run_id"]
    kept = start(connection, "f")["run_id"]
    connection.execute(
        "update pgflow.runs set status = 'failed', failed_at = now() - interval '8 days' where run_id = %s",
        [run_id],
    )
    prune(connection)
    assert [one["message"]["run_id"] for one in messages(connection, "f")] == [str(kept)]


def test_keeps_started_runs_of_any_age(connection: Connection) -> None:
    run_id = start(connection, "f")["run_id"]
    age_run(connection, run_id, 400)
    prune(connection)
    assert run_ids(connection) == {run_id}
    assert task(connection, run_id, "a")["status"] == "queued"
    assert len(messages(connection, "f")) == 1


def test_an_old_run_that_ended_lately_is_kept(connection: Connection) -> None:
    run_id = completed(connection, 0)
    connection.execute("update pgflow.runs set started_at = now() - interval '400 days'")
    prune(connection)
    assert run_ids(connection) == {run_id}


def test_a_run_that_ended_exactly_at_the_cutoff_is_kept(connection: Connection) -> None:
    run_id = completed(connection, 7)
    prune(connection)
    assert run_ids(connection) == {run_id}


def test_deletes_cancelled_runs(connection: Connection) -> None:
    run_id = start(connection, "f")["run_id"]
    row(connection, "select * from pgflow.cancel_run(%s)", run_id)
    connection.execute("update pgflow.runs set cancelled_at = now() - interval '8 days'")
    prune(connection)
    assert run_ids(connection) == set()


def test_definitions_stay(connection: Connection) -> None:
    completed(connection, 8)
    prune(connection)
    assert value(connection, "select count(*) from pgflow.steps") == 2


# Workers


@pytest.mark.parametrize(
    ("age", "kept"), [("6 days", True), ("7 days", True), ("7 days 1 second", False)]
)
def test_deletes_workers_silent_since_before_the_cutoff(
    connection: Connection, age: str, kept: bool
) -> None:
    insert = """insert into pgflow.workers (worker_id, queue_name, function_name, last_heartbeat_at)
      values (gen_random_uuid(), 'f', 'w', now() - %s::interval)"""
    connection.execute(insert, [age])
    prune(connection)
    assert (
        value(connection, "select count(*) from pgflow.workers where function_name = 'w'") == 1
    ) is kept


def test_a_deleted_worker_is_forgotten_by_its_tasks(connection: Connection) -> None:
    run_id = completed(connection, 0)
    assert task(connection, run_id, "a")["last_worker_id"] is not None
    connection.execute("update pgflow.workers set last_heartbeat_at = now() - interval '8 days'")
    prune(connection)
    found = task(connection, run_id, "a")
    assert (found["status"], found["last_worker_id"]) == ("completed", None)


# Archives


def test_deletes_messages_archived_before_the_cutoff(connection: Connection) -> None:
    completed(connection, 0)
    connection.execute(
        "update pgmq.a_f set archived_at = now() - interval '8 days' where msg_id = 1"
    )
    prune(connection)
    assert [one["msg_id"] for one in archived(connection, "f")] == [2]


def test_prunes_the_archive_of_every_flow(connection: Connection) -> None:
    slug = "long_" * 20 + "slug"
    define(connection, slug, {"a": []})
    queue = value(connection, "select queue_name from pgflow.flows where flow_slug = %s", slug)
    for name in ("f", queue):
        sent = value(connection, "select pgmq.send(%s, '{}')", name)
        row(connection, "select pgmq.archive(%s, %s::bigint)", name, sent)
    connection.execute("update pgmq.a_f set archived_at = now() - interval '8 days'")
    table = value(connection, "select format('pgmq.%%I', pgmq.format_table_name(%s, 'a'))", queue)
    change(connection, f"update {table} set archived_at = now() - interval '8 days'")
    prune(connection)
    assert archived(connection, "f") == archived(connection, queue) == []


def test_prunes_the_archive_of_a_queue_that_no_step_names_any_more(connection: Connection) -> None:
    version(connection, "g", [{"slug": "a", "queue": "side"}])
    start(connection, "g")
    succeed(connection, claim(connection, "side"))
    version(connection, "g", [{"slug": "a"}])
    change(connection, "update pgmq.a_side set archived_at = now() - interval '8 days'")
    prune(connection)
    assert archived(connection, "side") == []


def test_a_flow_whose_queue_was_dropped_is_passed_over(connection: Connection) -> None:
    define(connection, "gone", {"a": []})
    row(connection, "select pgmq.drop_queue('gone')")
    completed(connection, 8)
    prune(connection)
    assert run_ids(connection) == set()


# The signature


def test_a_users_own_definition_can_replace_it(connection: Connection) -> None:
    connection.execute("""create or replace function pgflow.prune_data_older_than(retention_interval interval)
      returns void language plpgsql set search_path to '' as $$ begin delete from pgflow.step_tasks; end $$""")
    start(connection, "f")
    prune(connection)
    assert rows(connection, "select * from pgflow.step_tasks") == []


def test_calling_it_twice_is_no_error(connection: Connection) -> None:
    completed(connection, 8)
    prune(connection)
    prune(connection)
    assert run_ids(connection) == set()

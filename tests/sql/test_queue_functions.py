"""The functions that the engine makes for each queue: there when they are needed, gone with it, nobody else's."""

from __future__ import annotations

from tests.support.sql import (
    Connection,
    call,
    claim,
    define,
    messages,
    refused,
    rows,
    run,
    start,
    value,
    work,
    worker,
)

FUNCTIONS = "select proname from pg_proc where proname like 'q\\_%' order by 1"


def made(connection: Connection) -> list[str]:
    return [one["proname"] for one in rows(connection, FUNCTIONS)]


def test_a_queue_that_does_not_exist_is_refused_by_its_name(connection: Connection) -> None:
    by = worker(connection)
    with refused(connection, 'relation "pgmq.q_nowhere" does not exist', "42P01"):
        claim(connection, "nowhere", worker_id=by)
    assert made(connection) == []


def test_a_queue_has_its_functions_from_its_definition_to_its_deletion(
    connection: Connection,
) -> None:
    define(connection, "Shop", {"a": []})
    assert made(connection) == ["q_shop_archive", "q_shop_read", "q_shop_send"]
    value(connection, "select pgflow.delete_flow_and_data('Shop')::text")
    assert made(connection) == []


def test_functions_that_are_missing_are_made_when_they_are_needed(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    for name in made(connection):
        connection.execute(f"drop function pgflow.{name}".encode())
    run_id = start(connection, "f")["run_id"]
    work(connection, "f")
    assert run(connection, run_id)["status"] == "completed"


def test_a_queue_that_was_dropped_and_made_anew_works(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    start(connection, "f")
    claim(connection, "f")
    rows(connection, "select pgmq.drop_queue('f'), pgmq.create('f')")
    run_id = start(connection, "f")["run_id"]
    assert [one["run_id"] for one in claim(connection, "f", 9)] == [run_id]


def test_a_queue_that_users_made_themselves_works(connection: Connection) -> None:
    rows(connection, "select pgmq.create('gpu')")
    define(connection, "f", {"a": []})
    rows(connection, "update pgflow.steps set opt_queue = 'gpu'")
    start(connection, "f")
    assert len(messages(connection, "gpu")) == len(claim(connection, "gpu", 9)) == 1


def test_nobody_but_the_owner_may_call_them(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    query = """select proname from pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner))) as entry
      where proname like 'q\\_%' and entry.grantee <> proowner"""
    assert rows(connection, query) == []


def test_messages_are_archived_with_all_that_they_had(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    run_id = start(connection, "f")["run_id"]
    (before,) = rows(connection, "select * from pgmq.q_f")
    call(connection, "cancel_run", run_id=run_id)
    (after,) = rows(connection, "select * from pgmq.a_f")
    assert {name: after[name] for name in before} == before

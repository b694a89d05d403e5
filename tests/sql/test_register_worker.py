"""pgflow.register_worker and worker_heartbeat: who works, and whether they live."""

from __future__ import annotations

import uuid

from tests.support.sql import Connection, Row, call, claim, jsonb, row, rows, value
from tests.support.tasks import one_step


def register(connection: Connection, **changes: object) -> Row:
    named: dict[str, object] = {
        "worker_id": uuid.uuid4(),
        "queue_names": ["f", "gpu"],
        "function_name": "app.flows",
        "hostname": "here",
        "pid": 4711,
        "info": jsonb({"version": "1"}),
    } | changes
    call(connection, "register_worker", **named)
    return row(connection, "select * from pgflow.workers where worker_id = %s", named["worker_id"])


def heartbeat(connection: Connection, worker_id: uuid.UUID) -> object:
    return value(connection, "select pgflow.worker_heartbeat(worker_id => %s)", worker_id)


def test_stores_what_the_worker_says_of_itself(connection: Connection) -> None:
    found = register(connection)
    told = {
        name: found[name] for name in ("queue_names", "function_name", "hostname", "pid", "info")
    }
    assert told == {
        "queue_names": ["f", "gpu"],
        "function_name": "app.flows",
        "hostname": "here",
        "pid": 4711,
        "info": {"version": "1"},
    }


def test_a_new_worker_is_alive(connection: Connection) -> None:
    found = register(connection)
    assert (found["stopped_at"], found["deprecated_at"]) == (None, None)
    assert None not in {found["started_at"], found["last_heartbeat_at"]}


def test_the_contracts_queue_name_is_the_first(connection: Connection) -> None:
    assert register(connection)["queue_name"] == "f"


def test_a_worker_without_queues_can_register(connection: Connection) -> None:
    assert register(connection, queue_names=[])["queue_names"] == []


def test_a_worker_that_registers_again_has_not_stopped(connection: Connection) -> None:
    worker_id = register(connection)["worker_id"]
    call(connection, "mark_worker_stopped", worker_id=worker_id)
    assert register(connection, worker_id=worker_id)["stopped_at"] is None


def test_registering_again_updates_the_row(connection: Connection) -> None:
    worker_id = uuid.uuid4()
    register(connection, worker_id=worker_id)
    assert register(connection, worker_id=worker_id, queue_names=["other"])["queue_names"] == [
        "other"
    ]
    assert value(connection, "select count(*) from pgflow.workers") == 1


def test_a_registered_worker_may_claim(connection: Connection) -> None:
    one_step(connection)
    found = register(connection)
    assert len(claim(connection, "f", worker_id=found["worker_id"])) == 1


def test_a_heartbeat_is_of_the_wall_clock(connection: Connection) -> None:
    found = register(connection)
    rows(connection, "select pg_sleep(0.02)")
    heartbeat(connection, found["worker_id"])
    query = "select last_heartbeat_at > now() + interval '15 ms' from pgflow.workers"
    assert value(connection, query)


def test_a_heartbeat_tells_that_all_is_well(connection: Connection) -> None:
    assert heartbeat(connection, register(connection)["worker_id"]) is False


def test_a_heartbeat_tells_a_deprecated_worker_to_stop(connection: Connection) -> None:
    found = register(connection)
    rows(connection, "update pgflow.workers set deprecated_at = now()")
    assert heartbeat(connection, found["worker_id"]) is True


def test_a_heartbeat_touches_no_other_worker(connection: Connection) -> None:
    first, second = register(connection), register(connection)
    rows(connection, "update pgflow.workers set last_heartbeat_at = '2020-01-01'")
    heartbeat(connection, first["worker_id"])
    query = "select last_heartbeat_at < '2021-01-01' from pgflow.workers where worker_id = %s"
    assert [value(connection, query, one["worker_id"]) for one in (first, second)] == [False, True]


def test_a_stopped_worker_is_marked_with_the_wall_clock(connection: Connection) -> None:
    found = register(connection)
    rows(connection, "select pg_sleep(0.02)")
    rows(connection, "select pgflow.mark_worker_stopped(%s)", found["worker_id"])
    assert value(connection, "select stopped_at > now() + interval '15 ms' from pgflow.workers")

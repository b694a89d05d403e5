"""Functions about workers: track_worker_function, mark_worker_stopped, register_worker, worker_heartbeat."""

from __future__ import annotations

import uuid

from psycopg.types.json import Jsonb

from tests.support.sql import Connection, row, rows, value, worker


def track(connection: Connection, name: str) -> None:
    row(connection, "select pgflow.track_worker_function(function_name => %s)", name)


def tracked(connection: Connection) -> dict[str, object]:
    return row(
        connection,
        "select *, extract(epoch from debounce)::int as seconds from pgflow.worker_functions",
    )


def stored(connection: Connection, worker_id: uuid.UUID) -> dict[str, object]:
    return row(connection, "select * from pgflow.workers where worker_id = %s", worker_id)


def register(connection: Connection, worker_id: uuid.UUID, *queues: str) -> None:
    query = """select pgflow.register_worker(worker_id => %s, queue_names => %s, function_name => 'shop',
      hostname => 'host1', pid => 42, info => %s)"""
    row(connection, query, worker_id, list(queues), Jsonb({"version": "1.2"}))


# track_worker_function


def test_a_new_function_is_enabled_with_a_debounce_of_6_seconds(connection: Connection) -> None:
    track(connection, "shop")
    found = tracked(connection)
    columns = ("function_name", "enabled", "seconds", "last_invoked_at")
    assert tuple(found[column] for column in columns) == ("shop", True, 6, None)


def test_tracking_again_moves_updated_at_on(connection: Connection) -> None:
    track(connection, "shop")
    track(connection, "shop")
    assert value(connection, "select updated_at > created_at from pgflow.worker_functions") is True
    assert value(connection, "select created_at = now() from pgflow.worker_functions") is True


def test_tracking_again_keeps_what_was_set(connection: Connection) -> None:
    track(connection, "shop")
    connection.execute("""update pgflow.worker_functions set enabled = false, debounce = '1 minute',
      last_invoked_at = now() - interval '1 hour'""")
    before = tracked(connection)
    track(connection, "shop")
    after = tracked(connection)
    columns = ("enabled", "seconds", "last_invoked_at", "created_at")
    assert tuple(after[column] for column in columns) == tuple(before[column] for column in columns)


def test_functions_are_tracked_apart(connection: Connection) -> None:
    track(connection, "shop")
    track(connection, "mail")
    names = rows(connection, "select function_name from pgflow.worker_functions order by 1")
    assert [one["function_name"] for one in names] == ["mail", "shop"]


# mark_worker_stopped


def test_a_stopped_worker_has_the_wall_clocks_time(connection: Connection) -> None:
    worker_id = worker(connection)
    row(connection, "select pgflow.mark_worker_stopped(worker_id => %s)", worker_id)
    query = """select stopped_at > now() and stopped_at <= clock_timestamp() from pgflow.workers
      where worker_id = %s"""
    assert value(connection, query, worker_id) is True


def test_stopping_touches_no_other_worker(connection: Connection) -> None:
    first, second = worker(connection), worker(connection)
    row(connection, "select pgflow.mark_worker_stopped(%s)", first)
    assert stored(connection, second)["stopped_at"] is None


def test_stopping_an_unknown_worker_is_no_error(connection: Connection) -> None:
    row(connection, "select pgflow.mark_worker_stopped(%s)", uuid.uuid4())
    assert rows(connection, "select * from pgflow.workers") == []


# register_worker


def test_registering_stores_the_worker(connection: Connection) -> None:
    worker_id = uuid.uuid4()
    register(connection, worker_id, "f", "gpu")
    found = stored(connection, worker_id)
    expected = {
        "queue_name": "f",
        "queue_names": ["f", "gpu"],
        "function_name": "shop",
        "hostname": "host1",
        "pid": 42,
        "info": {"version": "1.2"},
        "stopped_at": None,
        "deprecated_at": None,
    }
    assert {key: found[key] for key in expected} == expected


def test_registering_again_renews_the_worker(connection: Connection) -> None:
    worker_id = uuid.uuid4()
    register(connection, worker_id, "f")
    register(connection, worker_id, "f", "gpu")
    assert stored(connection, worker_id)["queue_names"] == ["f", "gpu"]


# worker_heartbeat


def heartbeat(connection: Connection, worker_id: uuid.UUID) -> object:
    return value(connection, "select pgflow.worker_heartbeat(worker_id => %s)", worker_id)


def test_a_heartbeat_moves_the_time_on(connection: Connection) -> None:
    worker_id = worker(connection)
    connection.execute("update pgflow.workers set last_heartbeat_at = now() - interval '1 hour'")
    assert heartbeat(connection, worker_id) is False
    age = "select clock_timestamp() - last_heartbeat_at < interval '10 seconds' from pgflow.workers"
    assert value(connection, age) is True


def test_a_heartbeat_tells_a_deprecated_worker_to_stop(connection: Connection) -> None:
    worker_id = worker(connection)
    connection.execute("update pgflow.workers set deprecated_at = now()")
    assert heartbeat(connection, worker_id) is True


def test_a_heartbeat_touches_no_other_worker(connection: Connection) -> None:
    first, second = worker(connection), worker(connection)
    connection.execute("update pgflow.workers set last_heartbeat_at = now() - interval '1 hour'")
    before = stored(connection, second)
    heartbeat(connection, first)
    assert stored(connection, second) == before


# The statements of pgflow's own worker (contract 18.2)


def test_the_registration_of_pgflows_worker_is_accepted(connection: Connection) -> None:
    insert = """insert into pgflow.workers (queue_name, worker_id, function_name)
      values ('f', %s, 'shop') returning *"""
    found = row(connection, insert, uuid.uuid4())
    assert found["started_at"] == found["last_heartbeat_at"]


def test_the_heartbeat_of_pgflows_worker_is_accepted(connection: Connection) -> None:
    worker_id = worker(connection)
    update = """update pgflow.workers set last_heartbeat_at = clock_timestamp() where worker_id = %s
      returning (deprecated_at is not null) as is_deprecated"""
    assert value(connection, update, worker_id) is False


def test_the_deprecation_of_pgflows_worker_is_accepted(connection: Connection) -> None:
    worker_id = worker(connection)
    connection.execute(
        "update pgflow.workers set deprecated_at = clock_timestamp(), last_heartbeat_at = clock_timestamp()"
    )
    assert heartbeat(connection, worker_id) is True

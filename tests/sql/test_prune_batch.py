"""pgflow.prune_batch: what is old goes a batch at a time, per flow and outcome (fault 56)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.sql import (
    Connection,
    archived,
    begin,
    call,
    define,
    fail,
    refused,
    row,
    rows,
    start,
    value,
    work,
)

if TYPE_CHECKING:
    import uuid


@pytest.fixture(autouse=True)
def flow(connection: Connection) -> str:
    define(connection, "g", {"a": []})
    return define(connection, "f", {"a": [], "b": ["a"]}, max_attempts=1)


def ended(connection: Connection, flow: str = "f", days: int = 8) -> uuid.UUID:
    run_id: uuid.UUID = start(connection, flow)["run_id"]
    work(connection, flow)
    return aged(connection, run_id, days)


def failed(connection: Connection, days: int = 8) -> uuid.UUID:
    run_id: uuid.UUID = start(connection, "f")["run_id"]
    begin(connection, "f")
    fail(connection, run_id, "a")
    return aged(connection, run_id, days)


def aged(connection: Connection, run_id: uuid.UUID, days: int) -> uuid.UUID:
    update = """update pgflow.runs set started_at = started_at - make_interval(days => %(days)s),
      completed_at = completed_at - make_interval(days => %(days)s),
      failed_at = failed_at - make_interval(days => %(days)s) where run_id = %(run)s"""
    connection.execute(update, {"days": days, "run": run_id})
    return run_id


def prune(connection: Connection, **named: object) -> tuple[int, int, int]:
    (found,) = call(connection, "prune_batch", retention_interval="7 days", **named)
    return found["runs"], found["messages"], found["workers"]


def left(connection: Connection) -> set[uuid.UUID]:
    return {one["run_id"] for one in rows(connection, "select run_id from pgflow.runs")}


def test_deletes_so_many_runs_until_none_is_left(connection: Connection) -> None:
    old = {ended(connection) for _ in range(5)}
    kept = {ended(connection, days=6), start(connection, "f")["run_id"]}
    batches = []
    while (batch := prune(connection, max_runs=2)[0]) > 0:
        batches.append(batch)
        assert kept <= left(connection)
    assert batches == [2, 2, 1]
    assert left(connection) == kept
    assert not old & left(connection)
    assert value(connection, "select count(*) from pgflow.step_tasks") == 3


def test_those_that_started_first_go_first(connection: Connection) -> None:
    newer, older = ended(connection, days=8), ended(connection, days=20)
    assert prune(connection, max_runs=1)[0] == 1
    assert left(connection) == {newer}
    assert older not in left(connection)


@pytest.mark.parametrize(
    ("restriction", "kept"),
    [
        ({"flow_slug": "g"}, ["failed", "completed"]),
        ({"statuses": ["failed"]}, ["completed", "completed"]),
        ({"flow_slug": "f", "statuses": ["completed"]}, ["failed", "completed"]),
        ({"flow_slug": "f", "statuses": ["cancelled"]}, ["failed", "completed", "completed"]),
        ({"statuses": []}, ["failed", "completed", "completed"]),
    ],
)
def test_a_flow_and_an_outcome_have_a_retention_of_their_own(
    connection: Connection, restriction: dict[str, object], kept: list[str]
) -> None:
    failed(connection)
    ended(connection)
    ended(connection, "g")
    runs, messages, workers = prune(connection, **restriction)
    assert (runs, messages, workers) == (3 - len(kept), 0, 0)
    query = "select status from pgflow.runs order by status desc"
    assert [one["status"] for one in rows(connection, query)] == kept


def test_archived_messages_and_silent_workers_go_with_an_unrestricted_batch(
    connection: Connection,
) -> None:
    ended(connection, days=0)
    connection.execute("update pgmq.a_f set archived_at = now() - interval '8 days'")
    connection.execute("update pgflow.workers set last_heartbeat_at = now() - interval '8 days'")
    silent = value(connection, "select count(*) from pgflow.workers")
    assert silent > 0
    assert prune(connection) == (0, 2, silent)
    assert prune(connection) == (0, 0, 0)
    assert archived(connection, "f") == []


def test_archives_are_emptied_in_batches(connection: Connection) -> None:
    for flow in ("f", "g"):
        table = f"pgmq.q_{flow}"
        for _ in range(15):
            row(connection, "select pgmq.send(%s, '{}')", flow)
        connection.execute(
            f"select pgmq.archive('{flow}', array(select msg_id from {table}))".encode()
        )
        connection.execute(
            f"update pgmq.a_{flow} set archived_at = now() - interval '8 days'".encode()
        )
    assert [prune(connection, max_runs=1)[1] for _ in range(4)] == [10, 10, 10, 0]


@pytest.mark.parametrize("given", [0, -1, None])
def test_a_batch_is_at_least_one_run(connection: Connection, given: int | None) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="at least 1"):
        prune(connection, max_runs=given)


def test_live_runs_are_no_outcome(connection: Connection) -> None:
    message = "Only completed, failed and cancelled runs are pruned, not started"
    with refused(connection, message, "22023"):
        prune(connection, statuses=["started"])


def test_fault_56_a_run_that_somebody_holds_is_left_for_the_next_batch(database_url: str) -> None:
    with (
        psycopg.connect(database_url, autocommit=True) as one,
        psycopg.connect(database_url) as holder,
    ):
        define(one, "f", {"a": []})
        define(one, "g", {"a": []})
        held, free = ended(one), ended(one)
        holder.execute("select 1 from pgflow.runs where run_id = %s for key share", [held])
        one.execute("set lock_timeout = '5s'")
        assert prune(one)[0] == 1
        assert left(one) == {held}
        assert free not in left(one)
        holder.rollback()
        assert prune(one)[0] == 1
        assert left(one) == set()

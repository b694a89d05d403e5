"""Fault 53: callers in REPEATABLE READ or SERIALIZABLE get a right result, a retry, or a clear error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import IsolationLevel

from pgflow import Flow
from pgflow.client import Client, start_in
from pgflow.database import Database
from tests.support.sql import (
    Connection,
    call,
    claim,
    complete,
    complete_batch,
    define,
    fail_batch,
    mapped,
    messages,
    report,
    row,
    run,
    start,
    state,
    statuses,
    value,
    work,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEVELS = [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE]

pytestmark = pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name.lower())


@pytest.fixture
def other(database_url: str) -> Iterator[Connection]:
    """Give a session that commits each call: the workers."""
    with psycopg.connect(database_url, autocommit=True) as session:
        yield session


@pytest.fixture
def caller(database_url: str, level: IsolationLevel) -> Iterator[Connection]:
    """Give a session whose transactions have the level."""
    with psycopg.connect(database_url) as session:
        session.isolation_level = level
        yield session


def test_fault_53_a_run_lives_its_whole_life_there(caller: Connection) -> None:
    run_id = start(caller, mapped(caller))["run_id"]
    caller.commit()
    outputs = {"source": [1, 2, 3], "items": lambda task: task["input"] * 2, "total": "done"}
    while tasks := claim(caller, "mapped", 10):
        caller.commit()
        assert report(caller, "extend_leases", tasks, lease=30)
        first, *rest = tasks
        assert report(caller, "release_tasks", [first])[0]["outcome"] == "accepted"
        caller.commit()
        (again,) = claim(caller, "mapped", 1)
        given = [
            found(task) if callable(found := outputs[task["step_slug"]]) else found
            for task in (again, *rest)
        ]
        assert set(complete_batch(caller, [again, *rest], given)) == {"accepted"}
        caller.commit()
    assert run(caller, run_id)["output"] == {"total": "done"}
    assert state(caller, run_id, "items")["output"] == [2, 4, 6]


def test_fault_53_a_failure_with_attempts_left_is_recorded(caller: Connection) -> None:
    define(caller, "f", {"a": []}, max_attempts=2, base_delay=0)
    run_id = start(caller, "f")["run_id"]
    caller.commit()
    assert fail_batch(caller, claim(caller, "f")) == ["accepted"]
    caller.commit()
    assert run(caller, run_id)["status"] == "started"
    assert len(messages(caller, "f")) == 1


def failure_for_good(session: Connection, run_id: object) -> object:
    return fail_batch(session, claim(session, "f"))


ENDINGS: dict[str, Callable[[Connection, Any], object]] = {
    "cancel_run": lambda session, run_id: call(session, "cancel_run", run_id=run_id),
    "retry_run": lambda session, run_id: call(session, "retry_run", run_id=run_id),
    "fail_tasks": failure_for_good,
    "delete_flow_and_data": lambda session, run_id: call(
        session, "delete_flow_and_data", p_flow_slug="f"
    ),
    "prune_data_older_than": lambda session, run_id: call(
        session, "prune_data_older_than", retention_interval="1 day"
    ),
    "prune_batch": lambda session, run_id: call(session, "prune_batch", retention_interval="1 day"),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_fault_53_what_ends_or_deletes_runs_is_refused_with_a_reason(
    caller: Connection, other: Connection, level: IsolationLevel, name: str
) -> None:
    define(other, "f", {"a": []}, max_attempts=1)
    run_id = start(other, "f")["run_id"]
    with pytest.raises(psycopg.errors.InvalidTransactionState) as caught:
        ENDINGS[name](caller, run_id)
    caller.rollback()
    assert level.name.replace("_", " ") in str(caught.value.diag.message_primary)
    assert "begin isolation level read committed" in str(caught.value.diag.message_hint)
    assert run(other, run_id)["status"] == "started"
    assert len(messages(other, "f")) == 1


def test_fault_53_a_completion_over_an_old_snapshot_is_to_be_repeated(
    caller: Connection, other: Connection
) -> None:
    """Both complete one of the last two items; the caller's snapshot does not see the other's."""
    run_id = start(other, mapped(other))["run_id"]
    complete(other, claim(other, "mapped")[0]["run_id"], "source", [1, 2])
    one, two = claim(other, "mapped", 2)
    value(caller, "select count(*) from pgflow.runs")  # takes the snapshot
    assert complete_batch(other, [one], ["by the worker"]) == ["accepted"]
    with pytest.raises(psycopg.errors.SerializationFailure):
        complete_batch(caller, [two], ["by the caller"])
    caller.rollback()
    assert complete_batch(caller, [two], ["by the caller"]) == ["accepted"]
    caller.commit()
    assert statuses(other, run_id) == {
        "source": "completed",
        "items": "completed",
        "total": "started",
    }
    assert sorted(state(other, run_id, "items")["output"]) == ["by the caller", "by the worker"]


def test_fault_53_a_claim_over_an_old_snapshot_grants_nothing_twice(
    caller: Connection, other: Connection
) -> None:
    start(other, define(other, "f", {"a": []}))
    value(caller, "select count(*) from pgflow.runs")
    (granted,) = claim(other, "f")
    with pytest.raises(psycopg.errors.SerializationFailure):
        claim(caller, "f")
    caller.rollback()
    assert claim(caller, "f") == []
    caller.rollback()
    assert complete_batch(other, [granted], [1]) == ["accepted"]


def test_fault_53_a_key_that_the_snapshot_does_not_see_is_to_be_repeated(
    caller: Connection, other: Connection
) -> None:
    define(other, "f", {"a": []})
    value(caller, "select count(*) from pgflow.runs")
    first = start(other, "f", idempotency_key="k")
    with pytest.raises(psycopg.errors.SerializationFailure):
        start(caller, "f", idempotency_key="k")
    caller.rollback()
    assert start(caller, "f", idempotency_key="k")["run_id"] == first["run_id"]


async def test_fault_53_a_flow_is_started_from_an_applications_transaction(
    database_url: str, caller: Connection, level: IsolationLevel
) -> None:
    flow = Flow[int]("squares")

    @flow.step()
    def square(number: int) -> int:
        return number * number

    run_id = start_in(caller, flow, 7)
    caller.commit()
    async with (
        await psycopg.AsyncConnection.connect(database_url) as connection,
        Database.connect(database_url) as db,
    ):
        await connection.set_isolation_level(level)
        client = Client(db)
        second = await client.start(flow, 8, connection=connection)
        await connection.commit()
        assert {one.run_id for one in await client.list(flow)} == {run_id, second.id}


async def test_fault_53_our_own_sessions_do_not_inherit_it(
    database_url: str, other: Connection, level: IsolationLevel
) -> None:
    name = row(other, "select current_database() as name")["name"]
    words = level.name.replace("_", " ").lower()
    other.execute(
        f"alter database \"{name}\" set default_transaction_isolation = '{words}'".encode()
    )
    define(other, "f", {"a": []})
    async with Database.connect(database_url) as db:
        client = Client(db)
        run_ = await client.start("f", {})
        assert (await client.cancel(run_.id)).status == "cancelled"
        assert await client.prune(0.0)
    with psycopg.connect(database_url) as plain:
        assert value(plain, "show transaction_isolation") == words


def test_fault_53_a_whole_run_beside_workers(caller: Connection, other: Connection) -> None:
    run_id = start(caller, define(caller, "f", {"a": []}))["run_id"]
    caller.commit()
    work(other, "f")
    assert run(other, run_id)["status"] == "completed"

"""Starting a run in the caller's own transaction, asynchronous and synchronous."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import psycopg
import pytest
from psycopg.rows import dict_row

from pgflow import Client, Database, Flow, FlowNotFound, UsageError
from pgflow.client import start_in
from tests.support.runs import claim, count_runs

if TYPE_CHECKING:
    from collections.abc import Iterator


def make_flow() -> Flow[dict[str, int]]:
    flow = Flow[dict[str, int]]("fulfil")

    @flow.step()
    def pack(order: dict[str, int]) -> str:
        return "packed"

    return flow


@pytest.fixture
def caller(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, row_factory=cast("Any", dict_row)) as connection:
        connection.execute("create table orders (id int primary key)")
        connection.commit()
        yield connection


class Undo(Exception):  # noqa: N818 - reads well where it is raised
    """Ends a transaction."""


async def test_async_commit_starts_the_run(db: Database, database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        run = await Client(db).start(make_flow(), {"order": 7}, connection=connection)
        assert await count_runs(db) == 0, "not yet committed"
        assert await claim(db, "fulfil") == []
        await connection.commit()
    assert await run.status() == "started"
    (task,) = await claim(db, "fulfil")
    assert task.run_id == run.id


async def test_async_rollback_leaves_no_run(db: Database, database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await Client(db).start(make_flow(), {"order": 7}, connection=connection)
        await connection.rollback()
    assert await count_runs(db) == 0
    assert await claim(db, "fulfil") == []


async def test_async_with_the_databases_own_transaction(db: Database) -> None:
    async def start_and_undo() -> None:
        async with db.transaction() as connection:
            await Client(db).start(make_flow(), {"order": 7}, connection=connection)
            raise Undo

    with pytest.raises(Undo):
        await start_and_undo()
    assert await count_runs(db) == 0


async def test_sync_commit_starts_the_run_with_the_callers_rows(
    db: Database, caller: psycopg.Connection[Any]
) -> None:
    with caller.transaction():
        caller.execute("insert into orders values (7)")
        run_id = start_in(caller, make_flow(), {"order": 7}, key="order-7")
    run = await Client(db).get(run_id)
    assert await run.status() == "started"
    assert caller.execute("select id from orders").fetchall() == [{"id": 7}]
    with caller.transaction():
        assert start_in(caller, make_flow(), {"order": 8}, key="order-7") == run_id
    assert await count_runs(db) == 1


async def test_sync_rollback_leaves_neither_run_nor_message(
    db: Database, caller: psycopg.Connection[Any]
) -> None:
    caller.execute("insert into orders values (7)")
    start_in(caller, make_flow(), {"order": 7})
    caller.rollback()
    assert await count_runs(db) == 0
    assert await db.flow_slugs() == []
    assert caller.execute("select * from orders").fetchall() == []
    start_in(caller, make_flow(), {"order": 7})
    caller.commit()
    assert len(await claim(db, "fulfil")) == 1


async def test_sync_start_of_a_slug(db: Database, caller: psycopg.Connection[Any]) -> None:
    await Client(db).start(make_flow(), {"order": 1})
    with caller.transaction():
        run_id = start_in(caller, "fulfil", {"order": 2})
    assert await db.run_input(run_id) == b'{"order": 2}'
    with pytest.raises(FlowNotFound, match="fulfill"):
        start_in(caller, "fulfill", {})


async def test_the_callers_transaction_is_not_ended(
    db: Database, caller: psycopg.Connection[Any]
) -> None:
    caller.execute("insert into orders values (1)")
    start_in(caller, make_flow(), {"order": 1})
    assert caller.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
    caller.rollback()
    assert caller.execute("select * from orders").fetchall() == []


async def test_the_wrong_kind_of_connection_names_the_right_call(
    db: Database, database_url: str
) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        wrong: Any = connection
        with pytest.raises(UsageError, match="synchronous") as caught:
            start_in(wrong, make_flow(), {"order": 1})
    assert "await Client(db).start" in str(caught.value)

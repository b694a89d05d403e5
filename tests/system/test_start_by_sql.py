"""A run started by plain SQL: a statement, a trigger. Everything else sees it like any other."""

from __future__ import annotations

import asyncio

import psycopg

from pgflow import Client, Database, Flow
from pgflow.execute import execute_async
from tests.support.runs import count_runs, work


async def define(db: Database) -> None:
    await db.create_flow("greet")
    await db.add_step("greet", "hello")


async def test_a_plain_statement_starts_a_run(db: Database, database_url: str) -> None:
    await define(db)
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            """select run_id from pgflow.start_flow('greet', '{"name": "Ada"}')"""
        ).fetchone()
    assert row is not None
    run = await Client(db).get(row[0])
    waiting = asyncio.create_task(run.result(5))
    await work(db, "greet", {"hello": lambda given: f"hello {given['name']}"})
    assert (await waiting)["hello"] == "hello Ada"


async def test_a_trigger_starts_a_run_for_each_row_that_commits(
    db: Database, database_url: str
) -> None:
    await define(db)
    with psycopg.connect(database_url) as connection:
        connection.execute("""
          create table people (name text primary key);
          create function greet() returns trigger language plpgsql as $$ begin
            perform pgflow.start_flow('greet', jsonb_build_object('name', new.name), idempotency_key => new.name);
            return new;
          end $$;
          create trigger greet after insert on people for each row execute function greet()""")
        connection.commit()
        connection.execute("insert into people values ('Ada'), ('Grace')")
        connection.commit()
        connection.execute("insert into people values ('Linus')")
        connection.rollback()
    greeted: list[str] = []
    await work(db, "greet", {"hello": lambda given: greeted.append(given["name"])})
    assert sorted(greeted) == ["Ada", "Grace"]
    assert await count_runs(db) == 2
    assert {run.idempotency_key for run in await Client(db).list("greet", "completed")} == {
        "Ada",
        "Grace",
    }


async def test_a_worker_of_the_flow_performs_what_sql_has_started(
    db: Database, database_url: str
) -> None:
    flow = Flow[dict[str, str]]("greet")
    greeted: list[str] = []

    @flow.step()
    def hello(given: dict[str, str]) -> str:
        greeted.append(given["name"])
        return given["name"]

    await execute_async(flow, {"name": "first"}, dsn=db)
    with psycopg.connect(database_url) as connection:
        connection.execute("""select pgflow.start_flow('greet', '{"name": "by sql"}')""")
    await execute_async(flow, {"name": "last"}, dsn=db)
    assert sorted(greeted) == ["by sql", "first", "last"]

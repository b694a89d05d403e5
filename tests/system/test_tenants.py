"""Tenants: a bound role sees, starts and steers its own runs only, whichever way it takes; workers serve all."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pgflow import Client, Database, Flow, UsageError, Worker
from pgflow.schema import export_sql, install
from tests.support.command import Command
from tests.support.roles import login
from tests.support.sql import call, define, refused, rows, start, value
from tests.support.worker_processes import begun, finished

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Town:
    """A database with two tenants, and somebody who is bound to none."""

    superuser: str
    red: str
    blue: str
    free: str
    worker: str


@pytest.fixture
def town(database_url: str) -> Iterator[Town]:
    install(database_url, roles=True, tenants=True)
    with ExitStack() as stack:
        red, blue, free = (
            stack.enter_context(login(database_url, "pgflow_client")) for _ in range(3)
        )
        worker = stack.enter_context(login(database_url, "pgflow_worker"))
        bind(database_url, red, "red")
        bind(database_url, blue, "blue")
        with psycopg.connect(database_url) as connection:
            define(connection, "f", {"a": []}, max_attempts=1)
        yield Town(database_url, red, blue, free, worker)


def bind(superuser: str, dsn: str, tenant: str | None) -> None:
    with psycopg.connect(superuser) as connection:
        name = conninfo_to_dict(dsn)["user"]
        connection.execute("select pgflow.bind_tenant(%s, %s)", [name, tenant])


def asked(dsn: str, query: str, *arguments: object) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode(), arguments or None).fetchall()


def started(dsn: str, **named: object) -> Any:
    with psycopg.connect(dsn) as connection:
        return start(connection, "f", {"secret": 1}, **named)["run_id"]


def test_a_run_belongs_to_the_tenant_of_who_starts_it(town: Town) -> None:
    run_ids = {dsn: started(dsn) for dsn in (town.red, town.blue, town.free)}
    tenants = dict(asked(town.superuser, "select run_id, tenant from pgflow.runs"))
    assert tenants == {
        run_ids[town.red]: "red",
        run_ids[town.blue]: "blue",
        run_ids[town.free]: None,
    }


@pytest.mark.parametrize(
    "relation",
    [
        *("runs", "step_states", "step_tasks"),
        *("run_summary", "step_summary", "task_attempts", "failed_tasks"),
    ],
)
async def test_no_table_and_no_view_shows_another_tenants_runs(town: Town, relation: str) -> None:
    run_ids = [started(dsn) for dsn in (town.red, town.blue, town.free)]
    async with Database.connect(town.worker) as db:
        worker = Worker(db, failing())
        work = await begun(worker)
        for run_id in run_ids:
            with pytest.raises(AssertionError, match="not today"):
                await finished(db, run_id)
        worker.stop()
        await work
    query = f"select distinct run_id from pgflow.{relation}"
    assert asked(town.red, query) == [(run_ids[0],)]
    assert asked(town.blue, query) == [(run_ids[1],)]
    assert {run_id for (run_id,) in asked(town.free, query)} == set(run_ids)


def failing() -> Flow[Any]:
    flow: Flow[Any] = Flow("f", max_attempts=1)

    @flow.step()
    def a(_: Any) -> None:
        raise ValueError("not today")

    return flow


async def test_no_function_reads_or_steers_another_tenants_run(town: Town) -> None:
    run_id = started(town.red)
    assert asked(town.blue, "select pgflow.get_run_with_states(%s)", run_id) == [(None,)]
    assert asked(town.blue, "select * from pgflow.step_output(%s, 'a')", run_id) == []
    async with Database.connect(town.blue) as db:
        assert await db.cancel_run(run_id) is None
        assert await db.retry_run(run_id) is None
        assert await db.run(run_id) is None
    assert asked(town.superuser, "select status from pgflow.runs") == [("started",)]
    async with Database.connect(town.red) as db:
        assert (await Client(db).cancel(run_id)).status == "cancelled"


async def test_workers_serve_all_tenants(town: Town) -> None:
    flow: Flow[Any] = Flow("f")

    @flow.step()
    def a(_: Any) -> str:
        return "done"

    async with (
        Database.connect(town.worker) as db,
        Database.connect(town.red) as red,
        Database.connect(town.blue) as blue,
    ):
        worker = Worker(db, flow)
        work = await begun(worker)
        mine, theirs = await Client(red).start(flow, 1), await Client(blue).start(flow, 2)
        assert await finished(red, mine.id) == {"a": "done"}
        assert await finished(blue, theirs.id) == {"a": "done"}
        worker.stop()
        await work
    assert asked(town.blue, "select output from pgflow.step_output(%s, 'a')", mine.id) == []
    assert asked(town.red, "select output from pgflow.step_output(%s, 'a')", mine.id) == [("done",)]
    assert asked(town.superuser, "select count(*) from pgflow.quarantined_messages") == [(0,)]


async def test_one_key_of_two_tenants_is_noticed(town: Town) -> None:
    first = started(town.red, idempotency_key="k")
    assert started(town.red, idempotency_key="k") == first
    async with Database.connect(town.blue) as db:
        with pytest.raises(UsageError, match="that this role may not see"):
            await db.start_flow("f", "{}", idempotency_key="k")
    assert asked(town.superuser, "select count(*) from pgflow.runs") == [(1,)]


def test_a_bound_role_is_no_worker(town: Town) -> None:
    name = conninfo_to_dict(town.red)["user"]
    working = f'grant pgflow_worker to "{name}"'
    with psycopg.connect(town.superuser, autocommit=True) as connection:
        connection.execute(working.encode())
        message = f"Role {name} is a worker or an owner, and these serve every tenant"
        with refused(connection, message):
            call(connection, "bind_tenant", role_name=name, tenant="red")
        register = "select pgflow.register_worker(gen_random_uuid(), '{f}', 'x')"
        value(connection, register)
        worker_id = value(connection, "select worker_id from pgflow.workers")
    with psycopg.connect(town.red, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="bound to tenant red"):
            connection.execute(register.encode())
        with refused(connection, f"Worker {worker_id} is not registered"):
            call(connection, "claim_tasks", queue_name="f", worker_id=worker_id, qty=10)


def test_neither_role_nor_setting_gets_around_it(town: Town) -> None:
    started(town.red)
    with psycopg.connect(town.blue, autocommit=True) as connection:
        connection.execute("set role pgflow_client")
        assert rows(connection, "select 1 from pgflow.runs") == []
        connection.execute("set row_security = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select 1 from pgflow.runs")
        for statement in (
            "insert into pgflow.tenants values (session_user, 'red')",
            "select pgflow.bind_tenant(session_user, 'red')",
            "alter table pgflow.runs disable row level security",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_notifications_carry_no_values(town: Town) -> None:
    with psycopg.connect(town.blue, autocommit=True) as listening:
        listening.execute("listen pgflow_events")
        run_id = started(town.red)
        with psycopg.connect(town.red) as connection:
            call(connection, "cancel_run", run_id=run_id, reason="the secret")
        heard = [note.payload for note in listening.notifies(timeout=30, stop_after=3)]
    assert len(heard) == 3
    assert all(str(run_id) in payload for payload in heard)
    assert not any("secret" in payload for payload in heard)


def test_invariants_of_a_tenant_are_its_runs(town: Town) -> None:
    started(town.red)
    own = started(town.blue)
    assert asked(town.blue, "select * from pgflow.invariant_violations") == []
    with psycopg.connect(town.superuser) as connection:
        connection.execute("update pgflow.runs set remaining_steps = 7")
    query = "select run_id from pgflow.invariant_violations"
    assert asked(town.blue, query) == [(own,)]
    assert len(asked(town.superuser, query)) == 2


def test_a_freed_role_sees_all_again(town: Town) -> None:
    started(town.red)
    assert asked(town.blue, "select count(*) from pgflow.runs") == [(0,)]
    bind(town.superuser, town.blue, None)
    assert asked(town.blue, "select count(*) from pgflow.runs") == [(1,)]


@pytest.mark.parametrize(
    ("role", "message"), [("nobody_at_all", "Role nobody_at_all does not exist")]
)
def test_who_does_not_exist_is_not_bound(town: Town, role: str, message: str) -> None:
    with psycopg.connect(town.superuser) as connection, refused(connection, message):
        call(connection, "bind_tenant", role_name=role, tenant="red")


def test_without_tenants_nobody_is_bound(database_url: str) -> None:
    with (
        psycopg.connect(database_url) as connection,
        refused(connection, "Tenants are not kept apart in this database"),
    ):
        call(connection, "bind_tenant", role_name="postgres", tenant="red")


# Installing


def policies_of(dsn: str) -> list[Any]:
    """Return what keeps tenants apart: policies of tables, settings of functions."""
    query = """
        select relname::text, concat_ws(' ', relrowsecurity, relforcerowsecurity, pg_get_expr(polqual, polrelid))
        from pg_class left join pg_policy on polrelid = pg_class.oid
        where relnamespace = 'pgflow'::regnamespace and relkind = 'r'
        union all
        select proname::text, proconfig::text from pg_proc
        where pronamespace = 'pgflow'::regnamespace and proname in ('_emit', '_emit_all')
        order by 1
    """
    return asked(dsn, query)


def test_a_later_init_keeps_tenants_apart(town: Town) -> None:
    before = policies_of(town.superuser)
    with psycopg.connect(town.superuser) as connection:
        connection.execute("update pgflow.schema_migrations set checksum = 'old' where version = 0")
    assert install(town.superuser).changed
    assert policies_of(town.superuser) == before
    run_id = started(town.red)
    assert asked(town.blue, "select pgflow.get_run_with_states(%s)", run_id) == [(None,)]


def test_tenants_need_roles(database_url: str) -> None:
    with pytest.raises(Exception, match="tenants need roles") as caught:
        install(database_url, tenants=True)
    assert "--roles --tenants" in str(caught.value)


def test_the_command_and_the_script_take_the_option(
    tmp_path: Path, empty_database_url: str, town: Town
) -> None:
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(export_sql(roles=True, tenants=True).encode())
    assert policies_of(empty_database_url) == policies_of(town.superuser)
    done = Command(tmp_path, empty_database_url)("init", "--roles", "--tenants")
    assert (done.code, done.err) == (0, "")
    assert "bind_tenant" in done.out


def test_without_the_option_nothing_is_checked(database_url: str) -> None:
    found = {text for _, text in policies_of(database_url)}
    assert found == {"f f", '{"search_path=\\"\\""}'}

"""Workers, clients and viewers with nothing but their role: what each needs works, the rest is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pgflow import (
    Client,
    Database,
    Flow,
    FlowBuilder,
    PermissionDenied,
    Worker,
    current_task,
)
from pgflow.client import start_in
from pgflow.schema import install
from tests.support.command import Command
from tests.support.plan_handlers import handlers, plan_of
from tests.support.roles import login
from tests.support.worker_flows import ledger, mapped
from tests.support.worker_processes import WorkerProcess, finished

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNT = 5


@pytest.fixture
def roles_url(database_url: str) -> str:
    install(database_url, roles=True)
    return database_url


@pytest.fixture
def worker_url(roles_url: str) -> Iterator[str]:
    with login(roles_url, "pgflow_worker") as dsn:
        yield dsn


@pytest.fixture
def client_url(roles_url: str) -> Iterator[str]:
    with login(roles_url, "pgflow_client") as dsn:
        yield dsn


@pytest.fixture
def viewer_url(roles_url: str) -> Iterator[str]:
    with login(roles_url, "pgflow_viewer") as dsn:
        yield dsn


async def test_a_worker_and_a_client_with_their_roles_alone(
    worker_url: str, client_url: str, tmp_path: Path
) -> None:
    async with Database.connect(client_url) as db:
        setting = {"journal": str(tmp_path / "journal"), "count": COUNT}
        run = await Client(db).start(mapped, setting, key="once")
        again = await Client(db).start(mapped, setting, key="once")
        assert again.id == run.id
        with WorkerProcess(worker_url, "mapped", lease=5):
            output = await finished(db, run.id)
        assert output == {"collected": sum(range(COUNT))}
        assert [step.status for step in await db.steps(run.id)] == ["completed"] * 3


async def test_exactly_once_writes_with_the_workers_own_rights(
    roles_url: str, worker_url: str, client_url: str
) -> None:
    name = conninfo_to_dict(worker_url)["user"]
    with psycopg.connect(roles_url) as connection:
        connection.execute("create table public.ledger (number int)")
        connection.execute(f'grant insert on public.ledger to "{name}"'.encode())
    async with Database.connect(client_url) as db:
        run = await Client(db).start(ledger, list(range(COUNT)))
        with WorkerProcess(worker_url, "ledger", lease=5):
            assert await finished(db, run.id) == {"book": list(range(COUNT))}
    with psycopg.connect(roles_url) as connection:
        rows = connection.execute("select number from public.ledger order by 1").fetchall()
    assert rows == [(number,) for number in range(COUNT)]


async def test_a_plan_is_stored_by_a_client_and_performed_by_a_worker(
    worker_url: str, client_url: str
) -> None:
    step = {"slug": "n", "handler": "numbers", "inputs": {"size": "run"}}
    async with Database.connect(client_url) as db:
        await FlowBuilder(db).define_plan(plan_of("p", step), handlers)
        assert (await FlowBuilder(db).get_plan("p")).steps[0].inputs == {"size": "run"}
        run = await Client(db).start("p", 2)
        await Worker(worker_url, handlers).run_until(run.id)
        assert (await run.result())["n"] == [0, 1]


async def test_a_client_starts_steers_and_defines(client_url: str) -> None:
    flow: Flow[Any] = Flow("steered")

    @flow.step()
    def never(_: Any) -> str:
        return str(current_task().index)

    async with Database.connect(client_url) as db:
        await FlowBuilder(db).create_flow("built")
        await FlowBuilder(db).add_step("built", "a")
        run = await Client(db).start(flow, None)
        assert (await Client(db).cancel(run.id, "no need")).status == "cancelled"
        with psycopg.connect(client_url) as connection:
            started = start_in(connection, flow, None)
            connection.rollback()
        assert await db.run(started) is None


@pytest.mark.parametrize(
    "statement",
    [
        "update pgflow.runs set status = 'completed'",
        "delete from pgflow.step_tasks",
        "select pgflow.prune_data_older_than('0')",
        "select pgflow.delete_flow_and_data('f')",
        "select * from pgflow.claim_tasks('f', gen_random_uuid(), 1)",
        "select pgmq.send('f', '{}'::jsonb)",
        "create table pgflow.mine ()",
        "select * from pgflow.workers",
    ],
)
def test_a_client_is_refused_what_is_not_its_affair(client_url: str, statement: str) -> None:
    with (
        psycopg.connect(client_url) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())


@pytest.mark.parametrize("statement", ["start_flow('f', '{}')", "cancel_run(gen_random_uuid())"])
def test_a_worker_does_not_steer_runs(worker_url: str, statement: str) -> None:
    with (
        psycopg.connect(worker_url) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(f"select pgflow.{statement}".encode())


def test_a_worker_does_not_touch_the_queues_of_others(roles_url: str, worker_url: str) -> None:
    with psycopg.connect(roles_url) as connection:
        connection.execute("select pgmq.create('payroll')")
        connection.execute("""select pgmq.send('payroll', '{"salary": 1}'::jsonb)""")
    call = "select pgflow.set_vt_batch('payroll', '{1}', '{600}')"
    with (
        psycopg.connect(worker_url) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(call.encode())


def test_a_viewer_sees_every_view_and_writes_nothing(
    roles_url: str, client_url: str, viewer_url: str
) -> None:
    with psycopg.connect(client_url) as connection:
        connection.execute("""select pgflow.define_flow('f', '{"steps": [{"slug": "a"}]}')""")
        connection.execute("select pgflow.start_flow('f', '{}')")
    with psycopg.connect(roles_url) as connection:
        query = "select relname from pg_class where relnamespace = 'pgflow'::regnamespace and relkind = 'v'"
        views = [name for (name,) in connection.execute(query).fetchall()]
    with psycopg.connect(viewer_url, autocommit=True) as connection:
        counts = {
            view: connection.execute(f"select count(*) from pgflow.{view}".encode()).fetchone()
            for view in views
        }
        assert (counts["run_summary"], counts["queue_summary"]) == ((1,), (1,))
        shown = "select sum(queued_tasks) from pgflow.step_summary"
        assert connection.execute(shown).fetchone() == (1,)
        for statement in (
            "select pgflow.start_flow('f', '{}')",
            "select pgflow.define_flow('g', '{}')",
            "update pgflow.runs set input = '{}'",
            "select * from pgflow.step_tasks",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


async def test_a_viewer_reads_nothing_that_is_redacted(
    client_url: str, worker_url: str, viewer_url: str
) -> None:
    flow: Flow[Any] = Flow("pay", redact=("pin",), max_attempts=1)

    @flow.step()
    def look_up(order: Any) -> Any:
        return {"pin": "8-1-5-0", "order": order["order"]}

    @flow.step(depends_on=(look_up,))
    def charge(card: Any) -> None:
        raise ValueError("declined")

    async with Database.connect(client_url) as db:
        run = await Client(db).start(flow, {"pin": "8-1-5-0", "order": 7})
        await Worker(worker_url, [flow]).run_until(run.id)
    with psycopg.connect(viewer_url, autocommit=True) as connection:
        shown = connection.execute("select input from pgflow.failed_tasks").fetchall()
        assert shown == [({"look_up": {"pin": "[redacted]", "order": 7}},)]
        call = "select pgflow._shown_parent_outputs(%s, '{look_up}')"
        assert connection.execute(call, (run.id,)).fetchone() == shown[0]
        for function in (
            "get_run_with_states(%s)",
            "step_output(%s, 'look_up')",
            "_parent_outputs(%s, '{look_up}')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"select pgflow.{function}".encode(), (run.id,))


async def test_what_is_refused_has_a_word_of_ours(worker_url: str) -> None:
    async with Database.connect(worker_url) as db:
        with pytest.raises(PermissionDenied, match="start_flow"):
            await db.start_flow("f", "{}")


def test_init_and_sql_take_the_option(tmp_path: Path, empty_database_url: str) -> None:
    pgflow = Command(tmp_path, empty_database_url)
    done = pgflow("init", "--roles")
    assert (done.code, done.err) == (0, "")
    assert "pgflow_owner" in done.out
    assert "pgflow_viewer" in pgflow("sql", "--roles").out

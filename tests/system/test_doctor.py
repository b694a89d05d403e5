"""`pgflow doctor`: nothing on a healthy database, and each planted fault by its name, with its mend."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgflow import Client, Flow, FlowBuilder, Handlers, Plan, Worker
from pgflow._doctor import Finding, examine
from pgflow._doctor.readings import Reader
from pgflow.errors import ConnectionFailed
from pgflow.schema import install
from tests.support.command import Here
from tests.support.roles import login
from tests.support.sql import change, claim, define, start, value
from tests.support.worker_processes import begun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow.database import Database
    from tests.support.servers import Databases


@pytest.fixture(scope="module")
def databases(durable_databases: Databases) -> Databases:
    return durable_databases


@pytest.fixture
def session(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def pgflow(database_url: str, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(database_url, capsys)


def found(dsn: str, check: str) -> list[Finding]:
    return [finding for finding in examine(dsn).findings if finding.check == check]


# The command


def test_a_healthy_database_has_no_finding(pgflow: Here) -> None:
    done = pgflow("doctor")
    assert (done.code, done.err) == (0, "")
    assert "Healthy: nothing found." in done.out
    shown = pgflow("doctor", "--json").json
    assert shown["healthy"]
    assert (shown["findings"], shown["mended"]) == ([], [])


async def test_a_database_at_work_has_no_finding(db: Database, database_url: str) -> None:
    flow: Flow[Any] = Flow("busy")

    @flow.map(queue="side")
    async def item(number: int) -> int:
        return number

    worker = Worker(db, flow)
    work = await begun(worker)
    try:
        assert [finding.check for finding in examine(database_url).findings] == []
    finally:
        worker.stop()
        await work


def test_errors_are_told_by_the_exit_code_and_mended_on_request(
    pgflow: Here, session: psycopg.Connection[Any]
) -> None:
    define(session, "f", {"a": []})
    session.execute(
        "insert into pgflow.workers (worker_id, queue_name, function_name) values (gen_random_uuid(), 'f', 'f')"
    )
    start(session, "f")
    change(session, "delete from pgmq.q_f")
    done = pgflow("doctor")
    assert done.code == 1
    assert "error* lost_message" in done.out
    assert "1 error." in done.out
    assert "resend_lost_messages" in done.out
    mended = pgflow("doctor", "--fix")
    assert mended.code == 0
    assert "Mended 1 finding." in mended.out
    assert value(session, "select count(*) from pgmq.q_f") == 1
    again = pgflow("doctor", "--fix", "--json")
    assert (again.code, again.json["mended"]) == (0, [])


def test_warnings_alone_are_healthy(pgflow: Here, session: psycopg.Connection[Any]) -> None:
    session.execute(
        """insert into pgflow.workers (worker_id, queue_name, function_name, hostname, pid, last_heartbeat_at)
        values (gen_random_uuid(), 'f', 'f', 'host', 7, now() - interval '5 minutes')"""
    )
    done = pgflow("doctor")
    assert done.code == 0
    assert "warning dead_worker [host, pid 7]" in done.out


def test_no_server_is_an_error_of_the_command(tmp_path: object) -> None:
    with pytest.raises(ConnectionFailed):
        examine("postgresql://127.0.0.1:1/nothing")


def test_a_finding_cannot_steer_the_terminal(
    pgflow: Here, session: psycopg.Connection[Any]
) -> None:
    session.execute(
        """insert into pgflow.quarantined_messages (queue_name, msg_id, message, reason)
        values ('f', 1, '{}', E'\\x1b[31mred')"""
    )
    assert "\x1b" not in pgflow("doctor").out


# The schema


def test_no_schema_is_one_error(empty_database_url: str) -> None:
    (finding,) = examine(empty_database_url).findings
    assert (finding.check, finding.severity) == ("schema", "error")
    assert "pgflow init" in finding.mend


def test_an_altered_function_is_found_and_its_mend_works(
    database_url: str, session: psycopg.Connection[Any]
) -> None:
    session.execute(
        """create or replace function pgflow._max_slice() returns integer language sql immutable
        set search_path = '' as 'select 7'"""
    )
    session.execute("drop function pgflow.is_local()")
    altered = found(database_url, "altered_function")
    assert sorted(finding.where for finding in altered) == ["_max_slice", "is_local"]
    statement, _, command = altered[0].mend.partition("; then: ")
    assert command.startswith("pgflow init")
    session.execute(statement.encode())
    install(database_url)
    assert examine(database_url).findings == []


@pytest.mark.parametrize(
    ("check", "statement", "where"),
    [
        ("search_path", "alter function pgflow.is_local() reset search_path", "is_local"),
        ("public", "grant execute on function pgflow.is_local() to public", "is_local"),
        ("public", "grant select on pgflow.runs to public", "pgflow.runs"),
    ],
)
def test_rights_and_paths_are_checked_and_mended(
    database_url: str, session: psycopg.Connection[Any], check: str, statement: str, where: str
) -> None:
    session.execute(statement.encode())
    (finding,) = found(database_url, check)
    assert finding.where == where
    session.execute(finding.mend.encode())
    assert examine(database_url).findings == []


def test_an_invalid_index_is_found(database_url: str, session: psycopg.Connection[Any]) -> None:
    session.execute(
        "update pg_index set indisvalid = false where indexrelid = 'pgflow.runs_idempotency_key_idx'::regclass"
    )
    (finding,) = found(database_url, "index")
    assert finding.where == "pgflow.runs_idempotency_key_idx"
    session.execute(finding.mend.removesuffix(";").encode())
    assert examine(database_url).findings == []


# The server


def test_settings_are_those_that_new_sessions_get(
    database_url: str, session: psycopg.Connection[Any]
) -> None:
    name = session.info.dbname
    session.execute(f'alter database "{name}" set synchronous_commit = off'.encode())
    session.execute(
        f"alter database \"{name}\" set default_transaction_isolation = 'serializable'".encode()
    )
    session.execute(f'alter database "{name}" set default_transaction_read_only = on'.encode())
    settings = {finding.where: finding.severity for finding in found(database_url, "setting")}
    assert settings == {
        "synchronous_commit": "warning",
        "default_transaction_isolation": "warning",
        "default_transaction_read_only": "error",
    }


def test_an_old_transaction_is_read(database_url: str, session: psycopg.Connection[Any]) -> None:
    with Reader.open(database_url) as reader, session.transaction():
        session.execute("select txid_current()")
        rows = reader.long_transactions(0)
    assert str(session.info.backend_pid) in {row["name"] for row in rows}


def test_the_clock_is_compared(database_url: str) -> None:
    with Reader.open(database_url) as reader:
        assert abs(reader.clock_difference()) < 60


def test_a_table_without_autovacuum_is_found(
    database_url: str, session: psycopg.Connection[Any]
) -> None:
    session.execute("alter table pgflow.step_tasks set (autovacuum_enabled = off)")
    (finding,) = found(database_url, "bloat")
    assert finding.where == "pgflow.step_tasks"
    session.execute(finding.mend.encode())
    assert found(database_url, "bloat") == []


def test_archives_are_told_from_queues(database_url: str, session: psycopg.Connection[Any]) -> None:
    define(session, "f", {"a": []})
    with Reader.open(database_url) as reader:
        kinds = {row["name"]: row["is_archive"] for row in reader.tables()}
    assert (kinds["pgmq.q_f"], kinds["pgmq.a_f"], kinds["pgflow.attempts"]) == (False, True, False)


# The work


async def test_a_step_whose_handler_is_gone_is_found(db: Database, database_url: str) -> None:
    flow: Flow[Any] = Flow("changed")

    @flow.step()
    def before(_: Any) -> int:
        return 1

    with psycopg.connect(database_url) as connection:
        define(connection, "changed", {"another": []})
        start(connection, "changed")
    (finding,) = found(database_url, "unserved_step")
    assert "no living worker serves its queue" in finding.what
    worker = Worker(db, flow)
    work = await begun(worker)
    try:
        (finding,) = found(database_url, "unserved_step")
    finally:
        worker.stop()
        await work
    assert finding.where == "changed.another"
    assert "has a handler for it" in finding.what


async def test_steps_of_plans_are_judged_by_the_registered_handlers(
    db: Database, database_url: str
) -> None:
    begins, may_end = asyncio.Event(), asyncio.Event()
    registry = Handlers()

    @registry.register()
    async def wait() -> None:
        begins.set()
        await may_end.wait()

    plan = Plan.read({"slug": "p", "steps": [{"slug": "a", "handler": "wait"}]}, registry)
    await FlowBuilder(db).define_plan(plan, registry)
    await Client(db).start("p")
    (finding,) = found(database_url, "unserved_step")
    assert "module:handlers --queue plans" in finding.mend
    worker = Worker(db, registry)
    work = await begun(worker)
    try:
        await begins.wait()
        assert found(database_url, "unserved_step") == []
    finally:
        may_end.set()
        worker.stop()
        await work


def test_a_queue_that_waits_is_found(database_url: str, session: psycopg.Connection[Any]) -> None:
    define(session, "f", {"a": []})
    start(session, "f")
    change(session, "update pgmq.q_f set enqueued_at = now() - interval '2 minutes'")
    (finding,) = found(database_url, "waiting_queue")
    assert (finding.where, finding.severity) == ("f", "warning")


def test_violated_invariants_and_quarantine_are_found(
    database_url: str, session: psycopg.Connection[Any]
) -> None:
    define(session, "f", {"a": []})
    start(session, "f")
    session.execute("""select pgmq.send('f', '{"hello": 1}'::jsonb)""")
    claim(session, "f", 10)
    change(session, "update pgflow.runs set remaining_steps = 7")
    checks = {finding.check: finding.severity for finding in examine(database_url).findings}
    assert checks["quarantined_message"] == "warning"
    assert checks["remaining_steps"] == "error"


# What cannot be looked at


def test_a_role_without_rights_is_told_so(database_url: str) -> None:
    with login(database_url) as dsn:
        (finding,) = examine(dsn).findings
    assert finding.check == "schema"
    assert "permission denied" in finding.what


def test_a_viewer_can_examine(database_url: str) -> None:
    install(database_url, roles=True)
    with login(database_url, "pgflow_viewer") as dsn:
        unseen = {f.where for f in examine(dsn).findings if f.check == "not_examined"}
    assert unseen == {"handlers", "queues", "workers"}


def test_what_takes_too_long_is_given_up(
    database_url: str, session: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow._doctor.readings.STATEMENT_SECONDS", 1)
    session.execute(
        """create or replace function pgflow._queue_stats() returns setof pgflow.queue_stats
        language sql set search_path = '' as 'select null::pgflow.queue_stats from pg_sleep(60)'"""
    )
    unseen = [f for f in examine(database_url).findings if f.check == "not_examined"]
    assert [(finding.where, finding.what) for finding in unseen] == [
        ("queues", "took too long and was given up")
    ]


def test_what_is_locked_is_not_waited_for(database_url: str) -> None:
    with psycopg.connect(database_url) as other:
        other.execute("lock table pgflow.quarantined_messages")
        unseen = [f for f in examine(database_url).findings if f.check == "not_examined"]
    assert [finding.where for finding in unseen] == ["tables", "invariants"]

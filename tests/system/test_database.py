"""database.py against a real server: connecting, batches, transactions, trouble."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import Any, cast
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from pgflow._tasks import text_array
from pgflow.database import Database, complete_tasks_on
from pgflow.errors import (
    ConnectionFailed,
    FlowNotFound,
    PermissionDenied,
    SchemaMismatch,
    UsageError,
)
from pgflow.records import Outcome, RawJson, RunStatus
from tests.support.runs import claim, work


async def define(db: Database, *, max_attempts: int = 3, flow: str = "f") -> None:
    await db.create_flow(flow, max_attempts, 0)
    await db.add_step(flow, "a")


# Connecting


async def test_a_dsn_that_does_not_answer_is_one_clear_error() -> None:
    began = time.monotonic()
    with pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1") as caught:
        await Database.connect("host=127.0.0.1 port=9 dbname=x user=x")
    assert time.monotonic() - began < 5
    assert "PGFLOW_DSN" in str(caught.value)


async def test_a_database_that_does_not_exist_is_named(database_url: str) -> None:
    with pytest.raises(ConnectionFailed, match="no_such_database"):
        await Database.connect(make_conninfo(database_url, dbname="no_such_database"))


async def test_a_database_without_the_schema_is_refused(empty_database_url: str) -> None:
    with pytest.raises(SchemaMismatch, match="no pgflow schema yet") as caught:
        await Database.connect(empty_database_url)
    assert "pgflow init" in str(caught.value)


async def test_a_newer_schema_is_refused(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into pgflow.schema_migrations (version, name, checksum) values (9999, 'x', 'x')"
        )
    with pytest.raises(SchemaMismatch, match="9999"):
        await Database.connect(database_url)


async def test_functions_of_an_older_release_are_refused(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        outdated = "update pgflow.schema_migrations set name = 'py-pgflow 0.0.9' where version = 0"
        assert connection.execute(outdated).rowcount == 1
    await (
        await Database.connect(database_url)
    ).close()  # the same functions, though installed by an older one
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "update pgflow.schema_migrations set checksum = 'other' where version = 0"
        )
    with pytest.raises(SchemaMismatch, match=r"functions of pgflow 0\.0\.9") as caught:
        await Database.connect(database_url)
    assert "pgflow init" in str(caught.value)


async def test_a_role_without_rights_is_told_so(database_url: str) -> None:
    role = f"visitor_{uuid4().hex[:8]}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"create role {role} login".encode())
        try:
            with pytest.raises(PermissionDenied):
                await Database.connect(make_conninfo(database_url, user=role))
        finally:
            connection.execute(f"drop role {role}".encode())


async def test_it_can_be_awaited_as_well_as_entered(database_url: str) -> None:
    database = await Database.connect(database_url)
    assert await database.flow_slugs() == []
    await database.close()
    async with Database.connect(database_url) as entered:
        assert await entered.schema_version() is not None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("application_name", "pgflow"),
        ("default_transaction_isolation", "read committed"),
        ("statement_timeout", "2min"),
        ("jit", "off"),
    ],
)
async def test_sessions_have_our_settings_whatever_the_role_has(
    database_url: str, name: str, expected: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        database = connection.info.dbname
        for setting in (
            "default_transaction_isolation = 'serializable'",
            "statement_timeout = '9s'",
        ):
            connection.execute(f'alter database "{database}" set {setting}'.encode())
    async with Database.connect(database_url) as db, db.connection() as own:
        (value,) = (await (await own.execute(f"show {name}".encode())).fetchone()) or ("",)
        assert value == expected


def test_a_fork_does_not_use_its_parents_connections(database_url: str) -> None:
    script = """
import asyncio, os, sys
from pgflow import Database, UsageError
db = Database.connect(sys.argv[1])
async def use():
    return await db.flow_slugs()
async def parent():
    await use()
    child = os.fork()
    if child == 0:
        asyncio.events._set_running_loop(None)
        try:
            asyncio.run(use())
        except UsageError as error:
            os._exit(42 if "another process" in str(error) else 1)
        os._exit(2)
    status = os.waitpid(child, 0)[1]
    assert await use() == []
    await db.close()
    sys.exit(os.waitstatus_to_exitcode(status))
asyncio.run(parent())
"""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, database_url],
        check=False,
        capture_output=True,
        timeout=30,
    )
    assert ran.returncode == 42, ran.stderr.decode()


async def test_another_event_loop_is_refused(db: Database) -> None:
    await db.flow_slugs()
    with pytest.raises(UsageError, match="another event loop"):
        await asyncio.to_thread(asyncio.run, db.flow_slugs())


# Batches


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8"))))
def test_texts_survive_the_array_literal(
    connection: psycopg.Connection[Any], texts: list[str | None]
) -> None:
    (returned,) = connection.execute("select %s::text[]", [text_array(texts)]).fetchone() or (None,)
    assert returned == texts


async def test_values_are_not_parsed_on_the_way(db: Database) -> None:
    await define(db)
    await db.start_flow("f", '{"big": 12345678901234567890123456789.5}')
    (task,) = await claim(db, "f")
    assert task.flow_input == RawJson(b'{"big": 12345678901234567890123456789.5}')
    assert isinstance(task.flow_input, RawJson)


async def test_reports_are_fenced_and_repeatable(db: Database) -> None:
    await define(db)
    run_id = await db.start_flow("f", "{}")
    (task,) = await claim(db, "f")
    which = ([run_id], ["a"], [0])
    assert [r.outcome for r in await db.extend_leases(*which, [task.attempt])] == [Outcome.ACCEPTED]
    assert [r.outcome for r in await db.complete_tasks(*which, [task.attempt + 1], ["1"])] == [
        Outcome.STALE
    ]
    assert [r.outcome for r in await db.complete_tasks(*which, [task.attempt], ["1"])] == [
        Outcome.ACCEPTED
    ]
    again = await db.complete_tasks(*which, [task.attempt], ["1"])
    assert [(r.run_id, r.step_slug, r.task_index, r.outcome) for r in again] == [
        (run_id, "a", 0, Outcome.ALREADY_ACCEPTED)
    ]


async def test_a_batch_larger_than_one_statement_is_completed_whole(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow._tasks.MAX_BATCH_BYTES", 10)
    await define(db)
    runs = [await db.start_flow("f", "{}") for _ in range(5)]
    tasks = await claim(db, "f")
    reports = await db.complete_tasks(
        [task.run_id for task in tasks],
        ["a"] * 5,
        [0] * 5,
        [task.attempt for task in tasks],
        ['"12345"'] * 5,
    )
    assert {report.run_id for report in reports} == set(runs)
    assert {report.outcome for report in reports} == {Outcome.ACCEPTED}


async def test_any_error_text_can_be_recorded(db: Database) -> None:
    await define(db, max_attempts=1)
    run_id = await db.start_flow("f", "{}")
    (task,) = await claim(db, "f")
    await db.fail_tasks(
        [run_id], ["a"], [0], [task.attempt], ['nul \0, surrogate \udcff, quote ", {brace}']
    )
    (failed,) = await db.failed_tasks(run_id)
    assert failed.error_message == 'nul \ufffd, surrogate ?, quote ", {brace}'


async def test_released_tasks_come_back_without_an_attempt_spent(db: Database) -> None:
    await define(db)
    run_id = await db.start_flow("f", "{}")
    (task,) = await claim(db, "f")
    await db.release_tasks([run_id], ["a"], [0], [task.attempt])
    (again,) = await claim(db, "f")
    assert (again.tries, again.attempt) == (1, 2)


async def test_progress_counts_only_from_the_current_attempt(db: Database) -> None:
    await define(db)
    run_id = await db.start_flow("f", "{}")
    (task,) = await claim(db, "f")
    assert await db.report_progress(run_id, "a", 0, task.attempt, '{"fraction": 0.5}')
    assert not await db.report_progress(run_id, "a", 0, task.attempt + 1, '{"fraction": 0.9}')
    (stored,) = await db.tasks(run_id, "a")
    assert stored.progress is not None
    assert stored.progress.parse() == {"fraction": 0.5}


# Transactions


async def test_a_transaction_commits_or_leaves_nothing(db: Database) -> None:
    async with db.transaction() as connection:
        await connection.execute("create table kept (n int)")

    async def broken() -> None:
        async with db.transaction() as connection:
            await connection.execute("insert into kept values (1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await broken()
    async with db.transaction() as connection:
        assert await (await connection.execute("select * from kept")).fetchall() == []


async def test_transactions_cannot_starve_the_engine(db: Database) -> None:
    async with asyncio.TaskGroup() as group:
        release = asyncio.Event()

        async def hold() -> None:
            async with db.transaction():
                await release.wait()

        for _ in range(20):
            group.create_task(hold())
        await asyncio.sleep(0.2)
        async with asyncio.timeout(2):
            assert await db.flow_slugs() == []
        release.set()


async def test_a_completion_in_the_callers_transaction_is_undone_with_it(db: Database) -> None:
    await define(db)
    run_id = await db.start_flow("f", "{}")
    (task,) = await claim(db, "f")
    which = ([run_id], ["a"], [0], [task.attempt], ["1"])

    async def broken() -> None:
        async with db.transaction() as connection:
            await db.complete_tasks(*which, connection=connection)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await broken()
    assert await db.run_status(run_id) == "started"
    with db.connect_sync() as sync:
        assert not sync.autocommit
        (report,) = complete_tasks_on(sync, *which)
        assert report.outcome is Outcome.ACCEPTED
    assert await db.run_status(run_id) == "completed"


async def test_the_callers_row_factory_does_not_matter(db: Database, database_url: str) -> None:
    await define(db)
    connect = psycopg.AsyncConnection.connect
    async with await connect(database_url, row_factory=cast("Any", dict_row)) as connection:
        run_id = await db.start_flow("f", "{}", connection=connection)
    assert await db.run_status(run_id) == "started"


# Trouble


async def test_an_unknown_flow_is_named_with_the_closest_one(db: Database) -> None:
    await define(db, flow="email_campaign")
    with pytest.raises(FlowNotFound, match="did you mean 'email_campaign'"):
        await db.start_flow("email_campain", "{}")


@pytest.mark.parametrize("key", ["", "  ", "\t\n"])
async def test_a_blank_key_is_refused(db: Database, key: str) -> None:
    await define(db)
    with pytest.raises(UsageError, match="key"):
        await db.start_flow("f", "{}", idempotency_key=key)
    assert await db.runs() == []


async def make_flaky(db: Database, times: int) -> None:
    async with db.transaction() as connection:
        await connection.execute("create sequence tries")
        await connection.execute(
            f"""
          create function flaky() returns int language plpgsql as $$ begin
            if nextval('tries') <= {times} then raise exception 'deadlock' using errcode = '40P01'; end if;
            return currval('tries');
          end $$""".encode()
        )


async def test_a_lost_deadlock_is_repeated(db: Database) -> None:
    await make_flaky(db, 2)
    assert await db._fetch("select flaky()") == [(3,)]


async def test_a_deadlock_that_stays_is_raised(db: Database) -> None:
    await make_flaky(db, 1000)
    with pytest.raises(psycopg.errors.DeadlockDetected):
        await db._fetch("select flaky()")


async def test_it_recovers_from_broken_connections(db: Database, database_url: str) -> None:
    await asyncio.gather(*(db.flow_slugs() for _ in range(8)))
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("""select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and pid <> pg_backend_pid()""")
    failures = 0
    async with asyncio.timeout(10):
        while True:
            try:
                assert await db.flow_slugs() == []
                break
            except ConnectionFailed:
                failures += 1
                await asyncio.sleep(0.02)
    assert failures <= 4
    assert await asyncio.gather(*(db.flow_slugs() for _ in range(8))) == [[]] * 8


async def test_a_closed_database_says_so(database_url: str) -> None:
    database = await Database.connect(database_url)
    closed: list[str] = []

    async def note() -> None:
        closed.append("dependent")

    database.on_close(note)
    await database.close()
    assert closed == ["dependent"]


# Reads


async def test_reads_tell_what_happened(db: Database) -> None:
    await db.create_flow("f", 2, 0)
    await db.add_step("f", "list")
    await db.add_step("f", "each", ["list"], step_type="map")
    run_id = await db.start_flow("f", '{"n": 3}')
    assert await db.run_input(run_id) == b'{"n": 3}'
    await work(
        db, "f", {"list": lambda given: list(range(given["n"])), "each": lambda item: item * 10}
    )
    summary = await db.run_summary(run_id)
    assert summary is not None
    assert (summary.status, summary.total_tasks, summary.done_tasks, int(summary.progress)) == (
        RunStatus.COMPLETED,
        4,
        4,
        100,
    )
    assert [(step.step_slug, step.completed_tasks) for step in await db.steps(run_id)] == [
        ("list", 1),
        ("each", 3),
    ]
    page = await db.tasks(run_id, "each", after_index=0, limit=1)
    assert [(task.task_index, task.output) for task in page] == [(1, b"10")]
    assert [(part.task_index, part.output) for part in await db.step_output(run_id, "each", 0)] == [
        (1, b"10"),
        (2, b"20"),
    ]
    assert len(await db.attempts(run_id, "each")) == 3
    assert len(await db.attempts(run_id, "each", 1)) == 1
    assert [leaf.step_slug for leaf in await db.step_results(run_id)] == ["each"]
    (queue,) = await db.queues()
    assert (queue.queue_name, queue.total) == ("f", 0)
    assert [step.deps for step in await db.flow_steps("f")] == [[], ["list"]]
    assert sum(worker.tasks_completed for worker in await db.workers()) == 4

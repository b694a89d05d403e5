"""From every released schema to this one: equal catalogues, live runs that end, and old workers that go on meanwhile."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgflow.database import Database
from pgflow.errors import SchemaMismatch
from pgflow.schema import SCHEMA_VERSION, install, version
from pgflow.worker import Worker
from tests.support.releases import VERSIONS, Release
from tests.support.sql import call, claim, define, fail_batch, row, rows, start, value
from tests.support.upgrade_flows import code_of, expected, steady
from tests.support.worker_processes import WorkerProcess, begun, eventually, finished

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sql import Connection

ITEMS = 300

CATALOGUE = {
    "relations": """select relname, relkind, reloptions, relrowsecurity, relforcerowsecurity, relacl::text,
        obj_description(oid, 'pg_class'), case relkind when 'v' then pg_get_viewdef(oid) end
      from pg_class where relnamespace = 'pgflow'::regnamespace""",
    "columns": """select attrelid::regclass::text, attnum, attname, atttypid::regtype::text, atttypmod, attnotnull,
        pg_get_expr(adbin, adrelid), col_description(attrelid, attnum)
      from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
      inner join pg_class on pg_class.oid = attrelid
      where relnamespace = 'pgflow'::regnamespace and attnum > 0 and not attisdropped""",
    "constraints": """select conname, coalesce(conrelid::regclass::text, contypid::regtype::text), convalidated,
        pg_get_constraintdef(oid)
      from pg_constraint where connamespace = 'pgflow'::regnamespace""",
    "indexes": "select indexdef from pg_indexes where schemaname = 'pgflow'",
    "functions": """select oid::regprocedure::text, pg_get_functiondef(oid), proacl::text,
        obj_description(oid, 'pg_proc')
      from pg_proc where pronamespace = 'pgflow'::regnamespace""",
    "triggers": "select pg_get_triggerdef(oid) from pg_trigger where not tgisinternal",
    "types": """select typname, typtype, obj_description(oid, 'pg_type')
      from pg_type where typnamespace = 'pgflow'::regnamespace""",
    "policies": "select polname, polrelid::regclass::text, pg_get_expr(polqual, polrelid) from pg_policy",
    "migrations": "select version, name, checksum from pgflow.schema_migrations",
}


@pytest.fixture(params=VERSIONS, ids=lambda number: f"schema-{number}")
def release(request: pytest.FixtureRequest, tmp_path: Path) -> Release:
    """Give each release that had another schema version."""
    return Release(request.param, tmp_path)


def catalogue(dsn: str) -> dict[str, list[str]]:
    with psycopg.connect(dsn) as connection:
        connection.execute("set search_path = ''")
        return {
            name: sorted(map(repr, connection.execute(query.encode()).fetchall()))
            for name, query in CATALOGUE.items()
        }


def test_there_is_a_release_of_every_older_schema_version() -> None:
    assert list(range(1, SCHEMA_VERSION)) == VERSIONS, "run: sh tools/keep-release.sh COMMIT"


def test_an_upgrade_and_a_new_installation_have_equal_catalogues(
    release: Release, empty_database_url: str, database_url: str
) -> None:
    release.install(empty_database_url)
    assert version(empty_database_url) == release.version
    assert install(empty_database_url).previous == release.version
    upgraded, new = catalogue(empty_database_url), catalogue(database_url)
    for name in CATALOGUE:
        assert upgraded[name] == new[name], name


def test_queues_of_an_older_release_get_the_functions_of_this_one(
    release: Release, empty_database_url: str, database_url: str
) -> None:
    release.install(empty_database_url)
    for dsn in (empty_database_url, database_url):
        with psycopg.connect(dsn, autocommit=True) as session:
            define(session, "f", {"a": []})
    install(empty_database_url)
    assert catalogue(empty_database_url)["functions"] == catalogue(database_url)["functions"]


def test_what_was_under_way_ends(release: Release, empty_database_url: str) -> None:
    """Each state that a run can have survives the upgrade, and leads where it would have led."""
    release.install(empty_database_url)
    flows = ("held", "retrying", "nearly", "cancelled", "fresh")
    with psycopg.connect(empty_database_url, autocommit=True, prepare_threshold=None) as session:
        steps = {"a": [], "m": {"deps": ["a"], "step_type": "map"}, "z": ["m"]}
        for flow in flows:
            define(session, flow, steps, max_attempts=2, base_delay=0)
            start(session, flow, idempotency_key="k")
            if flow != "fresh":
                complete_next(session, flow, [1, 2, 3])
        held = claim(session, "held", 2)
        assert fail_batch(session, claim(session, "retrying")) == ["accepted"]
        for _ in range(3):
            complete_next(session, "nearly", 1)
        call(session, "cancel_run", run_id=run_of(session, "cancelled")["run_id"])
        before = {flow: run_of(session, flow)["run_id"] for flow in flows}

        install(empty_database_url)

        for flow in flows:
            again = start(session, flow, idempotency_key="k")
            assert again["run_id"] == before[flow]
        assert call_complete(session, held[0], 10) == "accepted"
        for flow in flows:
            work_off(session, flow)
            ended = run_of(session, flow)
            if flow == "cancelled":
                assert (ended["status"], ended["output"]) == ("cancelled", None)
            else:
                assert (ended["status"], ended["output"]) == ("completed", {"z": "z"})
            assert value(session, f"select count(*) from pgmq.q_{flow}") == 0
        query = "select step_slug, outcome from pgflow.attempts where run_id = %s order by attempt"
        lost = [tuple(one.values()) for one in rows(session, query, before["held"])]
        assert lost == [("m", "lost"), ("m", "completed")]


def run_of(session: Connection, flow: str) -> dict[str, Any]:
    return row(session, "select * from pgflow.runs where flow_slug = %s", flow)


def complete_next(session: Connection, flow: str, output: object) -> None:
    (task,) = claim(session, flow)
    assert call_complete(session, task, output) == "accepted"


def call_complete(session: Connection, task: dict[str, Any], output: object) -> str:
    named = {"outputs": [Jsonb(output)], "attempts": [task["attempt"]]}
    names = {"run_ids": "run_id", "step_slugs": "step_slug", "task_indexes": "task_index"}
    keys = {name: [task[key]] for name, key in names.items()}
    (report,) = call(session, "complete_tasks", **keys, **named)
    return str(report["outcome"])


def work_off(session: Connection, queue: str) -> None:
    session.execute(f"update pgmq.q_{queue} set vt = clock_timestamp()".encode())
    while tasks := claim(session, queue, 100):
        for task in tasks:
            output = {"a": [1, 2, 3], "m": 1, "z": "z"}[task["step_slug"]]
            assert call_complete(session, task, output) == "accepted"
        session.execute(f"update pgmq.q_{queue} set vt = clock_timestamp()".encode())


@pytest.mark.slow
async def test_an_old_worker_is_at_work_while_the_database_is_upgraded(
    release: Release, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upgrade and the work do not hold each other up, and every run ends with the right output.

    A worker of the release before this one goes on afterwards. One of an older release may end with an error, if a call
    of its was under way whose parts are others now; what it held is granted again.
    """
    dsn = empty_database_url
    release.install(dsn)
    monkeypatch.setenv("PYTHONPATH", release.python_path())
    options: dict[str, Any] = {
        "module": "tests.support.upgrade_flows",
        "concurrency": 5,
        "lease": 3,
    }
    with (
        psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as session,
        WorkerProcess(dsn, "steady", **options) as old,
    ):
        await eventually(lambda: value(session, "select count(*) from pgflow.flows") == 1)
        runs = {start(session, "steady", ITEMS)["run_id"]: ITEMS for _ in range(3)}
        await eventually(lambda: done(session) > ITEMS / 4)

        await asyncio.to_thread(install, dsn)

        before = done(session)
        assert before < 3 * ITEMS, "the upgrade has to fall into the work"
        runs[start(session, "steady", 20)["run_id"]] = 20
        if release.version == SCHEMA_VERSION - 1:
            await eventually(lambda: done(session) > before + ITEMS / 4)
            old.send(signal.SIGTERM)
            code, log = await old.ended()
            assert code == 0, log
            assert "Traceback" not in log, log
        else:
            old.send(signal.SIGTERM)
            await old.ended()
        runs[start(session, "steady", 30)["run_id"]] = 30
        async with Database.connect(dsn) as db:
            new = Worker(dsn, steady, concurrency=5)
            work = await begun(new)
            for run_id, count in runs.items():
                assert await finished(db, run_id) == {"report": expected(count)}
            new.stop()
            await work
        assert value(session, "select count(*) from pgmq.q_steady") == 0
        left = "select count(*) from pgflow.step_tasks where status <> 'completed'"
        assert value(session, left) == 0


def done(session: Connection) -> int:
    query = "select count(*) from pgflow.step_tasks where status = 'completed'"
    return int(value(session, query))


RESULTS = """
    select function.proname, array_agg((attribute.attname, attribute.atttypid::regtype)::text order by attribute.attnum)
    from pg_proc as function
    inner join pg_type as result on result.oid = function.prorettype
    inner join pg_attribute as attribute on attribute.attrelid = result.typrelid
    inner join pg_class as relation on relation.oid = result.typrelid
    where function.pronamespace = 'pgflow'::regnamespace and function.proname !~ '^_' and relation.relkind = 'c'
      and attribute.attnum > 0 and not attribute.attisdropped
    group by 1 order by 1
"""


def test_what_calls_return_is_as_in_the_release_before(
    empty_database_url: str, database_url: str, tmp_path: Path
) -> None:
    """A call that is under way during the upgrade began with the old type: a longer one would end the worker."""
    Release(SCHEMA_VERSION - 1, tmp_path).install(empty_database_url)
    with psycopg.connect(empty_database_url) as old, psycopg.connect(database_url) as new:
        before: dict[str, list[str]] = dict(old.execute(RESULTS).fetchall())
        after: dict[str, list[str]] = dict(new.execute(RESULTS).fetchall())
    assert "claim_tasks" in before
    assert {name: after.get(name) for name in before} == before


def test_an_old_release_refuses_to_begin_on_this_schema(
    release: Release, database_url: str
) -> None:
    """Who starts anew needs the new package; the message says so (fault 50)."""
    code = """
import asyncio, sys
from pgflow.database import Database
from pgflow.errors import SchemaMismatch
async def main():
    try:
        await Database.connect(sys.argv[1]).open()
    except SchemaMismatch as error:
        print(error)
asyncio.run(main())
"""
    said = release.run(code, database_url)
    assert (
        f"the schema has version {SCHEMA_VERSION}, this pgflow knows only {release.version}" in said
    )
    assert "pip install --upgrade py-pgflow" in said


async def test_this_release_refuses_an_older_schema_and_says_what_mends_it(
    release: Release, empty_database_url: str
) -> None:
    release.install(empty_database_url)
    with pytest.raises(SchemaMismatch, match=f"has version {release.version}, this pgflow needs"):
        await Database.connect(empty_database_url).open()


def test_the_kept_releases_are_those_that_they_say_they_are(release: Release) -> None:
    said = release.run(
        "from pgflow.schema import SCHEMA_VERSION; import pgflow; print(SCHEMA_VERSION, pgflow.__file__)"
    )
    number, _, place = said.strip().partition(" ")
    assert int(number) == release.version
    assert place.startswith(str(release.path))
    assert not str(code_of()).startswith(str(release.path))

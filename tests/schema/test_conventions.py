"""Conventions of the SQL and of who may spell it, which no linter sees."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pgflow
from pgflow._sources import SOURCES, Source

if TYPE_CHECKING:
    import psycopg

MAX_FUNCTION_LINES = 60

LONG_FUNCTIONS: dict[str, str] = {
    "_complete_single": "0011-long-functions-and-files.md",
    "_grant_tasks": "0011-long-functions-and-files.md",
}
"""Functions beyond the limit, and the decision record that says why."""

MAX_FILE_LINES = 300
LONGEST_FILE = 350
LONG_FILES = {
    *("_claims.py", "_context.py", "_pool.py", "_sending.py", "builder.py"),
    *("client.py", "database.py", "errors.py", "records.py", "worker.py"),
}
"""Modules beyond the limit; ADR 11 says why, and that none is longer than the longest."""

PYTHON_WITH_SQL = {
    *(
        "database.py",
        "_definitions.py",
        "_gate.py",
        "_pool.py",
        "_reads.py",
        "_starts.py",
        "_tasks.py",
    ),
    *("schema.py", "_script.py"),
    *("_doctor/readings.py", "_doctor/probes.py", "_doctor/work.py", "_doctor/server.py"),
}
"""The database layer and the schema's installation; no other module spells a statement."""

STATEMENT = re.compile(
    r"""["']\s*(select\s|insert\s+into\s|update\s+[\w.]+\s+set\s|delete\s+from\s|create\s+(table|schema|or\s+replace)\s"""
    r"""|alter\s+(table|schema)\s|drop\s+(table|schema|function)\s|with\s+\w+\s+as\s*\(|call\s+\w+\.|listen\s+\w|notify\s+\w)"""
)

PACKAGE = Path(pgflow.__file__).parent
DECISIONS = Path(__file__).parents[2] / "docs" / "decisions"
PYTHON = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
FUNCTIONS = [pytest.param(source, id=source.name) for source in SOURCES.functions]
SQL_FILES = [
    pytest.param(source, id=source.name)
    for source in (*SOURCES.migrations, *SOURCES.functions, *SOURCES.views)
]


def names(connection: psycopg.Connection[Any], query: str) -> list[str]:
    return [name for (name,) in connection.execute(query.encode()).fetchall()]


# Functions, by the catalogue


def test_every_function_pins_an_empty_search_path(connection: psycopg.Connection[Any]) -> None:
    query = """
        select proname from pg_proc
        where pronamespace = 'pgflow'::regnamespace and not coalesce(proconfig, '{}') @> array['search_path=""']
    """
    assert names(connection, query) == []


def test_every_function_has_a_comment(connection: psycopg.Connection[Any]) -> None:
    query = """
        select proname from pg_proc
        where pronamespace = 'pgflow'::regnamespace and obj_description(oid, 'pg_proc') is null
    """
    assert names(connection, query) == []


def test_every_table_and_view_has_a_comment(connection: psycopg.Connection[Any]) -> None:
    query = """
        select relname from pg_class
        where relnamespace = 'pgflow'::regnamespace and relkind in ('r', 'v') and obj_description(oid, 'pg_class') is null
    """
    assert names(connection, query) == []


def test_no_function_is_overloaded(connection: psycopg.Connection[Any]) -> None:
    query = """
        select proname from pg_proc where pronamespace = 'pgflow'::regnamespace group by proname having count(*) > 1
    """
    assert names(connection, query) == []


def test_public_may_do_nothing(connection: psycopg.Connection[Any]) -> None:
    functions = """
        select proname from pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner)))
        where pronamespace = 'pgflow'::regnamespace and grantee = 0
    """
    relations = """
        select relname from pg_class, aclexplode(relacl)
        where relnamespace = 'pgflow'::regnamespace and grantee = 0
    """
    schema = "select nspname from pg_namespace, aclexplode(nspacl) where nspname = 'pgflow' and grantee = 0"
    assert names(connection, functions) == []
    assert names(connection, relations) == []
    assert names(connection, schema) == []


def test_only_the_contracts_two_run_with_their_owners_rights(
    connection: psycopg.Connection[Any],
) -> None:
    query = """
        select proname from pg_proc where pronamespace = 'pgflow'::regnamespace and prosecdef order by 1
    """
    assert names(connection, query) == ["get_run_with_states", "start_flow_with_states"]


# SQL, by its text


@pytest.mark.parametrize("source", FUNCTIONS)
def test_a_file_defines_the_function_it_is_named_after(source: Source) -> None:
    defined = re.findall(r"^create or replace function (\S+?)\(", source.text, re.MULTILINE)
    assert defined == [f"pgflow.{source.name}"]


@pytest.mark.parametrize("source", FUNCTIONS)
def test_a_function_fits_on_a_page(source: Source) -> None:
    body = re.search(r"^as (\$\w*\$)\n(.*?)^\1;?$", source.text, re.MULTILINE | re.DOTALL)
    assert body, "a body stands between lines of its own: as $$ and $$;"
    lines = body[2].count("\n")
    assert lines <= MAX_FUNCTION_LINES or source.name in LONG_FUNCTIONS, f"{lines} lines"


@pytest.mark.parametrize("module", PYTHON)
def test_a_module_is_read_in_one_go(module: str) -> None:
    lines = (PACKAGE / module).read_text().count("\n")
    assert lines <= (LONGEST_FILE if module in LONG_FILES else MAX_FILE_LINES), f"{lines} lines"


def test_what_is_long_is_in_the_decision() -> None:
    decision = (DECISIONS / "0011-long-functions-and-files.md").read_text()
    assert [name for name in [*LONG_FUNCTIONS, *LONG_FILES] if f"`{name}`" not in decision] == []


@pytest.mark.parametrize("source", FUNCTIONS)
def test_a_function_says_what_it_is_for(source: Source) -> None:
    assert source.text.startswith("-- ")


@pytest.mark.parametrize("source", SQL_FILES)
def test_columns_of_pgmq_are_named(source: Source) -> None:
    """Versions of pgmq differ in their columns."""
    assert not re.search(r"select\s+\*\s+from\s+pgmq\.", _without_comments(source.text))


@pytest.mark.parametrize("source", SQL_FILES)
def test_keywords_are_lower_case(source: Source) -> None:
    text = re.sub(r"'[^']*'", "''", _without_comments(source.text))
    shouted = re.findall(
        r"\b(SELECT|FROM|WHERE|INSERT|UPDATE|DELETE|CREATE|BEGIN|END|RETURN)\b", text
    )
    assert shouted == []


@pytest.mark.parametrize("source", SQL_FILES)
def test_no_banners_and_no_tabs(source: Source) -> None:
    assert not re.search(r"^--\s*[-=*]{3,}", source.text, re.MULTILINE)
    assert "\t" not in source.text


def _without_comments(text: str) -> str:
    return re.sub(r"--.*", "", text)


def test_long_functions_have_a_decision_record() -> None:
    decisions = PACKAGE.parent.parent / "docs" / "decisions"
    assert set(LONG_FUNCTIONS) <= {source.name for source in SOURCES.functions}
    assert all((decisions / record).exists() for record in LONG_FUNCTIONS.values())


def test_every_sql_file_is_in_the_package() -> None:
    root = files("pgflow").joinpath("sql")
    assert {entry.name for entry in root.iterdir()} <= {
        "migrations",
        "functions",
        "views",
        "roles.sql",
        "tenants.sql",
    }


# Python


@pytest.mark.parametrize("module", PYTHON)
def test_only_the_database_layer_spells_sql(module: str) -> None:
    text = re.sub(r"^\s*(>>>|\.\.\.) .*", "", (PACKAGE / module).read_text(), flags=re.MULTILINE)
    statements = STATEMENT.findall(text)
    assert not statements or module in PYTHON_WITH_SQL

"""The state diagrams of docs/architecture.md name the statuses that the tables allow, and each can be reached."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import psycopg

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
DIAGRAM = re.compile(
    r"^<!-- states: (\w+) -->\n```mermaid\nstateDiagram-v2\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
EDGE = re.compile(r"^\s+(\S+) --> ([\w*\[\]]+)(?:: .+)?$", re.MULTILINE)
END = "[*]"

CONSTRAINTS = {
    "runs": "runs_status_check",
    "step_states": "step_states_status_check",
    "step_tasks": "valid_status",
}


def diagrams() -> dict[str, set[tuple[str, str]]]:
    return {table: set(EDGE.findall(text)) for table, text in DIAGRAM.findall(PAGE.read_text())}


def allowed(connection: psycopg.Connection[Any], table: str) -> set[str]:
    query = "select pg_get_constraintdef(oid) from pg_constraint where conname = %s and conrelid = %s::regclass"
    row = connection.execute(query, [CONSTRAINTS[table], f"pgflow.{table}"]).fetchone()
    assert row is not None
    return set(re.findall(r"'(\w+)'::text", row[0]))


def test_each_table_with_a_status_has_a_diagram() -> None:
    assert set(diagrams()) == set(CONSTRAINTS)


def test_every_line_of_a_diagram_is_understood() -> None:
    for _, text in DIAGRAM.findall(PAGE.read_text()):
        assert len(EDGE.findall(text)) == len(text.strip().splitlines())


@pytest.mark.parametrize("table", CONSTRAINTS)
def test_a_diagram_has_the_statuses_of_its_table(
    table: str, connection: psycopg.Connection[Any]
) -> None:
    shown = {status for edge in diagrams()[table] for status in edge} - {END}
    assert shown == allowed(connection, table)


@pytest.mark.parametrize("table", CONSTRAINTS)
def test_every_status_can_be_reached(table: str) -> None:
    edges = diagrams()[table]
    reached: set[str] = set()
    found = {END}
    while found - reached:
        reached |= found
        found = {target for source, target in edges if source in reached}
    assert {source for source, _ in edges} <= reached


@pytest.mark.parametrize("table", CONSTRAINTS)
def test_a_diagram_begins_as_rows_do(table: str, connection: psycopg.Connection[Any]) -> None:
    query = """
        select pg_get_expr(adbin, adrelid) from pg_attrdef
        join pg_attribute on attrelid = adrelid and attnum = adnum
        where adrelid = %s::regclass and attname = 'status'
    """
    row = connection.execute(query.encode(), [f"pgflow.{table}"]).fetchone()
    assert row is not None
    first = {target for source, target in diagrams()[table] if source == END}
    assert {f"'{status}'::text" for status in first} == {row[0]}

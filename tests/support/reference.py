"""The generated tables of docs/sql.md: `python -m tests.support.reference` writes them from a new database."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"

_FUNCTIONS = """
    select proname, pg_get_function_arguments(oid), pg_get_function_result(oid), obj_description(oid, 'pg_proc')
    from pg_proc
    where pronamespace = 'pgflow'::regnamespace and proname not like '\\_%' and proname not like 'q\\_%' and prokind = 'f'
    order by proname
"""
_VIEWS = """
    select relname, string_agg(attname, ', ' order by attnum), obj_description(pg_class.oid, 'pg_class')
    from pg_class join pg_attribute on attrelid = pg_class.oid and attnum > 0
    where relnamespace = 'pgflow'::regnamespace and relkind = 'v'
    group by pg_class.oid, relname
    order by relname
"""


def functions_table(connection: psycopg.Connection[Any]) -> str:
    """Return the public functions, with their parameters and comments."""
    rows = connection.execute(_FUNCTIONS.encode()).fetchall()
    lines = ["| Function | Returns | What it does |", "|---|---|---|"]
    for name, arguments, result, comment in rows:
        shown = re.sub(r"'([^']*)'::(text|interval)(\[\])?", r"'\1'", arguments)
        shown = re.sub(r"'(-?\d+)'::integer", r"\1", shown)
        shown = re.sub(r"NULL::[\w ]+(\[\])?", "null", shown).replace(" DEFAULT ", " = ")
        returns = result.replace("SETOF", "setof").replace("TABLE", "table")
        lines.append(f"| `{name}({_plain(shown)})` | `{_plain(returns)}` | {comment} |")
    return "\n".join(lines)


def views_table(connection: psycopg.Connection[Any]) -> str:
    """Return the views, with their columns and comments."""
    rows = connection.execute(_VIEWS.encode()).fetchall()
    lines = ["| View | Columns | What it shows |", "|---|---|---|"]
    return "\n".join(
        [*lines, *(f"| `{name}` | {columns} | {comment} |" for name, columns, comment in rows)]
    )


def _plain(text: str) -> str:
    words = {"timestamp with time zone": "timestamptz", "double precision": "float8"}
    for long, short in words.items():
        text = text.replace(long, short)
    return text


def main() -> None:
    """Replace the tables of the page."""
    import psycopg

    from tests.support.servers import Databases, session_directory

    databases = Databases(session_directory())
    try:
        with databases.installed() as dsn, psycopg.connect(dsn) as connection:
            tables = {"functions": functions_table(connection), "views": views_table(connection)}
    finally:
        databases.remove()
    text = PAGE.read_text()
    for name, table in tables.items():
        before, mark, rest = text.partition(f"<!-- {name}: generated -->\n")
        text = before + mark + table + "\n<!-- end -->" + rest.partition("\n<!-- end -->")[2]
    PAGE.write_text(text)


if __name__ == "__main__":
    main()

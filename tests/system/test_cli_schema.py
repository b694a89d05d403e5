"""`pgflow init`, `pgflow sql`, and the embedded server behind commands without an address."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from tests.support.command import Command

if TYPE_CHECKING:
    import pytest


def test_init_installs_and_repeats(tmp_path: Path, empty_database_url: str) -> None:
    pgflow = Command(tmp_path, None)
    first = pgflow("init", "--dsn", empty_database_url)
    assert (first.code, first.err) == (0, "")
    assert first.out.startswith("Installed the schema, version ")
    again = pgflow("init", "--dsn", empty_database_url)
    assert (again.code, again.err) == (0, "")
    assert again.out.startswith("Nothing to do")
    assert "No runs" in pgflow("runs", "--dsn", empty_database_url).out


def test_init_mends_an_old_schema(tmp_path: Path, database_url: str) -> None:
    pgflow = Command(tmp_path, database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("update pgflow.schema_migrations set checksum = 'old' where version = 0")
    done = pgflow("init")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Renewed")
    assert pgflow("runs").code == 0


def test_sql_prints_what_init_does(tmp_path: Path, empty_database_url: str) -> None:
    printed = Command(tmp_path, None)("sql")
    assert (printed.code, printed.err) == (0, "")
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(printed.out.encode())
    assert Command(tmp_path, empty_database_url)("runs").code == 0


def test_without_an_address_a_server_of_the_project_serves(request: pytest.FixtureRequest) -> None:
    # Not below tmp_path: for root the server runs as another user, who must be able to get there.
    directory = Path(tempfile.mkdtemp(prefix="pgflow-cli-"))
    request.addfinalizer(lambda: shutil.rmtree(directory, ignore_errors=True))
    directory.chmod(0o755)
    (directory / "app.py").write_text(
        "from pgflow import Flow\n"
        "hello = Flow[str]('hello')\n"
        "@hello.step()\n"
        "def greet(name: str) -> str: return f'Hello {name}'\n"
    )
    pgflow = Command(directory, None)
    done = pgflow("run", "app:hello", "--input", '"you"', "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json["output"] == {"greet": "Hello you"}
    # The server stopped with its only user; the run is still there when the next one starts it.
    assert [run["run_id"] for run in pgflow("runs", "--json").json] == [done.json["run_id"]]

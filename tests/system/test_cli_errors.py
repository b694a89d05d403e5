"""Bad input on the command line: one message with a code and a next step, exit code 2, nothing changed."""

from __future__ import annotations

import socket
import sys
import uuid
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.command import Command, Done, Here

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLOWS = """
from dataclasses import dataclass
from pgflow import Flow

@dataclass
class Campaign:
    campaign_id: int

campaign = Flow[Campaign]("campaign")

@campaign.step()
def fetch(campaign: Campaign) -> int:
    return campaign.campaign_id

cyclic = Flow("cyclic")

@cyclic.step(depends_on=["b"])
def a(b: int) -> int: ...

@cyclic.step(depends_on=["a"])
def b(a: int) -> int: ...
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "campaigns.py").write_text(FLOWS)
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "campaigns", raising=False)
    return tmp_path


@pytest.fixture
def pgflow(directory: Path, shared_database_url: str, capsys: pytest.CaptureFixture[str]) -> Here:
    """Call the command for the shared database: what is refused changes nothing there."""
    return Here(shared_database_url, capsys)


def state(dsn: str) -> list[tuple[object, ...]]:
    """Return how many rows each table of the schemas pgflow and pgmq has."""
    with psycopg.connect(dsn) as connection:
        tables = connection.execute(
            "select schemaname, tablename from pg_tables where schemaname in ('pgflow', 'pgmq')"
            " order by 1, 2"
        ).fetchall()
        return [
            (*table, connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(*table))).fetchone())
            for table in tables
        ]  # fmt: skip


def refused(done: Done, code: str, *parts: str) -> None:
    """Assert that the command ended as bad input has to."""
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"pgflow: {code}: ")
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) > 1, "the next step is missing"
    for part in parts:
        assert part in done.err


RUN = str(uuid.UUID(int=7))

BAD_INPUT = {
    "malformed JSON": (["run", "campaigns:campaign", "--input", "{campaign_id: 1}"], "PGF401", ["line 1, column 2", "\n     ^\n", "--input '{"]),
    "truncated JSON": (["run", "campaigns:campaign", "--input", '{"campaign_id": '], "PGF401", ["line 1, column 17"]),
    "NaN": (["run", "campaigns:campaign", "--input", '{"campaign_id": NaN}'], "PGF401", ["NaN"]),
    "duplicate key": (["run", "campaigns:campaign", "--input", '{"campaign_id": 1, "campaign_id": 2}'], "PGF401", ["campaign_id"]),
    "input of another type": (["run", "campaigns:campaign", "--input", '{"campaign_id": "x"}'], "PGF111", ["campaign_id"]),
    "missing input file": (["run", "campaigns:campaign", "--input", "@none.json"], "PGF401", ["none.json"]),
    "unknown module": (["run", "campaign:campaign"], "PGF401", ["no module 'campaign'"]),
    "module with a bug": (["run", "broken:campaign"], "PGF401", ["nothing_of_this_name"]),
    "unknown flow": (["run", "campaigns:campain"], "PGF401", ["did you mean 'campaign'"]),
    "several flows": (["run", "campaigns:"], "PGF401", []),
    "cyclic flow": (["run", "campaigns:cyclic"], "PGF101", ["cycle"]),
    "unknown slug": (["run", "campain", "--no-worker"], "PGF301", ["campain"]),
    "malformed run id": (["show", "not-a-run"], "PGF401", ["not-a-run", "pgflow runs"]),
    "unknown run": (["show", RUN], "PGF302", [RUN, "pgflow runs"]),
    "cancel unknown run": (["cancel", RUN], "PGF302", [RUN]),
    "retry unknown run": (["retry", RUN], "PGF302", [RUN]),
    "flows unknown": (["flows", "campain"], "PGF301", ["campain", "pgflow flows"]),
    "worker of unknown flow": (["worker", "campaigns:campain"], "PGF401", ["did you mean 'campaign'"]),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(BAD_INPUT))
def test_bad_input_is_refused_and_changes_nothing(case: str, pgflow: Here) -> None:
    arguments, code, parts = BAD_INPUT[case]
    before = state(pgflow.dsn)
    done = pgflow(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"pgflow: {code}"), done.err
    assert "Traceback" not in done.err
    for part in parts:
        assert part in done.err
    assert state(pgflow.dsn) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["runs", "--limit", "0"],
        ["runs", "--status", "odd"],
        ["nosuch"],
        ["runs", "--nosuch"],
    ],
)
def test_usage_errors_exit_with_2_on_standard_error(arguments: list[str], pgflow: Here) -> None:
    done = pgflow(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Usage: pgflow" in done.err


@pytest.fixture
def dead_port() -> Iterator[int]:
    with socket.socket() as bound:  # bound, but nobody listens
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


COMMANDS = [
    ["runs"],
    ["flows"],
    ["show", RUN],
    ["cancel", RUN],
    ["retry", RUN],
    ["run", "campaigns:campaign", "--input", '{"campaign_id": 1}'],
    ["worker", "campaigns:campaign"],
]


@pytest.mark.parametrize("arguments", [["init"], ["demo"], *COMMANDS])
def test_a_server_that_does_not_answer(arguments: list[str], pgflow: Here, dead_port: int) -> None:
    done = pgflow(*arguments, "--dsn", f"postgresql://postgres:secret@127.0.0.1:{dead_port}/x")
    refused(done, "PGF201", str(dead_port), "--dsn")
    assert "secret" not in done.err


@pytest.mark.parametrize("arguments", [["init"], ["runs"]])
def test_an_address_that_is_none(arguments: list[str], pgflow: Here) -> None:
    refused(pgflow(*arguments, "--dsn", "nonsense://x"), "PGF401", "postgresql://")


def test_a_database_without_the_schema(pgflow: Here, empty_database_url: str) -> None:
    for arguments in COMMANDS:
        refused(pgflow(*arguments, "--dsn", empty_database_url), "PGF202", "pgflow init")


def test_an_old_schema(pgflow: Here, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("delete from pgflow.schema_migrations where version > 0")
    for arguments in COMMANDS:
        refused(pgflow(*arguments, "--dsn", database_url), "PGF202", "pgflow init")


@pytest.fixture
def guest(shared_database_url: str) -> Iterator[str]:
    """Give the DSN of a role without any rights."""
    role = f"guest_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(shared_database_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("create role {} login password 'x'").format(sql.Identifier(role))
        )
        yield make_conninfo(shared_database_url, user=role, password="x")
        connection.execute(sql.SQL("drop owned by {}").format(sql.Identifier(role)))
        connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_role_without_rights(arguments: list[str], pgflow: Here, guest: str) -> None:
    before = state(pgflow.dsn)
    refused(pgflow(*arguments, "--dsn", guest), "PGF203")
    assert state(pgflow.dsn) == before


def test_init_by_a_role_without_rights(pgflow: Here, guest: str, empty_database_url: str) -> None:
    address = make_conninfo(empty_database_url, user=conninfo_to_dict(guest)["user"], password="x")  # fmt: skip
    refused(pgflow("init", "--dsn", address), "PGF203")
    with psycopg.connect(empty_database_url) as connection:
        found = connection.execute("select from pg_namespace where nspname in ('pgflow', 'pgmq')")
        assert found.fetchall() == []


def test_a_process_ends_the_same_way(directory: Path, shared_database_url: str) -> None:
    refused(Command(directory, shared_database_url)("show", RUN), "PGF302", RUN)


def test_debug_shows_the_traceback(directory: Path, shared_database_url: str) -> None:
    done = Command(directory, shared_database_url)("show", RUN, "--debug")
    assert done.code != 0
    assert "Traceback" in done.err
    assert "RunNotFound" in done.err

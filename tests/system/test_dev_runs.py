"""Which runs `pgflow dev` shows: all in progress, the latest, and those of plans."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgflow import Client, Database, Flow, FlowBuilder, Handlers, Plan
from pgflow.cli.dev import conclude, start_line
from pgflow.dev import board
from pgflow.dev.board import Runs
from tests.support.command import Command
from tests.support.dev_session import DevSession, write

if TYPE_CHECKING:
    from pathlib import Path

flow = Flow[int]("shown")
handlers = Handlers(queue="shown_plans")


@flow.step()
def first(number: int) -> int:
    return number


@handlers.register()
def double(number: int) -> int:
    return 2 * number


async def test_all_runs_in_progress_are_shown_and_each_end_of_them_is_told(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "MOST_LATEST", 2)
    monkeypatch.setattr(board, "MOST_TREES", 3)
    started = await Client(db).start_many(flow, list(range(5)))
    runs = Runs(db, conclude)
    running, ended = await runs.look(["shown"], [])
    assert {snapshot.run.run_id for snapshot in running} == {run.id for run in started}
    assert [len(snapshot.steps) for snapshot in running] == [1, 1, 1, 0, 0]
    assert ended == []
    for run in started:
        await run.cancel("enough")
    running, ended = await runs.look(["shown"], [])
    assert running == []
    assert {end.run.run_id for end in ended} == {run.id for run in started}
    _, ended = await runs.look(["shown"], [])
    assert len(ended) == 2, "the latest"


async def define_doubling(db: Database) -> None:
    """Store a plan as an agent elsewhere would."""
    step = {"slug": "twice", "handler": "double", "inputs": {"number": "run"}}
    plan = Plan.read({"slug": "doubling", "steps": [step]}, handlers)
    await FlowBuilder(db).define_plan(plan, handlers)


async def test_runs_of_plans_are_found_by_the_queues_of_their_handlers(db: Database) -> None:
    await define_doubling(db)
    run = await Client(db).start("doubling", 3)
    await Client(db).start(flow, 3)
    running, _ = await Runs(db, conclude).look([], handlers.queues)
    assert [snapshot.run.run_id for snapshot in running] == [run.id]


PLANS = """
from pgflow import Handlers

handlers = Handlers(queue="shown_plans")

@handlers.register()
def double(number: int) -> int:
    return 2 * number
"""


@pytest.mark.slow
async def test_handlers_of_plans_are_served_and_their_runs_shown(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    write(tmp_path / "plans.py", PLANS)
    await define_doubling(db)
    await asyncio.to_thread(serve_doubling, tmp_path, database_url)


def serve_doubling(directory: Path, database_url: str) -> None:
    with DevSession(Command(directory, database_url), "plans.py:handlers") as session:
        session.until(r"serving plans on shown_plans;")
        session.until(r"^  pgflow run PLAN --no-worker$")
        with psycopg.connect(database_url) as connection:
            connection.execute("select pgflow.start_flow('doubling', '21')")
        session.until(r'doubling \w{8} completed in .*: \{"twice": 42\}')
        session.interrupt()
        assert session.ended() == 0


@pytest.mark.parametrize(
    ("dsn", "end"),
    [
        (None, ""),
        ("postgresql://of_the_environment/x", ""),
        ("postgresql://a@b/c?connect_timeout=9", " --dsn 'postgresql://a@b/c?connect_timeout=9'"),
        ("postgresql://a:secret@b/c", " --dsn …"),
        ("host=b password=secret", " --dsn …"),
    ],
)
def test_the_command_for_another_terminal_has_the_address_and_no_password(
    dsn: str | None, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGFLOW_DSN", "postgresql://of_the_environment/x")
    line = start_line(["lib/app.py:hello"], ["hello"], dsn)
    assert line == f"pgflow run lib/app.py:hello --no-worker{end}"

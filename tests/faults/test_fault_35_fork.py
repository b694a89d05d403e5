"""Faults 35 and 62: a fork shares nothing with its parent, and is told so; every process has an id of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pgflow import Flow, Worker
from tests.support.worker_processes import ROOT, WorkerProcess, eventually, import_path

if TYPE_CHECKING:
    from pgflow.database import Database

SCRIPT = '''
import asyncio, json, os, sys
from pgflow import Client, Database, Flow, Worker, current_task
from pgflow.errors import UsageError

dsn, what = sys.argv[1:]
flow = Flow("forked", max_attempts=1)

@flow.step()
def first(_: object) -> int:
    return 1

@flow.step(depends_on=(first,))
def fork(_: int) -> str:
    task = current_task()
    return in_child(lambda: task.run_input if what == "run_input" else task.transaction())

def in_child(act):
    """Fork, and return what the child's act raised."""
    read, write = os.pipe()
    if os.fork() == 0:
        try:
            text = f"no error: {act()}"
        except UsageError as error:
            text = str(error)
        except BaseException as error:
            text = repr(error)
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with open(read) as pipe:
        return pipe.read()

def act(database, worker):
    match what:
        case "Database": asyncio.run(database.run_status("00000000-0000-0000-0000-000000000001"))
        case "listener": asyncio.run(database.connect_listener())
        case "Client": asyncio.run(Client(database).start(flow, None))
        case "Worker": asyncio.run(worker.run())

async def main():
    async with Database.connect(dsn) as database:
        await database.flow_slugs()
        await database.connect_listener()
        worker = Worker(dsn, flow)
        print(await asyncio.to_thread(in_child, lambda: act(database, worker)))
        # The parent's own connections are as they were.
        print(await database.flow_slugs())

async def handler():
    async with Database.connect(dsn) as database:
        run = await Client(database).start(flow, None)
        worker = asyncio.create_task(Worker(database, flow).run_until(run.id))
        await worker
        (task,) = await database.tasks(run.id, "fork")
        print(task.output.parse())

asyncio.run(handler() if what in ("run_input", "transaction") else main())
'''


def run(dsn: str, what: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, dsn, what],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": import_path()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("what", ["Database", "Client", "listener"])
def test_fault_35_a_database_that_was_opened_before_a_fork_refuses_its_child(
    database_url: str, what: str
) -> None:
    said = run(database_url, what)
    assert said.startswith("PGF401: this Database was opened in another process")
    assert "Open one in each process" in said
    assert said.endswith("\n[]\n")


def test_fault_35_62_a_worker_that_was_made_before_a_fork_refuses_its_child(
    database_url: str,
) -> None:
    said = run(database_url, "Worker")
    assert said.startswith("PGF401: this Worker was made in another process")
    assert said.endswith("\n[]\n")


@pytest.mark.parametrize("what", ["transaction", "run_input"])
def test_fault_35_a_process_that_a_handler_forked_has_no_context(
    database_url: str, what: str
) -> None:
    assert "in a process that a handler has forked" in run(database_url, what)


async def test_fault_62_every_worker_has_a_new_id_whenever_it_starts(
    db: Database, database_url: str
) -> None:
    flow: Flow[Any] = Flow("named")
    flow.step(name="task")(lambda _: 1)
    assert Worker(db, flow).worker_id != Worker(db, flow).worker_id
    for count in (1, 2):
        with WorkerProcess(database_url, "crashing"):

            async def registered(count: int = count) -> bool:
                return len(await db.workers()) == count

            await eventually(registered)
    first, second = await db.workers()
    assert first.worker_id != second.worker_id
    assert first.pid != second.pid

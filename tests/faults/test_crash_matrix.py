"""The crash matrix: named points of a worker's way, what happens there, and the kind of step it is at.

One test is a fault and a kind of step; its cells, one a crash point, live at the same time, each with a worker process,
a flow and a proxy of its own. In every cell the run completes, each task has one accepted result, that of the attempt
whose effect is in the journal, and what was written in a task's transaction stands there once.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgflow.database import Database
from pgflow.embedded import EmbeddedServer
from pgflow.schema import install
from tests.support.crash_flows import KINDS, LEDGER, effects
from tests.support.crash_matrix import (
    FAULTS,
    LATE,
    PATIENCE,
    PLAIN,
    TRANSACTIONAL,
    Cell,
    Matrix,
)
from tests.support.nursery import Nursery
from tests.support.servers import SETTINGS
from tests.support.worker_processes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    directory = Path(tempfile.mkdtemp(prefix="pgflow-tests-"))
    with Nursery("tests.support.crash_flows:work", directory) as nursery:
        yield nursery
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def own_server() -> Iterator[EmbeddedServer]:
    directory = Path(tempfile.mkdtemp(prefix="pgflow-tests-"))
    server = EmbeddedServer.ensure(directory, settings=SETTINGS)
    install(server.dsn)
    with psycopg.connect(server.dsn) as connection:
        connection.execute(LEDGER)
    yield server
    server.stop("immediate")
    server.close()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_worker_meets(
    fault: str, kind: str, nursery: Nursery, request: pytest.FixtureRequest
) -> None:
    points = TRANSACTIONAL if "transaction" in kind else PLAIN
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgflow-tests-")))
        server: EmbeddedServer | None = None
        if fault == "stop":
            own: EmbeddedServer = request.getfixturevalue("own_server")
            server, dsn = own, own.dsn
        else:
            dsn = request.getfixturevalue("database_url")
            with psycopg.connect(dsn) as connection:
                connection.execute(LEDGER)
        matrix = Matrix(dsn, nursery, stack, directory=directory, fault=fault, kind=kind)
        async with Database.connect(dsn) as db:
            cells = [await matrix.begin(db, point) for point in points]
            await brought_about(db, matrix, cells, fault, server)
        if fault in {"kill", "term"}:
            matrix.start([[kind, cell.slug] for cell in cells])
        async with Database.connect(dsn) as db:
            for cell in cells:
                await holds(db, cell, fault, kind, matrix.journal)


async def brought_about(
    db: Database, matrix: Matrix, cells: list[Cell], fault: str, server: EmbeddedServer | None
) -> None:
    """Wait until the fault has happened in every cell."""

    async def have_fired() -> bool:
        waiting = [cell for cell in cells if not (cell.armed and cell.armed[0].fired.is_set())]
        for cell in waiting:
            # Whoever has nothing left to report makes a claim, then.
            if cell.armed and cell.point in LATE:
                async with db.connection() as connection:
                    await connection.execute("select pg_notify('pgflow_wake', %s)", [cell.slug])
        return not waiting

    match fault:
        case "kill" | "term":
            expected = -signal.SIGKILL if fault == "kill" else 0
            await eventually(lambda: all(cell.victim.ended.is_set() for cell in cells), PATIENCE)
            for cell in cells:
                assert cell.victim.code == expected, (cell.point, cell.victim.log.read_text())
        case "stop":
            assert server is not None
            await eventually(lambda: all(one.asked.is_set() for one in matrix.meetings), PATIENCE)
            server.stop("immediate")
            server.start()
            matrix.restarted.set()
        case _:
            await eventually(have_fired, PATIENCE)


async def holds(db: Database, cell: Cell, fault: str, kind: str, journal: Path) -> None:
    """Check one cell of the matrix."""
    run_id = cell.stage.run_id
    await cell.stage.finish(db)

    async def is_over() -> bool:
        status = await db.run_status(run_id)
        return status is not None and status.is_final

    await eventually(is_over, PATIENCE)
    run = await db.run(run_id)
    assert run is not None
    assert run.status == "completed", (cell.point, run.error_message)
    tasks = await db.tasks(run_id, "target")
    recorded = await db.attempts(run_id)
    done = effects(journal, run_id)
    for task in tasks:
        index, fence = task.task_index, task.attempts_count
        assert task.status == "completed", cell
        assert task.output is not None
        assert task.output.parse() == [7 * index + 1, fence], cell
        accepted = [
            one.attempt
            for one in recorded
            if (one.step_slug, one.task_index, one.outcome) == ("target", index, "completed")
        ]
        assert accepted == [fence], cell
        own = [found for _, number, found in done if number == index]
        assert len(own) == len(set(own)), "an attempt runs once"
        assert not own or fence in own, cell
    assert len({index for _, index, _ in done}) == 1, "the target has an effect; others were staged"
    output = run.output and run.output.parse()
    values = [task.output.parse() for task in tasks if task.output is not None]
    expected = values if "item" in kind else values[0]
    assert output == ({"after": 2} if kind == "single" else {"target": expected}), cell
    fences = [task.attempts_count for task in tasks]
    if "transaction" in kind:
        async with db.connection() as connection:
            query = "select step, fence from public.ledger where run_id = %s"
            written = await (await connection.execute(query, [run_id])).fetchall()
        assert written == [("target", fences[0])], "exactly once"
    if (grants := expected_grants(fault, kind, cell.point)) is not None:
        assert sum(fences) == len(fences) + grants - 1, (cell, fences)
    async with db.connection() as connection:
        query = "select invariant, detail from pgflow.check_invariants(array[%s])"
        assert await (await connection.execute(query, [run_id])).fetchall() == [], cell


def expected_grants(fault: str, kind: str, point: str) -> int | None:
    """Return how often the task that met the fault is granted, where it is certain."""
    match fault:
        case "kill":
            return 1 if point in {"before_claim", "after_complete", "after_commit"} else 2
        case "lost_reply":
            return 2 if point == "before_claim" else 1
        case "cut" if "transaction" not in kind:
            return 1
        case _:
            return None

"""Supervisor: keeps worker processes running, restarts them, and ends with them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from pgflow import Supervisor
from pgflow.errors import PgflowError
from tests.support.worker_flows import crashing, mapped, printing, read_journal
from tests.support.worker_processes import (
    ROOT,
    eventually,
    finished,
    import_path,
    is_alive,
    start,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pgflow.database import Database

MAPPED = "tests.support.worker_flows:mapped"
CRASHING = "tests.support.worker_flows:crashing"


@pytest.fixture(autouse=True)
def quick_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgflow.supervisor.FIRST_PAUSE", 0.05)


async def test_processes_share_the_work_and_drain_at_the_end(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    setting = {"journal": str(journal), "count": 60, "sleep": 0.02}
    async with Supervisor(MAPPED, processes=2, dsn=database_url, concurrency=2) as supervisor:
        await supervisor.ready()
        assert len(supervisor.workers) == 2
        run_id = await start(db, mapped, setting)
        assert await finished(db, run_id) == {"collected": sum(range(60))}
        pids = supervisor.pids.values()
    workers = {line[4] for line in read_journal(journal)}
    assert {str(worker.worker_id) for worker in await db.workers()} == workers
    assert len(workers) == 2
    assert not any(is_alive(pid) for pid in pids)
    assert [w.status for w in await db.workers()] == ["stopped", "stopped"]


async def test_killed_child_is_replaced_and_nothing_is_lost(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    setting = {"journal": str(tmp_path / "journal"), "count": 60, "sleep": 0.02}
    async with Supervisor(
        MAPPED, processes=2, dsn=database_url, concurrency=2, lease=2
    ) as supervisor:
        await supervisor.ready()
        before = supervisor.pids
        run_id = await start(db, mapped, setting)
        await eventually(lambda: len(read_journal(tmp_path / "journal")) > 10)
        os.kill(before[0], signal.SIGKILL)
        assert await finished(db, run_id) == {"collected": sum(range(60))}
        await eventually(lambda: len(supervisor.workers) == 2)
        assert supervisor.restarts == 1
        assert supervisor.pids[1] == before[1]
        assert supervisor.pids[0] != before[0]
    assert len(await db.workers()) == 3


@pytest.mark.parametrize("how", ["deprecated", "SIGTERM"])
async def test_a_worker_that_was_asked_to_end_is_replaced(
    db: Database, database_url: str, how: str, tmp_path: Path
) -> None:
    # An idle worker looks after itself every 25 s.
    (tmp_path / "lively.py").write_text(
        "import pgflow._leases\n"
        "from tests.support.worker_flows import mapped\n"
        "pgflow._leases.IDLE_HEARTBEAT = 0.2\n"
    )
    target = f"{tmp_path / 'lively.py'}:mapped"
    async with Supervisor(target, processes=1, dsn=database_url, lease=2) as supervisor:
        await supervisor.ready()
        (first,) = supervisor.workers.values()
        pid = supervisor.pids[0]
        if how == "SIGTERM":
            os.kill(pid, signal.SIGTERM)
        else:
            async with db.connection() as connection:
                await connection.execute("update pgflow.workers set deprecated_at = now()")
        await eventually(lambda: supervisor.restarts == 1 and supervisor.workers)
        assert supervisor.pids[0] != pid
        assert first not in supervisor.workers.values()
        statuses = {worker.worker_id: worker.status for worker in await db.workers()}
        assert statuses.pop(first) == "stopped"
        assert list(statuses.values()) == ["running"]
        assert supervisor.error is None


async def test_restarts_back_off(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    class Logged:
        def warning(self, text: str, *arguments: Any) -> None:
            waits.append(arguments[-1])

        error = info = warning

    monkeypatch.setattr("pgflow.supervisor._log", Logged())

    async def restarted(count: int) -> None:
        await eventually(lambda: supervisor.restarts == count)

    async with Supervisor(CRASHING, processes=1, dsn=database_url) as supervisor:
        for count in range(1, 4):
            await eventually(lambda: len(supervisor.workers) == 1)
            os.kill(supervisor.pids[0], signal.SIGKILL)
            await restarted(count)
    assert 0.03 < waits[0] < 0.07
    assert 0.07 < waits[1] < 0.13
    assert 0.15 < waits[2] < 0.26


async def test_silent_child_is_killed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgflow._child.SECOND_LOOK", 0.1)
    supervisor = Supervisor(CRASHING, processes=1, dsn=database_url, silent_after=3)
    async with supervisor:
        await supervisor.ready()
        pid = supervisor.pids[0]
        os.kill(pid, signal.SIGSTOP)
        await eventually(lambda: supervisor.restarts == 1)
        assert not is_alive(pid)


async def test_bad_target_stops_all_with_a_message(database_url: str) -> None:
    supervisor = Supervisor("tests.support.worker_flows:mappet", processes=2, dsn=database_url)
    code = await supervisor.run_async()
    assert code == 2
    assert supervisor.restarts == 0
    assert "did you mean 'mapped'?" in (supervisor.error or "")


async def test_server_that_does_not_answer_stops_all_with_a_message() -> None:
    dsn = "postgresql://nobody@127.0.0.1:1/nothing"
    async with Supervisor(CRASHING, processes=1, dsn=dsn) as supervisor:
        with pytest.raises(PgflowError, match="PGF201"):
            await supervisor.ready()


async def test_second_stop_kills_what_does_not_end(
    db: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow.supervisor.KILL_AFTER", 0.2)
    async with Supervisor(CRASHING, processes=1, dsn=database_url) as supervisor:
        await supervisor.ready()
        pid = supervisor.pids[0]
        os.kill(pid, signal.SIGSTOP)
        begin = time.monotonic()
        supervisor.stop()
        supervisor.stop()
        assert supervisor._running is not None
        assert await supervisor._running == 1
        assert time.monotonic() - begin < 10
        assert not is_alive(pid)


async def test_what_children_print_goes_where_it_is_asked_for(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    read_end, write_end = os.pipe()
    flows = "tests.support.worker_flows"
    async with Supervisor(f"{flows}:printing", dsn=database_url, output=write_end) as supervisor:
        await supervisor.ready()
        assert supervisor.flows == ["printing"]
        run_id = await start(db, printing, 30)
        await finished(db, run_id)
    os.close(write_end)
    with os.fdopen(read_end) as printed:
        lines = printed.read().splitlines()
    expected = {f"line of {number}" for number in range(30)}
    assert expected <= set(lines), "whole lines, although threads print side by side"


async def test_a_stopped_child_is_quiet_before_it_has_drained(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    hold = tmp_path / "journal.hold"
    hold.touch()
    async with Supervisor(CRASHING, processes=1, dsn=database_url) as supervisor:
        await supervisor.ready()
        run_id = await start(db, crashing, {"journal": str(tmp_path / "journal")})
        await eventually(lambda: read_journal(tmp_path / "journal"))
        supervisor.stop()
        async with asyncio.timeout(30):
            await supervisor.quiet()
        assert supervisor.pids, "it still performs its task"
        hold.unlink()
        assert supervisor._running is not None
        assert await supervisor._running == 0
    assert await finished(db, run_id) == {"effect": 1}


async def test_kill_waits_for_nothing(db: Database, database_url: str, tmp_path: Path) -> None:
    (tmp_path / "journal.hold").touch()
    supervisor = Supervisor(CRASHING, processes=1, dsn=database_url, drain_timeout=100)
    async with supervisor:
        await supervisor.ready()
        pid = supervisor.pids[0]
        await start(db, crashing, {"journal": str(tmp_path / "journal")})
        await eventually(lambda: read_journal(tmp_path / "journal"))
        supervisor.kill()
        assert supervisor._running is not None
        async with asyncio.timeout(30):
            assert await supervisor._running == 1
        assert not is_alive(pid)


SCRIPT = """
import sys
from pgflow import Supervisor
sys.exit(Supervisor("tests.support.worker_flows:crashing", processes=2, dsn=sys.argv[1]).run())
"""


class TestProcess:
    """The supervisor as a process of its own."""

    @pytest.fixture
    async def process(self, db: Database, database_url: str) -> Any:
        process = subprocess.Popen(  # noqa: ASYNC220 - the test waits in threads
            [sys.executable, "-c", SCRIPT, database_url],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": import_path()},
            stderr=subprocess.DEVNULL,
        )

        async def both_registered() -> bool:
            return len(await db.workers()) == 2

        await eventually(both_registered)
        yield process
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()

    async def test_fault_34_sigterm_drains_all_children(
        self, db: Database, process: subprocess.Popen[bytes], tmp_path: Path
    ) -> None:
        hold = tmp_path / "journal.hold"
        hold.touch()
        run_id = await start(db, crashing, {"journal": str(tmp_path / "journal")})
        await eventually(lambda: read_journal(tmp_path / "journal"))
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, 0.5)
        hold.unlink()
        assert await asyncio.to_thread(process.wait, 30) == 0
        assert await finished(db, run_id) == {"effect": 1}
        assert {w.status for w in await db.workers()} == {"stopped"}

    async def test_children_end_with_their_supervisor(
        self, db: Database, process: subprocess.Popen[bytes]
    ) -> None:
        pids = [worker.pid for worker in await db.workers() if worker.pid is not None]
        assert len(pids) == 2
        assert all(is_alive(pid) for pid in pids)
        process.kill()
        await eventually(lambda: not any(is_alive(pid) for pid in pids))
        assert {w.status for w in await db.workers()} == {"stopped"}

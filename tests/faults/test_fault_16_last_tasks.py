"""Fault 16: the last tasks of a map end at the same time in several processes; the step completes once."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.support.worker_flows import mapped, read_journal
from tests.support.worker_processes import WorkerProcess, finished, start

if TYPE_CHECKING:
    from pathlib import Path

    from pgflow.database import Database

COUNT = 24
RUNS = 5


async def test_fault_16_four_processes_share_maps_and_each_step_completes_once(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    async with db.connection() as connection:
        await connection.execute("create table public.completions (run_id uuid, step_slug text)")
        await connection.execute("""
          create function public.note() returns trigger language plpgsql as $$
          begin
            insert into public.completions values (new.run_id, new.step_slug);
            return null;
          end $$""")
        await connection.execute("""
          create trigger note after update on pgflow.step_states for each row
          when (new.status = 'completed' and old.status <> 'completed')
          execute function public.note()""")
    with ExitStack() as stack:
        for _ in range(4):
            # A slot a process: the last four tasks of a map run in four processes.
            stack.enter_context(WorkerProcess(database_url, "mapped", concurrency=1))
        setting = {"journal": str(journal), "count": COUNT, "sleep": 0.01}
        runs = [await start(db, mapped, setting) for _ in range(RUNS)]
        for run_id in runs:
            assert await finished(db, run_id) == {"collected": sum(range(COUNT))}
    lines = read_journal(journal)
    assert len(lines) == COUNT * RUNS
    assert {line[2] for line in lines} == {"1"}, "each task was granted once"
    assert len({line[4] for line in lines}) == 4, "every worker did a share"
    async with db.connection() as connection:
        cursor = await connection.execute(
            "select step_slug, count(*) from public.completions group by 1 order by 1"
        )
        completions = await cursor.fetchall()
        cursor = await connection.execute(
            "select count(*) from pgflow.step_states where remaining_tasks <> 0 or remaining_deps <> 0"
        )
        unfinished = await cursor.fetchone()
    assert completions == [("collected", RUNS), ("item", RUNS), ("numbers", RUNS)]
    assert unfinished == (0,)

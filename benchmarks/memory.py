"""Watches memory and CPU time of workers and of the server's processes while something runs."""

from __future__ import annotations

import os
import re
import threading
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from benchmarks.stage import OBSERVER, observing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import psycopg

INTERVAL = 0.25
"""Seconds between two looks."""
SHARES_EVERY = 8
"""Looks between two at the proportional size, which costs the watched process a moment."""
WORKING = frozenset({"worker", "client backend"})
FUNCTION = re.compile(r"pgflow\.([a-z]\w+)\(")

ACTIVITY = """select pid, backend_type, application_name, query from pg_stat_activity
  where (datname = current_database() or backend_type in ('checkpointer', 'background writer', 'walwriter'))
    and application_name <> %s"""


@dataclass(slots=True)
class Memory:
    """The peaks of one process, in bytes; 0 where the system does not tell."""

    pid: int
    kind: str
    """`worker`, or the server's word for the process."""
    calls: set[str] = field(default_factory=set)
    """The SQL functions that it was seen at."""
    resident: int = 0
    """Peak of all resident pages, by the kernel; of a backend, the shared buffers that it has touched are a part."""
    own: int = 0
    """Largest seen of the pages that are nobody else's: neither files nor shared memory."""
    proportional: int = 0
    """Largest seen with shared pages divided by the processes that have them."""
    cpu: float = 0.0
    """Seconds of CPU since its start."""

    def look(self, *, shares: bool) -> None:
        """Read the process's figures."""
        found = sizes(_read(f"/proc/{self.pid}/status"))
        self.resident = max(self.resident, found.get("VmHWM", 0))
        self.own = max(self.own, found.get("RssAnon", 0))
        self.cpu = max(self.cpu, _cpu(_read(f"/proc/{self.pid}/stat")))
        if shares:
            rollup = sizes(_read(f"/proc/{self.pid}/smaps_rollup"))
            self.proportional = max(self.proportional, rollup.get("Pss", 0))


class MemoryWatch:
    """Looks at the workers given and at all processes of the server that serve a database, in a thread."""

    def __init__(self, dsn: str, worker_pids: Sequence[int]) -> None:
        self._dsn = dsn
        self._found = {pid: Memory(pid, "worker") for pid in worker_pids}
        self._clock: list[tuple[float, float]] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def of(self, kind: str) -> list[Memory]:
        """Return the processes of a kind, the largest first."""
        found = [memory for memory in self._found.values() if memory.kind == kind]
        return sorted(found, key=lambda memory: -memory.resident)

    def all(self) -> list[Memory]:
        """Return all, kind by kind."""
        kinds = sorted({memory.kind for memory in self._found.values()}, reverse=True)
        return [memory for kind in kinds for memory in self.of(kind)]

    def cpu(self, begin: float, end: float) -> float:
        """Return the seconds of CPU that workers and backends spent between two moments since the epoch."""
        return _at(self._clock, end) - _at(self._clock, begin)

    def _watch(self) -> None:
        looks = 0
        with observing(self._dsn) as connection:
            while not self._ending.wait(INTERVAL):
                self._note(connection)
                for memory in self._found.values():
                    memory.look(shares=looks % SHARES_EVERY == 0)
                spent = sum(m.cpu for m in self._found.values() if m.kind in WORKING)
                self._clock.append((time.time(), spent))
                looks += 1

    def _note(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        rows: Iterable[tuple[int, str, str, str]] = connection.execute(ACTIVITY, [OBSERVER])
        for pid, kind, _, query in rows:
            memory = self._found.setdefault(pid, Memory(pid, kind))
            memory.calls.update(FUNCTION.findall(query or ""))


def sizes(text: str) -> dict[str, int]:
    """Return the sizes in a file of /proc, in bytes, by their names."""
    found = re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
    return {name: int(number) * 1024 for name, number in found}


def _cpu(stat: str) -> float:
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _at(clock: Sequence[tuple[float, float]], moment: float) -> float:
    """Return a growing figure at a moment, between the readings around it."""
    after = bisect_left(clock, moment, key=lambda reading: reading[0])
    if after in {0, len(clock)}:
        return clock[min(after, len(clock) - 1)][1]
    (begin, low), (end, high) = clock[after - 1], clock[after]
    return low + (high - low) * (moment - begin) / (end - begin)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""

"""What processes cost, read from /proc; zero on systems without it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PARENT, _USER, _SYSTEM, _REAPED_USER, _REAPED_SYSTEM = 1, 11, 12, 13, 14
"""Fields of /proc/<pid>/stat after the command."""


def tree_cpu(pids: Iterable[int]) -> float:
    """Return the CPU seconds of processes and all that they have started, also of children that have ended."""
    ticks = 0
    for pid in pids:
        for stat in _family(pid):
            ticks += sum(stat[i] for i in (_USER, _SYSTEM, _REAPED_USER, _REAPED_SYSTEM))
    return ticks / os.sysconf("SC_CLK_TCK")


def parent_of(pid: int) -> int | None:
    """Return the process that started this one, if that can be told."""
    stat = _stat(pid)
    return stat[_PARENT] if stat else None


def peak_rss(pid: int) -> int:
    """Return the most bytes of memory that a process has held at once."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith("VmHWM:")), 0)


def _family(pid: int) -> Iterator[list[int]]:
    if stat := _stat(pid):
        yield stat
        for child in _children(pid):
            yield from _family(child)


def _children(pid: int) -> list[int]:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(x) for t in threads for x in (t / "children").read_text().split()]
    except OSError:
        return []


def _stat(pid: int) -> list[int]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [0, *map(int, fields[1:])]

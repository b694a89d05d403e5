"""How much slower than at its best this machine is, measured beside the hunt."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Self

WORK = """
import time
while True:
    begin = time.perf_counter()
    for _ in range(20_000):
        pass
    print(time.perf_counter() - begin, flush=True)
    time.sleep(0.1)
"""


class Strain:
    """Measures, in a process of its own, how long a piece of work takes that needs a millisecond by itself."""

    def __init__(self) -> None:
        self._times: list[float] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", WORK], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._thread = threading.Thread(target=self._read, name="strain", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def mark(self) -> int:
        """Return a mark for `since`."""
        return len(self._times)

    def since(self, mark: int) -> float:
        """Return the average time since a mark over the best time ever; 1 while nothing was measured."""
        times = self._times[mark:]
        return sum(times) / len(times) / min(self._times) if times else 1.0

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._times.append(float(line))

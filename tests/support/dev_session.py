"""`pgflow dev` as a test uses it: a process in a pipe, whose lines can be waited for."""

from __future__ import annotations

import fcntl
import os
import queue
import re
import signal
import subprocess
import termios
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psycopg

if TYPE_CHECKING:
    from tests.support.command import Command

PATIENCE = 90.0


class DevSession:
    """Starts `pgflow dev`; kills it at the end of the block, should it still live."""

    def __init__(self, pgflow: Command, *arguments: str) -> None:
        self._process = subprocess.Popen(
            pgflow.line("dev", *arguments),
            cwd=pgflow.directory,
            env=pgflow.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.text = ""
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)

    def until(self, pattern: str) -> re.Match[str]:
        """Wait for a line of which a part matches; lines before it are gone then."""
        deadline = time.monotonic() + PATIENCE
        while True:
            line = self._next(deadline)
            assert line is not None, f"it ended without {pattern!r}:\n{self.text}"
            if found := re.search(pattern, line):
                return found

    def _next(self, deadline: float) -> str | None:
        try:
            line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise AssertionError(f"not within {PATIENCE} s, only:\n{self.text}") from None
        self.text += line or ""
        return line

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def ended(self) -> int:
        """Wait for its end; return the exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._next(deadline) is not None:
            pass
        return self._process.wait(PATIENCE)


def write(path: Path, text: str) -> None:
    """Replace a file in one step, as editors do."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def worker_pids(dsn: str) -> dict[int, str]:
    """Return process id -> status of all workers that the database has seen."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("select pid, status from pgflow.worker_summary").fetchall()
    return dict(rows)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


def wait_for(path: Path) -> None:
    """Wait until another process has made the file."""
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.05)


def take_terminal() -> None:
    """Make standard input this process's terminal, so that Ctrl-C is a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)

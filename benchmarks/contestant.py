"""Drives one engine of the comparison: its host process, commands and answers as JSON lines, with a time limit."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".venv-peers"
"""Where `make bench-peers` installs the peers' packages."""
NODE_PACKAGES = PEERS / "node"
OUR_NAME = "ours"
TAIL = 400
"""Characters of a host's last words that are shown."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An engine that takes part."""

    name: str
    label: str
    store: str = "PostgreSQL"

    @property
    def needs_redis(self) -> bool:
        """Tell whether it keeps its state in Redis."""
        return self.store == "Redis"

    def missing(self) -> str | None:
        """Return why it cannot run here, if so."""
        if self.name == OUR_NAME:
            return None
        if self.name == "bullmq":
            if shutil.which("node") is None:
                return "no node: apt-get install nodejs npm"
            found = (NODE_PACKAGES / "node_modules" / "bullmq").exists()
            return None if found else "not installed: make bench-peers installs it with npm"
        if not (PEERS / "bin" / "python").exists():
            return "no .venv-peers: make bench-peers makes it"
        pattern = f"lib/python*/site-packages/{self.name.replace('absurd', 'absurd_sdk')}"
        if not list(PEERS.glob(pattern)):
            return "not installed: .venv-peers has no such package (oban needs Python 3.12)"
        return None

    def command(self, url: str) -> list[str]:
        """Return what starts its host."""
        if self.name == "bullmq":
            return ["node", str(ROOT / "benchmarks" / "peers" / "bullmq.mjs"), url]
        python = sys.executable if self.name == OUR_NAME else str(PEERS / "bin" / "python")
        return [python, "-m", "benchmarks.peers.host", self.name, url]


ENTRIES: Sequence[Entry] = (
    Entry(OUR_NAME, "py-pgflow"),
    Entry("pgqueuer", "pgqueuer"),
    Entry("oban", "oban"),
    Entry("absurd", "absurd"),
    Entry("procrastinate", "procrastinate"),
    Entry("dbos", "DBOS"),
    Entry("bullmq", "BullMQ", "Redis"),
    Entry("celery", "Celery", "Redis"),
)


class ContestantFailed(Exception):  # noqa: N818 - a finding, shown in the tables
    """An engine answered with an error, or died."""


class TooSlow(Exception):  # noqa: N818 - a finding, shown in the tables
    """An engine did not answer within the time limit."""


class Contestant:
    """An engine's host process on one empty store; everything that it started ends with it."""

    def __init__(self, command: Sequence[str], url: str) -> None:
        environment = {
            **os.environ,
            "PEERS_URL": url,
            "PEERS_NODE": str(NODE_PACKAGES),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
        }
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The group has the worker processes too, whatever state the host is in.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        self._errors.close()

    def ask(self, do: str, timeout: float, **parameters: Any) -> Any:
        """Give a command and return what is answered within `timeout` seconds, else raise TooSlow.

        Raises ContestantFailed for an error or no answer at all.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **parameters}).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ContestantFailed(self._last_words()) from None
        answer = json.loads(self._line(do, timeout))
        if "error" in answer:
            raise ContestantFailed(f"{do}: {answer['error']}")
        return answer["ok"]

    def _line(self, do: str, timeout: float) -> bytes:
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._received:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TooSlow(f"{do}: no answer in {timeout:.0f} s")
                chunk = os.read(self._process.stdout.fileno(), 1 << 20)
                if not chunk:
                    raise ContestantFailed(f"{do}: {self._last_words()}")
                self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _last_words(self) -> str:
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        return f"the host ended: {said[-TAIL:] or 'it said nothing'}"

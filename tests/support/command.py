"""The command `pgflow` as its user calls it: a process, its exit code, what it prints where.

`Here` calls it inside the test's process instead, for the many small cases: a process takes a second of CPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return standard output, which is one JSON document and nothing else."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Command:
    """Calls the command in a directory, for a database."""

    directory: Path
    dsn: str | None

    def __call__(self, *arguments: str, given: str | None = None, timeout: float = 60) -> Done:
        done = subprocess.run(
            self.line(*arguments),
            cwd=self.directory,
            env=self.environment(),
            input=given,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command and leave it to the test."""
        return subprocess.Popen(
            self.line(*arguments),
            cwd=self.directory,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self, *arguments: str) -> list[str]:
        """Return the command line."""
        return [sys.executable, "-m", "pgflow", *arguments]

    def environment(self) -> dict[str, str]:
        """Return the environment of a user with PGFLOW_DSN set, or without."""
        environment = {name: value for name, value in os.environ.items() if name != "PGFLOW_DSN"}
        return environment if self.dsn is None else {**environment, "PGFLOW_DSN": self.dsn}


@dataclass(frozen=True)
class Here:
    """Calls the command's entry point in the test's own process."""

    dsn: str
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Done:
        from pgflow.cli.app import main

        self.capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PGFLOW_DSN", self.dsn)
            with pytest.raises(SystemExit) as end:
                main(arguments)
        printed = self.capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Done(end.value.code, printed.out, printed.err)

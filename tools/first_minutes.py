"""A new user's first minutes, timed: from an empty folder and a fresh virtual environment to a finished run.

`python tools/first_minutes.py [--rounds 3] [--json]` builds a wheel of this checkout, installs it with its dependencies from
the package index, then types what the README tells to type, each round in a new folder: so each has a new PostgreSQL.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
COMPLETED = re.compile(r"^[\d:]+  hello \w+ completed in ")
INSTALL, NEW, RUN = "pip install 'py-pgflow[dev]'", "pgflow new hello", "python app.py"
DEV = "pgflow dev app.py --run"
GOAL = 10.0
"""Seconds from nothing to a finished run, the install apart."""


@dataclass
class Figures:
    """What each command took, in each round."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    cpu_seconds: dict[str, list[float]] = field(default_factory=dict)
    """Of the command itself, without the server: on a busy machine it tells more than the clock."""

    @contextmanager
    def take(self, name: str, *, ends: bool = True) -> Iterator[None]:
        """Measure what is done in the block; the processor time only of a process that ends in it."""
        began, before = time.monotonic(), _cpu()
        yield
        self.seconds.setdefault(name, []).append(round(time.monotonic() - began, 2))
        if ends:
            self.cpu_seconds.setdefault(name, []).append(round(_cpu() - before, 2))

    @property
    def to_a_finished_run(self) -> list[float]:
        """Seconds from the end of the install to the output of the first run."""
        pairs = zip(self.seconds[NEW], self.seconds[RUN], strict=True)
        return [round(sum(pair), 2) for pair in pairs]


class User:
    """Types commands in a fresh virtual environment."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.figures = Figures()
        hidden = {"PGFLOW_DSN", "PYTHONPATH", "VIRTUAL_ENV"}
        self._environment = {n: value for n, value in os.environ.items() if n not in hidden}
        path = f"{place / 'venv' / 'bin'}{os.pathsep}{self._environment['PATH']}"
        self._environment["PATH"] = path

    def install(self) -> None:
        """Build a wheel of the checkout and install it, dependencies included."""
        venv.create(self.place / "venv", with_pip=True)
        quiet = "--quiet --disable-pip-version-check"
        here = shlex.quote(str(self.place))
        wheel_of = f"pip wheel {quiet} --no-deps --wheel-dir {here} {shlex.quote(str(ROOT))}"
        self.type("(build the wheel)", wheel_of, self.place)
        (wheel,) = self.place.glob("py_pgflow-*.whl")
        what = shlex.quote(f"py-pgflow[dev] @ {wheel.as_uri()}")
        self.type(INSTALL, f"pip install {quiet} {what}", self.place)

    def type(self, name: str, command: str, directory: Path) -> str:
        """Run a command to its end; return what it printed."""
        with self.figures.take(name):
            done = subprocess.run(
                shlex.split(command),
                cwd=directory,
                env=self._environment,
                check=False,
                text=True,
                capture_output=True,
            )
        if done.returncode:
            sys.exit(f"{command} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def round(self, number: int) -> None:
        """Come to a finished run twice, each time from an empty folder: by a script, and while developing."""
        for way in ("script", "dev"):
            folder = self.place / f"{way}{number}"
            folder.mkdir()
            self.type(NEW if way == "script" else f"{NEW} ", NEW, folder)
            if way == "dev":
                self.develop(folder / "hello")
                continue
            printed = self.type(RUN, RUN, folder / "hello")
            if printed.splitlines()[-1] != "Hello Ada! Hello Grace! Hello Edsger!":
                sys.exit(f"not what was expected:\n{printed}")
            self.type(f"{RUN} (again)", RUN, folder / "hello")

    def develop(self, project: Path) -> None:
        """Take the time to the end of the first run; then press Ctrl-C."""
        with subprocess.Popen(
            shlex.split(DEV),
            cwd=project,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            with self.figures.take(f"{DEV} (to its run's end)", ends=False):
                if not any(map(COMPLETED.match, process.stdout)):
                    sys.exit("pgflow dev completed no run")
            with self.figures.take("(from Ctrl-C to its end)", ends=False):
                process.send_signal(signal.SIGINT)
                if process.wait():
                    sys.exit("pgflow dev failed")


def main() -> int:
    """Do it, print what each command took; return 0 if the goal is reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    # A short path, for the sake of the server's socket in it.
    with tempfile.TemporaryDirectory(prefix="pgflow-first-") as place:
        user = User(Path(place))
        user.install()
        for number in range(options.rounds):
            user.round(number)
    figures = user.figures
    if options.json:
        print(json.dumps({**asdict(figures), "to_a_finished_run": figures.to_a_finished_run}))
    else:
        show(figures)
    return 0 if statistics.median(figures.to_a_finished_run) < GOAL else 1


def show(figures: Figures) -> None:
    """Print a line for each command."""
    width = max(map(len, figures.seconds))
    print(f"{'command':<{width}}  median s   CPU s  each")
    for name, seconds in figures.seconds.items():
        each = ", ".join(f"{value:.2f}" for value in seconds)
        measured = figures.cpu_seconds.get(name)
        cpu = f"{statistics.median(measured):.2f}" if measured else "-"
        print(f"{name:<{width}}  {statistics.median(seconds):>8.2f}  {cpu:>6}  {each}")
    each = ", ".join(f"{value:.2f}" for value in figures.to_a_finished_run)
    print(f"\n4 commands: {INSTALL}; {NEW}; cd hello; {RUN}")
    print(f"Seconds from the install to the finished run: {each}")


def _cpu() -> float:
    usage = getrusage(RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())

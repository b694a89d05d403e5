"""Applies the one-line mutants of tests/mutants.toml to copies of the SQL, and shows which test notices each.

    python -m tools.mutants [--only NAME ...] [--write]

Tests run against a copy of the package in a temporary directory; the working tree is not touched. Two mutants are
tested at once, each by one pytest process: first the files that the mutant names, then the rest of SUITE. With --write
the table goes to docs/mutants.md. Exits with 1 if a mutant survives without an explanation, or cannot be judged.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[1]
LIST = ROOT / "tests" / "mutants.toml"
PAGE = ROOT / "docs" / "mutants.md"
BEGIN, END = "<!-- mutants: begin -->", "<!-- mutants: end -->"

SUITE = ("tests/sql", "tests/races", "tests/schema", "tests/model")
"""Where a mutant must be noticed, as far as the folders are there."""

NO_JUDGES = ("tests/schema/test_conventions.py", "tests/schema/test_upgrade.py")
"""They look at the text of the SQL, not at what it does."""

AT_ONCE = 2
LIMIT = 1800
"""Seconds for one call of pytest."""

BROKEN = re.compile(
    r"syntax error at|^E +psycopg\.errors\.(Syntax|Undefined|Ambiguous|Invalid)\w+", re.MULTILINE
)
"""Errors of a mutant that is no working SQL, so that its end proves nothing."""


@dataclass(frozen=True)
class Mutant:
    """One entry of the list; see the head of tests/mutants.toml."""

    name: str
    file: str
    find: str
    replace: str
    reason: str
    tests: tuple[str, ...]
    occurrence: int | None = None
    equivalent: str | None = None

    def apply(self, text: str) -> str:
        """Return the SQL with the fault in it; raise ValueError if the text to be replaced is not there, or not once."""
        times = text.count(self.find)
        number = self.occurrence or 1
        if not 1 <= number <= times or (self.occurrence is None and times > 1):
            wanted = f"occurrence {self.occurrence}" if self.occurrence else "once"
            raise ValueError(
                f"mutant {self.name} wants to replace a text ({wanted}) that is {times} times in {self.file}: {self.find}"
            )
        parts = text.split(self.find)
        return self.find.join(parts[:number]) + self.replace + self.find.join(parts[number:])


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    killer: str | None
    """The first test that failed; none if all passed."""
    seconds: float
    output: str = ""
    is_steady: bool = True
    """Whether that test failed once more when it was run alone."""

    @property
    def word(self) -> str:
        """Say in one word how it ended: killed, survived, equivalent, broken, or unsteady."""
        if self.killer is None:
            return "equivalent" if self.mutant.equivalent else "survived"
        if not self.is_steady:
            return "unsteady"
        return "broken" if BROKEN.search(self.output) else "killed"

    @property
    def is_good(self) -> bool:
        """Tell whether that is as it should be."""
        return self.word == ("equivalent" if self.mutant.equivalent else "killed")


def load() -> list[Mutant]:
    """Read the list."""
    entries: list[dict[str, Any]] = tomllib.loads(LIST.read_text(encoding="utf-8"))["mutant"]
    return [Mutant(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


def judge(mutant: Mutant) -> Verdict:
    """Run the tests against a copy of the package with the mutant in it."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pgflow-mutant-") as directory:
        source = Path(directory) / "src"
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "src" / "pgflow", source / "pgflow", ignore=skipped)
        file = source / "pgflow" / "sql" / mutant.file
        file.write_text(mutant.apply(file.read_text(encoding="utf-8")), encoding="utf-8")
        killer, output = _failure(source, mutant.tests)
        if killer is None and not mutant.equivalent:
            rest = [folder for folder in SUITE if (ROOT / folder).is_dir()]
            killer, output = _failure(source, rest, ignored=(*NO_JUDGES, *mutant.tests))
        seconds = time.monotonic() - begun
        # A test that fails by chance, as on a busy machine, has noticed nothing.
        is_steady = killer is None or _failure(source, [killer])[0] is not None
    return Verdict(mutant, killer, seconds, output, is_steady=is_steady)


def _failure(
    source: Path, tests: Iterable[str], ignored: Iterable[str] = ()
) -> tuple[str | None, str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        *tests,
    ]
    command += [f"--ignore={path}" for path in ignored]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(source), str(ROOT)])}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if done.returncode == 0:
        return None, done.stdout
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    if done.returncode != 1 or found is None:
        raise RuntimeError(
            f"pytest ended with {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )
    return found[1], done.stdout


def _told(mutant: Mutant) -> Verdict:
    verdict = judge(mutant)
    print(
        f"{verdict.word:10} {verdict.seconds:4.0f} s  {mutant.name}  {verdict.killer or ''}",
        flush=True,
    )
    return verdict


def table(verdicts: Iterable[Verdict]) -> str:
    """Return the verdicts as a table of docs/mutants.md."""
    lines = ["| Mutant | The fault | Noticed by | After |", "|---|---|---|--:|"]
    for verdict in verdicts:
        mutant = verdict.mutant
        noticed = verdict.mutant.equivalent or "**nobody**"
        if verdict.killer is not None:
            noticed = "`" + verdict.killer.removeprefix("tests/").replace("|", "\\|") + "`"
        file = f"[`{mutant.name}`](../src/pgflow/sql/{mutant.file})"
        lines.append(f"| {file} | {mutant.reason} | {noticed} | {verdict.seconds:.0f} s |")
    return "\n".join(lines)


def main() -> int:
    """Judge all mutants, or those named."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="judge these mutants")
    parser.add_argument(
        "--write", action="store_true", help=f"put the table of all into {PAGE.name}"
    )
    options = parser.parse_args()
    mutants = [one for one in load() if not options.only or one.name in options.only]
    if unknown := set(options.only) - {one.name for one in mutants}:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    if options.write and options.only:
        parser.error("--write needs all mutants")
    with ThreadPoolExecutor(AT_ONCE) as threads:
        verdicts = list(threads.map(_told, mutants))
    counts = {
        word: sum(one.word == word for one in verdicts)
        for word in ("killed", "equivalent", "survived", "broken", "unsteady")
    }
    print(", ".join(f"{count} {word}" for word, count in counts.items()))
    if options.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n{table(verdicts)}\n{END}{after}", encoding="utf-8")
    return 0 if all(one.is_good for one in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())

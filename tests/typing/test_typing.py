"""Edges are typed: mypy --strict and pyright accept the right ones and refuse each wrong one."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
FILES = ("correct_edges.py", "wrong_edges.py")
IGNORE = re.compile(r"  # type: ignore\[.*\]")

Places = set[tuple[str, int]]


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the files without their `type: ignore`, so that the errors show."""
    directory = tmp_path_factory.mktemp("typing")
    for name in FILES:
        (directory / name).write_text(IGNORE.sub("", (HERE / name).read_text()))
    config = {"extraPaths": [str(SOURCE)], "pythonVersion": "3.11"}
    (directory / "pyrightconfig.json").write_text(json.dumps(config))
    (directory / "mypy.ini").write_text("[mypy]\nstrict = true\npython_version = 3.11\n")
    return directory


@pytest.fixture(scope="module")
def expected() -> Places:
    return {
        (name, number)
        for name in FILES
        for number, line in enumerate((HERE / name).read_text().splitlines(), start=1)
        if IGNORE.search(line)
    }


def run(directory: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=directory,
        env=os.environ | {"MYPYPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.stdout


def test_wrong_edges_exist(expected: Places) -> None:
    assert len(expected) >= 18
    assert {name for name, _ in expected} == {"wrong_edges.py"}


def test_mypy(copies: Path, expected: Places) -> None:
    output = run(copies, "mypy", "--config-file", "mypy.ini", *FILES)
    found = {
        (match[1], int(match[2]))
        for match in re.finditer(r"^(\w+\.py):(\d+): error", output, re.MULTILINE)
    }
    assert found == expected, output


def test_pyright(copies: Path, expected: Places) -> None:
    output = run(copies, "pyright", "--pythonpath", sys.executable, "--outputjson", *FILES)
    found = {
        (Path(error["file"]).name, error["range"]["start"]["line"] + 1)
        for error in json.loads(output)["generalDiagnostics"]
        if error["severity"] == "error"
    }
    assert found == expected, output

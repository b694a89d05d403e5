"""tools/ast-grep: each rule of our own fires on its planted samples, on nothing else, and on nothing of the package."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RULES = sorted(path.stem for path in (ROOT / "tools" / "ast-grep" / "rules").glob("no-*.yml"))
SAMPLES = ROOT / "tests" / "fixtures" / "static" / "samples.txt"
AST_GREP = Path(sys.executable).with_name("ast-grep")


def findings(directory: Path) -> set[tuple[str, int]]:
    """Return rule and line of everything found."""
    done = subprocess.run(
        [
            AST_GREP,
            "scan",
            "--config",
            ROOT / "tools" / "ast-grep" / "sgconfig.yml",
            "--json",
            directory,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    return {
        (found["ruleId"], found["range"]["start"]["line"] + 1) for found in json.loads(done.stdout)
    }


def planted() -> set[tuple[str, int]]:
    lines = SAMPLES.read_text().splitlines()
    marks = [(re.search(r"# bad: (\S+)", line), number) for number, line in enumerate(lines, 1)]
    return {(mark[1], number) for mark, number in marks if mark}


def test_every_planted_sample_is_found_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "sample.py").write_text(SAMPLES.read_text())
    assert findings(tmp_path) == planted()


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_has_samples(rule: str) -> None:
    assert rule in {name for name, _ in planted()}
    assert f"id: {rule}\n" in (ROOT / "tools" / "ast-grep" / "rules" / f"{rule}.yml").read_text()


def test_the_package_is_clean() -> None:
    assert findings(ROOT / "src") == set()

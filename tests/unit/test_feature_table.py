"""docs/features.md names a test for each row, and each test that any page names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FEATURE_TABLE = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
FAULT_TABLE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
FEATURE = re.compile(r"^\| (?P<row>[ABC]\d+[a-z]?) \| [^|]+ \| (?P<tests>[^|]+) \|$", re.MULTILINE)
FAULT = re.compile(r"^\| (?P<row>\d+) \| [^|]+ \| [^|]+ \| (?P<tests>[^|]+) \|$", re.MULTILINE)
NAME = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")
PATTERNS = ["B1a", "B1b", "B1c", "B2", "B3a", "B3b", "B4", "B5", "B6", "B7", "B8"]
FEATURES = [*(f"A{number}" for number in range(1, 22)), *PATTERNS]
FEATURES += ["C1", "C9", "C10", "C15", "C20", "C22"]
FAULTS = 67


@cache
def names_in(path: Path) -> set[str]:
    if not path.exists():
        return set()
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {
            prefix + one.name
            for one in inner
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
        }
    return found


def rows(form: re.Pattern[str], table: str) -> list[str]:
    return [match["row"] for match in form.finditer(table) if "`tests/" in match["tests"]]


def test_every_feature_is_shown_by_a_test() -> None:
    assert rows(FEATURE, FEATURE_TABLE) == FEATURES


def test_every_fault_is_shown_by_a_test() -> None:
    assert rows(FAULT, FAULT_TABLE) == [str(number) for number in range(1, FAULTS + 1)]


def test_every_test_that_is_named_exists() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/*/*.md")]
    # docs/mutants.md is written by a run of these tests.
    text = "".join(page.read_text(encoding="utf-8") for page in pages if page.name != "mutants.md")
    named = NAME.findall(text)
    assert len(named) == text.count("::test_")
    missing = [f"{path}::{name}" for path, name in named if name not in names_in(ROOT / path)]
    assert not missing

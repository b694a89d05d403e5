"""docs/features.md names a test for each row, and each test it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FEATURE_TABLE = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
FAULT_TABLE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
FEATURE = re.compile(r"^\| (?P<row>[AC]\d+) \| [^|]+ \| (?P<tests>[^|]+) \|$", re.MULTILINE)
FAULT = re.compile(r"^\| (?P<row>\d+) \| [^|]+ \| [^|]+ \| (?P<tests>[^|]+) \|$", re.MULTILINE)
NAME = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")
FEATURES = [f"A{number}" for number in range(1, 22)] + ["C1", "C9", "C10"]
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
    return [match["row"] for match in form.finditer(table) if NAME.search(match["tests"])]


def test_every_feature_is_shown_by_a_test() -> None:
    assert rows(FEATURE, FEATURE_TABLE) == FEATURES


def test_every_fault_is_shown_by_a_test() -> None:
    assert rows(FAULT, FAULT_TABLE) == [str(number) for number in range(1, FAULTS + 1)]


def test_every_test_that_is_named_exists() -> None:
    both = FEATURE_TABLE + FAULT_TABLE
    named = NAME.findall(both)
    assert len(named) == both.count("::test_")
    missing = [f"{path}::{name}" for path, name in named if name not in names_in(ROOT / path)]
    assert not missing

"""docs/features.md names a test for each row, and each test it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (?P<row>[AC]?\d+) \| [^|]+ \| (?P<tests>[^|]+) \|$", re.MULTILINE)
NAME = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")
FEATURES = [f"A{number}" for number in range(1, 22)] + ["C1", "C9", "C10"]
FAULTS = [*range(1, 11), 15, 16, 17, 18, 20, 22, 23, 24, *range(36, 47), 66, 67]


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


def test_every_row_is_shown_by_a_test() -> None:
    rows = [match["row"] for match in ROW.finditer(TABLE) if NAME.search(match["tests"])]
    assert rows == [*FEATURES, *map(str, FAULTS)]


def test_every_test_that_is_named_exists() -> None:
    named = NAME.findall(TABLE)
    assert len(named) == TABLE.count("::test_")
    missing = [f"{path}::{name}" for path, name in named if name not in names_in(ROOT / path)]
    assert not missing

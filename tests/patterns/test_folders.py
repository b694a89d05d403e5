"""Every pattern is a folder that a user can copy: what it needs is said in it, and is tested."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATTERNS = sorted(path.parent for path in (ROOT / "examples").glob("*/__main__.py"))
NAME = re.compile(r"^[A-Za-z0-9._-]+")


def names(requirements: list[str]) -> set[str]:
    return {found[0].lower() for line in requirements if (found := NAME.match(line.strip()))}


@pytest.mark.parametrize("folder", PATTERNS, ids=lambda folder: folder.name)
def test_a_folder_is_whole(folder: Path) -> None:
    for file in ("README.md", "requirements.txt", "__init__.py"):
        assert (folder / file).is_file(), file
    assert (ROOT / "tests" / "patterns" / f"test_{folder.name}.py").is_file()
    assert (ROOT / "docs" / "patterns" / f"{folder.name}.md").is_file()


@pytest.mark.parametrize("folder", PATTERNS, ids=lambda folder: folder.name)
def test_what_it_requires_is_what_the_tests_install(folder: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    known = names([*project["dependency-groups"]["patterns"], *project["project"]["dependencies"]])
    known |= names([line for extra in extras for line in extra])
    required = names((folder / "requirements.txt").read_text().splitlines())
    assert "py-pgflow" in required
    assert required <= known


@pytest.mark.parametrize("folder", PATTERNS, ids=lambda folder: folder.name)
def test_it_can_be_copied(folder: Path) -> None:
    """Nothing of it imports from another folder of this project."""
    for module in folder.rglob("*.py"):
        assert not re.search(
            r"^\s*(from|import) (examples|tests|tools)\b", module.read_text(), re.MULTILINE
        )

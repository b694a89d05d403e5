"""Every pattern is a folder that a user can copy: what it needs is said in it, and is tested.

`test_etl.py` runs one from a copy.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.patterns import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PATTERNS = sorted(path.parent for path in (ROOT / "examples").glob("*/__main__.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NAME = re.compile(r"^[A-Za-z0-9._-]+")


COME_ALONG = {"pydantic-core"}
"""With what py-pgflow itself requires."""


def names(requirements: list[str]) -> set[str]:
    return {normal(found[0]) for line in requirements if (found := NAME.match(line.strip()))}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imports(folder: Path) -> Iterator[tuple[Path, int, str]]:
    """Yield each import of a folder's modules: the file, how many levels up, the module."""
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from ((file, 0, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield file, node.level, node.module or ""


@pytest.mark.parametrize("folder", PATTERNS, ids=lambda folder: folder.name)
def test_a_folder_is_whole(folder: Path) -> None:
    for file in ("README.md", "requirements.txt", "__init__.py"):
        assert (folder / file).is_file(), file
    assert (ROOT / "tests" / "patterns" / f"test_{folder.name}.py").is_file()
    assert (ROOT / "docs" / "patterns" / f"{folder.name}.md").is_file()


@pytest.mark.parametrize("folder", PATTERNS, ids=lambda folder: folder.name)
def test_what_it_requires_is_what_the_tests_install(folder: Path) -> None:
    extras = PROJECT["project"]["optional-dependencies"].values()
    known = names([*PROJECT["dependency-groups"]["patterns"], *PROJECT["project"]["dependencies"]])
    known |= names([line for extra in extras for line in extra])
    required = names((folder / "requirements.txt").read_text().splitlines())
    assert "py-pgflow" in required
    assert required <= known


@pytest.mark.parametrize("folder", PATTERNS, ids=lambda folder: folder.name)
def test_what_it_imports_is_what_it_requires(folder: Path) -> None:
    modules = {module.partition(".")[0] for _, level, module in imports(folder) if not level}
    required = names((folder / "requirements.txt").read_text().splitlines())
    required |= names(PROJECT["project"]["dependencies"]) | COME_ALONG
    distributions = packages_distributions()
    for module in modules - sys.stdlib_module_names - {"pgflow"}:
        known = {normal(name) for name in distributions.get(module, [])}
        assert known & required, f"{module}, of {known or 'no package that is installed'}"


@pytest.mark.parametrize("folder", PATTERNS, ids=lambda folder: folder.name)
def test_it_can_be_copied(folder: Path) -> None:
    """Nothing of it imports from another folder of this project."""
    for file, level, module in imports(folder):
        assert level <= len(file.relative_to(folder).parts), f"{file}: leaves the folder"
        assert level or module.partition(".")[0] not in {"examples", "tests", "tools"}, file


def test_a_pattern_under_test_asks_no_model_of_the_developer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "PGFLOW_MODEL"):
        monkeypatch.setenv(name, "theirs")
    assert "theirs" not in environment().values()

"""What `pgflow dev` watches, and what counts as a change."""

from __future__ import annotations

import asyncio
import os
from importlib.util import cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING

from pgflow.dev import watching
from pgflow.dev.watching import Sources, changes, root_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import pytest


def make(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("")


def found(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in Sources.below([root]).files}


def test_environments_hidden_and_installed_files_are_not_watched(tmp_path: Path) -> None:
    make(tmp_path, "app.py", "lib/helper.py", "lib/deep/er.py", "notes.txt")
    make(tmp_path, "env/pyvenv.cfg", "env/lib/x.py", ".hidden/x.py", "node_modules/x.py")
    make(tmp_path, "lib/__pycache__/x.py", "lib/site-packages/x.py", ".pgflow/postgres/x.py")
    assert found(tmp_path) == {"app.py", "lib/helper.py", "lib/deep/er.py"}


def test_links_to_directories_do_not_lead_in_circles(tmp_path: Path) -> None:
    make(tmp_path, "app.py")
    (tmp_path / "again").symlink_to(tmp_path)
    assert found(tmp_path) == {"app.py"}


def test_a_large_place_is_watched_in_part_the_nearest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "MOST_DIRECTORIES", 3)
    make(tmp_path, "a/x.py", "a/deep/x.py", "b/x.py", "c/x.py")
    assert found(tmp_path) == {"a/x.py", "b/x.py"}
    assert Sources.below([tmp_path]).is_partial
    monkeypatch.undo()
    assert not Sources.below([tmp_path]).is_partial


def test_new_different_and_absent_files_are_changes(tmp_path: Path) -> None:
    make(tmp_path, "same.py", "different.py", "gone.py")
    before = Sources.below([tmp_path])
    (tmp_path / "different.py").write_text("x")
    (tmp_path / "gone.py").unlink()
    make(tmp_path, "new.py")
    changed = Sources.below([tmp_path]).changed_since(before)
    assert [path.name for path in changed] == ["different.py", "gone.py", "new.py"]


def test_roots_of_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert root_of("app.py") == tmp_path
    assert root_of("lib/app.py:flow") == tmp_path / "lib"
    assert root_of("package.flows:flow") == tmp_path


async def next_names(stream: AsyncGenerator[list[Path], None]) -> set[str]:
    async with asyncio.timeout(60):
        return {path.name for path in await anext(stream)}


async def test_changes_come_as_they_are_made_also_in_new_directories(tmp_path: Path) -> None:
    make(tmp_path, "app.py")
    stream = changes([tmp_path], Sources.below([tmp_path]))
    try:
        # Changed between the first look and the first wait: not lost.
        (tmp_path / "app.py").write_text("a = 1")
        assert await next_names(stream) == {"app.py"}
        make(tmp_path, "fresh/helper.py")
        assert await next_names(stream) == {"helper.py"}
        (tmp_path / "fresh" / "helper.py").write_text("b = 1")
        assert await next_names(stream) == {"helper.py"}
        (tmp_path / "fresh" / "helper.py").unlink()
        assert await next_names(stream) == {"helper.py"}
    finally:
        await stream.aclose()


async def test_without_notifications_comparing_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> AsyncGenerator[None, None]:
        for _try in (1,):
            raise OSError(28, "OS file watch limit reached")
        yield

    monkeypatch.setattr(watching, "awatch", refuse)
    monkeypatch.setattr(watching, "LOOK", 1)
    make(tmp_path, "app.py")
    stream = changes([tmp_path], Sources.below([tmp_path]))
    try:
        (tmp_path / "app.py").write_text("a = 1")
        assert await next_names(stream) == {"app.py"}
    finally:
        await stream.aclose()


def found_compiled(path: Path) -> list[Path]:
    return list(Path(cache_from_source(str(path))).parent.iterdir())


async def test_what_python_compiled_is_forgotten_with_the_change(tmp_path: Path) -> None:
    """Python compares seconds and sizes, which two quick changes may have in common."""
    app = tmp_path / "app.py"
    app.write_text("a = 1")
    make(Path(cache_from_source(str(app))).parent, Path(cache_from_source(str(app))).name)
    assert len(found_compiled(app)) == 1
    stream = changes([tmp_path], Sources.below([tmp_path]))
    try:
        os.utime(app)
        await next_names(stream)
    finally:
        await stream.aclose()
    assert found_compiled(app) == []

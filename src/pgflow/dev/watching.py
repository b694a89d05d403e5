"""Which .py files are watched, and when they change.

Notifications of the operating system only wake it: what changed is told by comparing times and sizes, so that none that
got lost, came late, or was about something else makes a difference.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from importlib.util import cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING

from watchfiles import awatch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

SETTLE = 50
"""Milliseconds without another change after which a change counts: editors write in several steps."""
LONGEST_SETTLE = 400
LOOK = 1000
"""Milliseconds between two comparisons, where nothing notifies."""
MOST_DIRECTORIES = 1000
"""The nearest ones; changes in others are not seen."""
_PRUNED = {"__pycache__", "node_modules", "site-packages"}


@dataclass(frozen=True, slots=True)
class Sources:
    """The watched files at one moment."""

    directories: tuple[Path, ...] = ()
    files: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Path -> time of the last change, size."""
    is_partial: bool = False
    """Whether there are more directories than are watched."""

    @classmethod
    def below(cls, roots: Iterable[Path]) -> Sources:
        """Read the directories below the roots, the nearest first, without hidden ones and virtual environments."""
        directories = list(dict.fromkeys(roots))
        seen = set(directories)
        files: dict[Path, tuple[int, int]] = {}
        is_partial = False
        for directory in directories:  # grows on the way
            with suppress(OSError), os.scandir(directory) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    path = directory / entry.name
                    if entry.name.endswith(".py") and entry.is_file():
                        with suppress(FileNotFoundError):  # replaced meanwhile
                            state = entry.stat()
                            files[path] = (state.st_mtime_ns, state.st_size)
                    elif path not in seen and not is_partial and _is_entered(entry):
                        if is_partial := len(seen) >= MOST_DIRECTORIES:
                            continue
                        seen.add(path)
                        directories.append(path)
        return cls(tuple(directories), files, is_partial)

    def changed_since(self, earlier: Sources) -> list[Path]:
        """Return what is new, different or gone."""
        paths = sorted(self.files.keys() | earlier.files.keys())
        return [path for path in paths if self.files.get(path) != earlier.files.get(path)]


async def changes(roots: Sequence[Path], start: Sources) -> AsyncGenerator[list[Path], None]:
    """Yield the files that changed since `start`, again and again."""
    seen = start
    while True:
        async with aclosing(_hints(seen.directories)) as hints:
            async for _ in hints:
                now = await asyncio.to_thread(Sources.below, roots)
                changed = now.changed_since(seen)
                is_same_place = now.directories == seen.directories
                seen = now
                if changed:
                    forget_compiled(changed)
                    yield changed
                if not is_same_place:
                    break


async def _hints(directories: Iterable[Path]) -> AsyncGenerator[None, None]:
    """Yield when something may have changed, or after a while; end when the system refuses to notify."""
    events = awatch(
        *(directory for directory in directories if directory.is_dir()),
        watch_filter=None,
        recursive=False,
        step=SETTLE,
        debounce=LONGEST_SETTLE,
        rust_timeout=LOOK,
        yield_on_timeout=True,
        ignore_permission_denied=True,
    )
    try:
        async with aclosing(events):
            async for _ in events:
                yield
    except Exception:  # noqa: BLE001 - no more watches left, a directory that has vanished: comparing is enough
        await asyncio.sleep(LOOK / 1000)
        yield


def forget_compiled(paths: Iterable[Path]) -> None:
    """Remove what Python compiled from the files: it looks no closer than at seconds and sizes."""
    for path in paths:
        with suppress(OSError):
            Path(cache_from_source(str(path))).unlink()


def root_of(target: str) -> Path:
    """Return the directory that is watched for a target: that of its file, or this one for a module."""
    place = target.rpartition(":")[0] or target
    is_file = place.endswith(".py") or "/" in place
    return Path(place).resolve().parent if is_file else Path.cwd()


def _is_entered(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith(".") or entry.name in _PRUNED:
        return False
    is_directory = entry.is_dir(follow_symlinks=False)
    return is_directory and not os.path.exists(os.path.join(entry.path, "pyvenv.cfg"))  # noqa: PTH110, PTH118 - hot

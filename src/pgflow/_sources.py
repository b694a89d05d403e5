"""The SQL files of the schema, in the order in which they are applied, and what identifies them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.resources.abc import Traversable


@dataclass(frozen=True, slots=True)
class Source:
    """One SQL file."""

    name: str
    """File name without its suffix."""
    text: str

    @property
    def checksum(self) -> str:
        """Identify the text, whatever its line ends are."""
        return hashlib.sha256("\n".join(self.text.splitlines()).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Migration(Source):
    """A file that is applied once, in the order of its number, and never changes afterwards."""

    @property
    def version(self) -> int:
        """Number at the head of the file's name."""
        return int(self.name.partition("_")[0])


class Sources:
    """The files below a directory with `migrations`, `functions` and `views`, `roles.sql` and `tenants.sql`."""

    def __init__(self, root: Traversable) -> None:
        self.root = root

    @cached_property
    def migrations(self) -> list[Migration]:
        """Migrations by number; their numbers are 1, 2, 3 and so on."""
        found = [Migration(name, text) for name, text in self._read("migrations")]
        numbers = [migration.version for migration in found]
        assert numbers == list(range(1, len(found) + 1)), (
            f"migrations are not numbered 1, 2, 3: {numbers}"
        )
        return found

    @cached_property
    def functions(self) -> list[Source]:
        """Functions by name; bodies are bound when they run, so their order does not matter."""
        return [Source(name, text) for name, text in self._read("functions")]

    @cached_property
    def views(self) -> list[Source]:
        """Views, each after those that it reads."""
        return _ordered([Source(name, text) for name, text in self._read("views")])

    @cached_property
    def roles(self) -> Source | None:
        """What makes the roles and gives them their rights."""
        return self._script("roles")

    @cached_property
    def tenants(self) -> Source | None:
        """What keeps tenants apart."""
        return self._script("tenants")

    @property
    def version(self) -> int:
        """Version of the schema: the number of the last migration."""
        return len(self.migrations)

    @cached_property
    def fingerprint(self) -> str:
        """Identify all that is applied anew at each install."""
        scripts = [script for script in (self.roles, self.tenants) if script]
        sources = (*self.functions, *self.views, *scripts)
        parts = (f"{source.name} {source.checksum}" for source in sources)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _script(self, name: str) -> Source | None:
        file = self.root.joinpath(f"{name}.sql")
        return Source(name, file.read_text(encoding="utf-8")) if file.is_file() else None

    def _read(self, folder: str) -> Iterable[tuple[str, str]]:
        directory = self.root.joinpath(folder)
        if not directory.is_dir():
            return []
        sql = (file for file in directory.iterdir() if file.name.endswith(".sql"))
        by_name = sorted(sql, key=lambda file: file.name)
        return [
            (file.name.removesuffix(".sql"), file.read_text(encoding="utf-8")) for file in by_name
        ]


def pgmq_sql() -> str:
    """Return the SQL of pgmq; without an import of the package, which would take a database driver along."""
    from importlib.util import find_spec  # noqa: PLC0415 - only an install pays for it

    spec = find_spec("pgmq")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("sql").joinpath("pgmq.sql").read_text(encoding="utf-8")


def _ordered(views: list[Source]) -> list[Source]:
    names = {view.name for view in views}
    reads = {
        view.name: set(re.findall(r"pgflow\.(\w+)", view.text)) & names - {view.name}
        for view in views
    }
    ordered: list[Source] = []
    while len(ordered) < len(views):
        done = {view.name for view in ordered}
        ready = [view for view in views if view.name not in done and reads[view.name] <= done]
        assert ready, f"views read each other in a circle: {sorted(names - done)}"
        ordered += ready
    return ordered


SOURCES: Final = Sources(files("pgflow").joinpath("sql"))

"""A PostgreSQL of a test's own, to be stopped, filled up, or set back in time."""

from __future__ import annotations

import resource
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pgflow.embedded import EmbeddedServer
from pgflow.schema import install

if TYPE_CHECKING:
    from collections.abc import Iterator


class PrivateServer:
    """An embedded server in a temporary directory, with the schema."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server = EmbeddedServer.ensure(directory)
        install(self.dsn)

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[PrivateServer]:
        directory = Path(tempfile.mkdtemp(prefix="pgflow-tests-"))
        server = cls(directory)
        try:
            yield server
        finally:
            server.stop()
            server._server.close()
            shutil.rmtree(directory, ignore_errors=True)

    @property
    def dsn(self) -> str:
        return self._server.dsn

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        """Stop it at once, as a crash would."""
        self._server.stop("immediate")

    def copy_to(self, name: str) -> None:
        """Keep the data as they are now; the server restarts."""
        self._server.stop("fast")
        shutil.copytree(self._directory / "data", self._directory / name, symlinks=True)
        self._take_ownership(name)
        self.start()

    def set_back_to(self, name: str) -> None:
        """Have the server crash and come back with data that were kept, as a standby that was behind."""
        self.stop()
        shutil.rmtree(self._directory / "data")
        (self._directory / name).rename(self._directory / "data")
        self.start()

    def limit_files(self, size: int | None) -> None:
        """Restart it so that it can't write beyond so many bytes of any file, as on a full disk; None: as before."""
        self._server.stop("fast")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        if size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            self.start()  # inherits the limit
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def _take_ownership(self, name: str) -> None:
        owner = (self._directory / "data").stat()
        copy = self._directory / name
        for path in (copy, *copy.rglob("*")):
            shutil.chown(path, owner.st_uid, owner.st_gid)
        copy.chmod(0o700)

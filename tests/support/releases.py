"""Released versions of the package, kept as archives: what an upgrade starts from (tools/keep-release.sh)."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

ARCHIVES = Path(__file__).parents[1] / "schema" / "releases"
VERSIONS = sorted(
    int(path.name.removeprefix("schema-").removesuffix(".tar.xz"))
    for path in ARCHIVES.glob("schema-*.tar.xz")
)


class Release:
    """The package as it was when the schema had a version, unpacked in a directory."""

    def __init__(self, version: int, directory: Path) -> None:
        self.version = version
        self.path = directory / f"schema-{version}" / "src"
        with tarfile.open(ARCHIVES / f"schema-{version}.tar.xz") as archive:
            archive.extractall(directory / f"schema-{version}", filter="data")

    def python_path(self) -> str:
        """Return a PYTHONPATH by which a process works with this release."""
        return os.pathsep.join(filter(None, [str(self.path), os.environ.get("PYTHONPATH")]))

    def run(self, code: str, *arguments: str) -> str:
        """Run code with this release in a process of its own, and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env={**os.environ, "PYTHONPATH": self.python_path()},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def install(self, dsn: str) -> None:
        """Install this release's schema."""
        self.run("import sys; from pgflow.schema import install; install(sys.argv[1])", dsn)

"""The embedded server: whose process a pid is, and who makes its directory; no server runs here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pgflow._cluster import Cluster
from pgflow.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


def server_with_pid(directory: Path, pid: int) -> EmbeddedServer:
    (directory / "data").mkdir()
    (directory / "data" / "postmaster.pid").write_text(f"{pid}\n")
    return EmbeddedServer(directory, {})


def test_a_pid_that_is_another_users_by_now_is_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    server = server_with_pid(tmp_path, 1)
    monkeypatch.setattr("pgflow.embedded.os.kill", refuse)
    assert not server._is_running()


def programs(directory: Path) -> Iterator[tuple[list[str], bool]]:
    """Yield the arguments of programs, and whether they are those of the directory's server."""
    yield [], False
    yield ["-D", str(directory / "data"), "-c", "port=5432"], True
    yield ["-D", str(directory / "data2"), "-c", "port=5432"], False


def test_without_proc_the_command_line_tells_whose_a_pid_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.setattr(Path, "exists", lambda path: "proc" not in path.parts)
    server = server_with_pid(tmp_path, os.getpid())
    assert not server._is_running()
    for arguments, is_server in programs(tmp_path):
        code = "import sys; print(flush=True); sys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as program:
            assert program.stdout
            program.stdout.readline()
            (tmp_path / "data" / "postmaster.pid").write_text(f"{program.pid}\n")
            assert server._is_running() is is_server, arguments
            program.communicate()


def test_two_first_users_may_make_the_directory_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / ".pgflow" / "postgres"
    Cluster(directory).make_directory()
    # As the slower one sees it, which has looked before the faster one made it.
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", lambda _: False)
        Cluster(directory).make_directory()
    assert (directory.parent / ".gitignore").read_text() == "*\n"

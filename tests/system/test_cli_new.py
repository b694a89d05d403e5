"""`pgflow new`: what it writes works as it stands, and what it prints can be typed."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgflow.cli.app import main
from pgflow.cli.new import KINDS
from pgflow.errors import SchemaMismatch
from tests.support.command import Command
from tests.support.worker_processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WITH_MODEL = """
import os, runpy, sys, threading
from http.server import ThreadingHTTPServer
from test_app import Model

Model.requests = []
with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["OPENAI_BASE_URL"] = f"http://127.0.0.1:{server.server_port}"
    sys.argv[:] = ["app.py", "How long?"]
    runpy.run_path("app.py", run_name="__main__")
    server.shutdown()
"""
"""Runs app.py beside the model that the project's own tests have."""
PRINTED = {
    "static": "Hello Ada! Hello Grace! Hello Edsger!",
    "dynamic": "{'items': 10, 'total': 285}",
    "agent": "It took 7417 and 3705 days.",
}
RULES = "E,F,W,I,B,UP,SIM,RUF,PERF,PTH"
FILES = {"app.py", "test_app.py", "pyproject.toml", "README.md", ".gitignore"}


def python(
    directory: Path, environment: Mapping[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def directory() -> Iterator[Path]:
    """Give a directory that the embedded server can live in, with a short path."""
    made = Path(tempfile.mkdtemp(prefix="pgflow-new-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def make(directory: Path, template: str, dsn: str | None = None) -> Command:
    pgflow = Command(directory, dsn)
    done = pgflow("new", "my-project", "--template", template)
    assert (done.code, done.err) == (0, "")
    return Command(directory / "my-project", dsn)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("template", KINDS)
def test_a_new_project_passes_its_own_tests_and_runs(
    template: str, tmp_path: Path, database_url: str
) -> None:
    project = make(tmp_path, template, database_url)
    assert {path.name for path in project.directory.iterdir()} >= FILES
    environment = project.environment()
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        environment.pop(name, None)

    tested = python(project.directory, environment, "-m", "pytest", "-q", "-p", "no:asyncio")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert " passed" in tested.stdout

    if template == "agent":
        alone = python(project.directory, environment, "app.py")
        assert (alone.returncode, alone.stdout) == (1, "")
        assert alone.stderr.startswith("Set OPENAI_API_KEY")
        run = python(project.directory, environment, "-c", WITH_MODEL)
    else:
        run = python(project.directory, environment, "app.py")
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == PRINTED[template]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_new_projects_are_clean(tmp_path: Path) -> None:
    ruff = str(Path(sys.executable).with_name("ruff"))
    together = tmp_path / "together"
    together.mkdir()
    for template in KINDS:
        (tmp_path / template).mkdir()
        project = make(tmp_path / template, template).directory
        clean(project, ruff, "format", "--isolated", "--check", ".")
        clean(project, ruff, "check", "--isolated", "--select", RULES, ".")
        for name in ("app", "test_app"):
            text = (project / f"{name}.py").read_text()
            renamed = text.replace("from app import", f"from {template}_app import")
            (together / f"{name.replace('app', template)}_app.py").write_text(renamed)
    # As strictly as ourselves, and with what `make check` has learnt about the libraries below, if it was there.
    known, cache = ROOT / ".mypy_cache", tmp_path / "cache"
    if known.exists():
        shutil.copytree(known, cache)
    settings = ("--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(cache))
    clean(together, sys.executable, "-m", "mypy", *settings, ".")


def clean(directory: Path, *command: str) -> None:
    """Run a check that finds nothing."""
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def test_a_server_of_ones_own_is_left_to_pgflow_init(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make(tmp_path, "dynamic").directory
    monkeypatch.setenv("PGFLOW_DSN", empty_database_url)
    app = runpy.run_path(str(project / "app.py"))
    with pytest.raises(SchemaMismatch, match="pgflow init"):
        await app["run_plan"]({"steps": []}, size=1)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_what_is_printed_can_be_typed(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new user does, on the embedded server, from nothing."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    done = Command(directory, None)("new", "hello")
    commands = [line.strip() for line in done.out.partition("Go on:\n")[2].splitlines()]
    assert [command.split("  ")[0] for command in commands] == [
        "cd hello",
        "python app.py",
        "pgflow dev app.py --run",
        "python -m pytest",
    ]
    project = Command(directory / "hello", None)
    for command in commands[1:]:
        printed, code = typed(command, project)
        assert code == 0, printed
        assert "Hello Ada! Hello Grace! Hello Edsger!" in printed or " 2 passed" in printed
    assert (project.directory / ".pgflow" / "postgres" / "data").is_dir()
    assert not (project.directory / ".pgflow" / "postgres" / "data" / "postmaster.pid").exists()
    assert done.out.splitlines()[0].startswith("hello: app.py, ")


def typed(command: str, project: Command) -> tuple[str, int]:
    """Run a command line; end `pgflow dev` by Ctrl-C when its first run has completed."""
    with subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        cwd=project.directory,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        printed = ""
        try:
            for line in process.stdout:
                printed += line
                if re.match(r"[\d:]+  hello \w+ completed in ", line):
                    process.send_signal(signal.SIGINT)
            return printed, process.wait(60)
        finally:
            process.kill()


@pytest.mark.parametrize("name", ["1st", "my project", "a/..", "", "-x", "x-", "naïve", "x" * 65])
def test_bad_names_are_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(["new", "--", name], tmp_path, monkeypatch, capsys)
    assert "cannot be the name of a project" in error
    assert "Allowed: letters, digits, - and _" in error
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_pgflow_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is the name of pgflow itself" in refused(
        ["new", "pgflow"], tmp_path, monkeypatch, capsys
    )


def test_an_unknown_template_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(["new", "x", "--template", "agnet"], tmp_path, monkeypatch, capsys)
    assert "did you mean 'agent'?" in error
    assert "There are: static, dynamic, agent." in error
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_use_is_left_alone_unless_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "app.py").write_text("mine")
    (tmp_path / "mine" / "notes").write_text("mine")
    error = refused(["new", "mine"], tmp_path, monkeypatch, capsys)
    assert "mine exists, and is not empty" in error
    assert "--force" in error
    assert (tmp_path / "mine" / "app.py").read_text() == "mine"
    with pytest.raises(SystemExit) as end:
        main(["new", "mine", "--force"])
    assert end.value.code == 0
    assert 'Flow[Guests]("mine"' in (tmp_path / "mine" / "app.py").read_text()
    assert (tmp_path / "mine" / "notes").read_text() == "mine"


def test_a_file_of_that_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("")
    assert "is no directory" in refused(["new", "taken"], tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("name", "slug"), [("run", "run_flow"), ("My-Shop2", "my_shop2"), ("deep/er", "er")]
)
def test_the_flow_has_a_slug_that_is_valid(
    name: str, slug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["new", name])
    assert end.value.code == 0
    assert f'Flow[Guests]("{slug}"' in (tmp_path / name / "app.py").read_text()


def test_what_is_missing_is_to_be_installed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "pgflow.cli.new.find_spec", lambda name: None if name in {"pytest", "watchfiles"} else name
    )
    monkeypatch.setenv("PGFLOW_DSN", "postgresql://nowhere")
    with pytest.raises(SystemExit):
        main(["new", "x"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[lines.index("cd x") + 1] == "pip install pytest 'py-pgflow[dev]'"
    assert lines[lines.index("cd x") + 2].startswith("pgflow init ")


def refused(
    arguments: list[str],
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    """Call the command; return its complaint."""
    monkeypatch.chdir(directory)
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    return capsys.readouterr().err

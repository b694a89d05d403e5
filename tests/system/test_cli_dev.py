"""`pgflow dev`: runs are worked on and shown, code is reloaded, mistakes wait to be mended, Ctrl-C ends it all."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.support.command import Command
from tests.support.dev_session import (
    DevSession,
    is_alive,
    take_terminal,
    wait_for,
    worker_pids,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

FLOW = """
from pgflow import Flow, current_task

hello = Flow[list[str]]("hello", base_delay=0)

@hello.map()
def greet(name: str) -> str:
    print(f"greeting {name}")
    return f"GREETING {name}"

@hello.step(depends_on=(greet,))
def letter(greetings: list[str]) -> str:
    return ", ".join(greetings)
"""
SLOW = """
import asyncio
import time
from pathlib import Path
from pgflow import Flow, current_task

slow = Flow[str]("slow", max_attempts=1, timeout=100)

@slow.step()
async def wait(marker: str) -> int:
    Path(marker).touch()
    await asyncio.sleep(WAIT)
    return current_task().attempt

stubborn = Flow[str]("stubborn", timeout=100)

@stubborn.step()
def block(marker: str) -> None:
    Path(marker).touch()
    time.sleep(100)
"""


@pytest.fixture
def pgflow(tmp_path: Path, database_url: str) -> Command:
    write(tmp_path / "app.py", FLOW.replace("GREETING", "Hello"))
    write(tmp_path / "slow.py", SLOW.replace("WAIT", "100"))
    return Command(tmp_path, database_url)


def output_of_a_run(session: DevSession, database_url: str, *names: str) -> Any:
    """Start a run from elsewhere; return the output that the session shows."""
    with psycopg.connect(database_url) as connection:
        connection.execute("select pgflow.start_flow('hello', %s)", [json.dumps(names)])
    return json.loads(session.until(r"hello \w{8} completed in [^:]*: (.*)$")[1])


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_code_is_followed_and_mistakes_wait_to_be_mended(
    pgflow: Command, database_url: str
) -> None:
    app = pgflow.directory / "app.py"
    with DevSession(pgflow, "app.py") as session:
        session.until(r"serving hello;")
        session.until(r"^  pgflow run app\.py:hello --no-worker$")
        assert output_of_a_run(session, database_url, "Ada", "Grace") == {
            "letter": "Hello Ada, Hello Grace"
        }
        assert {"greeting Ada", "greeting Grace"} <= set(session.text.splitlines())

        write(app, FLOW.replace("GREETING", "Hi"))
        session.until(r"app\.py changed")
        session.until(r"reloaded: hello")
        assert output_of_a_run(session, database_url, "Ada") == {"letter": "Hi Ada"}

        write(app, FLOW.replace("GREETING", "Hey") + "\nx = (\n")
        session.until(r"this code does not work: .*SyntaxError: '\(' was never closed")
        session.until(r"^    app\.py:15$")
        assert output_of_a_run(session, database_url, "Ada") == {"letter": "Hi Ada"}, (
            "the old code goes on"
        )

        write(app, FLOW.replace("(greet,)", "(greet, greet)"))
        session.until(r"this code does not work: PGF101: flow 'hello' has 2 problems")
        session.until(r"^  app\.py:11: step 'letter'$")

        write(app, FLOW.replace("GREETING", "Servus") + "\nno_such_name\n")
        session.until(r"this code does not work: .*NameError: name 'no_such_name'")
        session.until(r"^    app\.py:15$")

        write(app, FLOW.replace("GREETING", "Servus"))
        session.until(r"reloaded: hello")
        assert output_of_a_run(session, database_url, "Ada") == {"letter": "Servus Ada"}

        session.interrupt()
        assert session.ended() == 0
    workers = worker_pids(database_url)
    assert len(workers) == 3
    assert set(workers.values()) == {"stopped"}
    assert not any(map(is_alive, workers))
    assert "Traceback" not in session.text


@pytest.mark.slow
def test_a_file_that_is_broken_at_first_can_be_mended(pgflow: Command) -> None:
    app = pgflow.directory / "app.py"
    write(app, "import helper\n" + FLOW)
    with DevSession(pgflow, "app.py", "--run", "--input", '["Ada"]') as session:
        session.until(r"this code does not work: .*No module named 'helper'")
        write(pgflow.directory / "helper.py", "GREETING = 'Hello'\n")
        session.until(r"helper\.py changed")
        session.until(r"hello \w{8} completed in .*GREETING Ada")
        session.interrupt()
        assert session.ended() == 0


@pytest.mark.slow
def test_a_reload_costs_running_tasks_no_attempt(pgflow: Command, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with DevSession(pgflow, "slow.py:slow", "--drain-timeout", "0") as session:
        session.until(r"serving slow;")
        arguments = ("run", "slow", "--no-worker", "--input", f'"{marker}"', "--json")
        run = pgflow.start(*arguments)
        try:
            wait_for(marker)
            write(tmp_path / "slow.py", SLOW.replace("WAIT", "0"))
            session.until(r"reloaded: slow")
            out, _ = run.communicate(timeout=90)
        finally:
            run.kill()
        assert '"wait": 1' in out
        session.until(r"slow \w{8} completed in")
        session.interrupt()
        assert session.ended() == 0


@pytest.mark.slow
def test_each_edition_starts_a_run_in_the_place_of_the_last(
    pgflow: Command, tmp_path: Path
) -> None:
    given = tmp_path / "input.json"
    given.write_text(f'"{tmp_path / "first"}"')
    arguments = ("--input", f"@{given}", "--drain-timeout", "0")
    with DevSession(pgflow, "slow.py:slow", *arguments) as session:
        wait_for(tmp_path / "first")
        given.write_text(f'"{tmp_path / "second"}"')
        write(tmp_path / "slow.py", SLOW.replace("WAIT", "0"))
        session.until(r"reloaded: slow")
        endings = [session.until(r"slow \w{8} (completed|cancelled) in .*") for _ in range(2)]
        assert {ending[1] for ending in endings} == {"completed", "cancelled"}
        assert (tmp_path / "second").exists()
        session.interrupt()
        assert session.ended() == 0
    assert "the code has changed, and pgflow dev starts another run" in session.text


@pytest.mark.slow
def test_a_run_of_several_flows_is_refused_and_nothing_ends(pgflow: Command) -> None:
    with DevSession(pgflow, "slow.py", "--run") as session:
        session.until(r"no run was started: .* there are 2: slow, stubborn")
        session.until(r"Name it: pgflow dev slow\.py:slow --run")
        session.interrupt()
        assert session.ended() == 0


@pytest.mark.slow
def test_a_second_interrupt_kills_what_does_not_end(
    pgflow: Command, database_url: str, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    arguments = ("--input", f'"{marker}"', "--drain-timeout", "90")
    with DevSession(pgflow, "slow.py:stubborn", *arguments) as session:
        wait_for(marker)
        began = time.monotonic()
        session.interrupt()
        session.until("stopping; tasks that run have 90 s")
        session.interrupt()
        assert session.ended() == 130
        assert time.monotonic() - began < 60, "less than the drain timeout"
    assert not any(map(is_alive, worker_pids(database_url)))


@pytest.fixture
def project() -> Iterator[Command]:
    """Give a project that uses the embedded server, in a directory with a short path."""
    made = Path(tempfile.mkdtemp(prefix="pgflow-dev-"))
    (made / "pyproject.toml").write_text("")
    write(made / "app.py", FLOW.replace("GREETING", "Hello"))
    yield Command(made, None)
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.slow
def test_the_embedded_server_serves_other_terminals_and_ends_with_it(project: Command) -> None:
    with DevSession(project, "app.py") as session:
        run = session.until(r"^  (pgflow run .*)$")[1]
        psql = shlex.split(session.until(r"^  (psql .*)$")[1])
        done = project(*shlex.split(run)[1:], "--input", '["Ada"]', "--json", timeout=90)
        assert done.json["output"] == {"letter": "Hello Ada"}
        with psycopg.connect(psql[1]) as connection:
            found = connection.execute("select status from pgflow.runs").fetchall()
            assert found == [("completed",)]
        session.interrupt()
        assert session.ended() == 0
    data = project.directory / ".pgflow" / "postgres" / "data"
    assert data.is_dir()
    assert not (data / "postmaster.pid").exists()


@pytest.mark.slow
def test_a_terminal_shows_a_live_picture(pgflow: Command) -> None:
    primary, secondary = pty.openpty()
    environment = {**pgflow.environment(), "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(
        [*pgflow.line("dev", "app.py", "--input", '["Ada", "Grace"]')],
        cwd=pgflow.directory,
        env=environment,
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        start_new_session=True,
        preexec_fn=take_terminal,  # noqa: PLW1509 - nothing else does
    )
    os.close(secondary)
    shown, has_interrupted = "", False
    try:
        while chunk := os.read(primary, 65536):
            shown += chunk.decode(errors="replace")
            if not has_interrupted and re.search(r"✓ hello.*Hello Ada, Hello Grace", shown):
                has_interrupted = True
                os.write(primary, b"\x03")
    except OSError:  # Linux's end of a terminal
        pass
    finally:
        os.close(primary)
        if not has_interrupted:
            process.kill()
    assert process.wait(60) == 0
    assert "\x1b[?25l" in shown, "a live display hides the cursor"
    assert "\x1b[?25h" in shown, "and shows it again"
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert "1 worker ready" in plain
    assert "greeting Grace" in plain
    assert re.search(r"app\.py  stopped  code of \d\d:\d\d:\d\d\s", plain)


def test_a_file_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    done = Command(tmp_path, None)("dev", "ap.py")
    assert (done.code, done.out) == (2, "")
    assert "there is no file ap.py" in done.err
    assert not (tmp_path / ".pgflow").exists()


def test_input_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("")
    done = Command(tmp_path, None)("dev", "app.py", "--input", "{names}")
    assert done.code == 2
    assert "--input: " in done.err


def test_without_its_extra_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['watchfiles'] = None\n"
        "from pgflow.cli import main; main(['dev', 'app.py'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'py-pgflow[dev]'" in done.stderr
    assert "Traceback" not in done.stderr

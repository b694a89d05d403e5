"""The command line: whatever is typed, it ends with a documented exit code and never with a traceback."""

from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING
from unittest.mock import AsyncMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgflow.cli.app import COMMANDS
from tests.fuzz.strategies import ANY_TEXT, NASTY, STORABLE_TEXT, fuzz
from tests.support.command import Here

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTED = {0, 1, 2, 3}
# `demo` starts servers; `worker` and `dev` would work; the others end by themselves.
NAMES = sorted(set(COMMANDS) - {"demo"})
OPTIONS = [
    "--json", "--limit", "-n", "--flow", "--status", "--step", "--input", "-i", "--key", "--no-worker", "--no-wait",
    "--concurrency", "--log-level", "--help", "-h", "--version", "--debug", "--reason", "--", "-", "--processes", "-p",
    "--queue", "--lease", "--drain-timeout",
]  # fmt: skip
# An argument of a process holds no NUL; what is undecodable arrives as surrogates.
TEXTS = (ANY_TEXT | STORABLE_TEXT).filter(lambda text: "\0" not in text)
WORDS = (
    st.sampled_from(OPTIONS) | st.sampled_from(NAMES) | TEXTS | st.integers(-3, 3).map(str)
    | st.sampled_from(["started", "failed", "00000000-0000-0000-0000-000000000000", "{}", "[1", "@nowhere", "a:b", "nowhere.py:f", "broken.py:f", "good.py:good", "good.py"])
)  # fmt: skip
LINES = st.lists(WORDS, max_size=5) | st.builds(
    lambda name, rest: [name, *rest], st.sampled_from(NAMES), st.lists(WORDS, max_size=5)
)
GOOD = "from pgflow import Flow\ngood = Flow('good', max_attempts=1)\ngood.step(name='a')(lambda given: given)\n"


@pytest.fixture
def here(
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Here:
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "broken.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO("{}"))
    # The commands worker and dev would work for ever on what they can load, in processes of their own.
    monkeypatch.setattr("pgflow.supervisor.Supervisor.run", lambda _: 0)
    monkeypatch.setattr("pgflow.dev.session.Session.run", AsyncMock(return_value=0))
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    return Here(database_url, capsys)


def check(here: Here, words: list[str]) -> None:
    words = [word for word in words if word != "--debug"]
    done = here(*words)
    assert done.code in DOCUMENTED, (words, done)
    said = done.out + done.err
    assert "Traceback" not in said, (words, done)
    assert "This is a bug of pgflow" not in said, (words, done)
    assert done.code != 2 or done.err, (words, done)


@fuzz(60)
@given(words=LINES)
def test_any_line_ends_well(here: Here, words: list[str]) -> None:
    check(here, words)


@pytest.mark.parametrize(
    "line",
    [["show"], ["cancel"], ["retry"], ["flows"], ["dev", "good.py:good"], ["run", "--no-worker"], ["run", "good.py:good", "--no-wait", "--key"],
     ["run", "good.py:good", "--no-wait", "--input"], ["runs", "--flow"], ["runs", "--status"], ["worker"]],
    ids=" ".join,
)  # fmt: skip
def test_nasty_texts_in_each_place(here: Here, line: list[str]) -> None:
    # A run is started for each: those that are texts like any other tell nothing new.
    texts = [text for text in NASTY if "\0" not in text]
    for text in texts if line[:2] != ["run", "good.py:good"] else texts[-12:]:
        check(here, [*line, text])

"""Crash points: inert by default, counted by passings, and what they can do besides killing."""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from pgflow import _crashpoints

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    signals: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _, number: signals.append(number))
    yield signals
    _crashpoints.arm("")


def pass_by(*names: str) -> None:
    for name in names:
        _crashpoints.crash_point(name)


def test_nothing_happens_unless_it_is_armed(sent: list[int]) -> None:
    _crashpoints.arm("")
    pass_by("before_claim", "after_claim")
    assert sent == []


@pytest.mark.parametrize(
    ("specification", "number"),
    [("here", signal.SIGKILL), ("here:1:kill", signal.SIGKILL), ("here:1:term", signal.SIGTERM)],
)
def test_the_named_point_sends_its_signal_once(
    sent: list[int], specification: str, number: signal.Signals
) -> None:
    _crashpoints.arm(specification)
    pass_by("there")
    assert sent == []
    pass_by("here", "here")
    assert sent == [number]


def test_the_nth_passing_counts(sent: list[int]) -> None:
    _crashpoints.arm("here:3")
    pass_by("here", "there", "here")
    assert sent == []
    pass_by("here")
    assert sent == [signal.SIGKILL]


def test_asking_waits_for_the_answer(sent: list[int], tmp_path: Path) -> None:
    path = tmp_path / "socket"
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()

        def answer() -> None:
            line, _ = server.accept()
            with line:
                heard.append(line.recv(100))

        thread = threading.Thread(target=answer)
        thread.start()
        _crashpoints.arm(f"here:1:ask={path}")
        pass_by("here")
        assert heard == [b"here"], "it went on only when it had been heard"
        thread.join()
    assert sent == []


def test_unknown_actions_are_refused() -> None:
    with pytest.raises(ValueError, match="knows no action 'explode'"):
        _crashpoints.arm("here:1:explode")
    _crashpoints.arm("")

"""Named points at which a fault test makes this process kill itself, or waits for it; inert unless PGFLOW_CRASH_AT is set."""

from __future__ import annotations

import itertools
import os
import signal
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ASK = "ask="

_name = ""
_passing = 1
_action = ""
_passings: Iterator[int] = itertools.count(1)


def arm(specification: str) -> None:
    """Set what happens where: `point`, `point:n` or `point:n:action`, at the n-th passing of that point.

    Actions: `kill` (SIGKILL, the default), `term` (SIGTERM), and `ask=<path>`, which tells the unix socket of that path
    the point's name and goes on when the other side has answered or hung up. An empty specification is inert.
    """
    global _name, _passing, _action, _passings  # noqa: PLW0603 - one setting a process
    _name, _, rest = specification.partition(":")
    count, _, _action = rest.partition(":")
    _passing = int(count or 1)
    _passings = itertools.count(1)
    if _action not in {"", "kill", "term"} and not _action.startswith(_ASK):
        raise ValueError(f"PGFLOW_CRASH_AT knows no action {_action!r}")


def crash_point(name: str) -> None:
    """Do what was set for this point, if anything was."""
    if name == _name and next(_passings) == _passing:
        _act()


def _act() -> None:
    if _action.startswith(_ASK):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.connect(_action.removeprefix(_ASK))
            line.sendall(_name.encode())
            line.shutdown(socket.SHUT_WR)
            line.recv(1)
    else:
        os.kill(os.getpid(), signal.SIGTERM if _action == "term" else signal.SIGKILL)


arm(os.environ.get("PGFLOW_CRASH_AT", ""))

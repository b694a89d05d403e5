"""Runs a server of this package as a process on a free port of the loopback interface, for the length of a `with`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.applications import Starlette

LOOPBACK = "127.0.0.1"


@contextmanager
def serving(module: str, *arguments: str) -> Iterator[str]:
    """Start `python -m` of a module of this package, and yield the address that it says."""
    # The command is this interpreter, and a module that stands here.
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", f"{__package__}.{module}", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            url = process.stdout.readline().strip() if process.stdout else ""
            if not url:
                raise RuntimeError(f"{module} did not start")
            yield url
        finally:
            process.kill()


def serve(app: Starlette) -> None:
    """Serve until the process that started this one ends it, or has ended itself."""
    listener = socket.create_server((LOOPBACK, 0))
    print(f"http://{LOOPBACK}:{listener.getsockname()[1]}", flush=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)

"""Many short-lived processes: forked from one that has imported everything, in milliseconds, and killed at will.

The nursery is a process of its own with a single thread, so its forks are clean. Its children die with it, and it ends
with its owner.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.support.worker_processes import ROOT, import_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PATIENCE = 60.0
_PR_SET_PDEATHSIG = 1


class Nursling:
    """A forked process; known to have ended as soon as the nursery has reaped it, and never mistaken for another."""

    def __init__(self, log: Path) -> None:
        self.pid = 0
        self.log = log
        self.code: int | None = None
        """Its exit code; minus the signal's number if one ended it."""
        self.born = threading.Event()
        self.ended = threading.Event()

    def send(self, number: signal.Signals) -> bool:
        """Send a signal; tell whether it was alive."""
        if self.ended.is_set():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait for its end and return its exit code."""
        if not self.ended.wait(seconds):
            raise AssertionError(f"process {self.pid} does not end; its log: {self.log}")
        assert self.code is not None
        return self.code

    def is_stopped(self) -> bool:
        """Tell whether SIGSTOP has taken effect."""
        with suppress(OSError):
            status = Path(f"/proc/{self.pid}/stat").read_text()
            return status.rpartition(")")[2].split()[0] == "T"
        return False


class Nursery:
    """Forks processes that call `module:function` with a configuration; all of them end with the block."""

    def __init__(self, target: str, directory: Path, environment: Mapping[str, str] = {}) -> None:
        """Write a log for each process into `directory`."""
        self._directory = directory
        ours, theirs = socket.socketpair()
        code = "from tests.support.nursery import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, str(theirs.fileno()), target],
            env={**os.environ, **environment, "PYTHONPATH": import_path()},
            cwd=ROOT,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._line = ours
        self._lock = threading.Lock()
        self._children: list[Nursling] = []
        self._reader = threading.Thread(target=self._listen, name="nursery", daemon=True)
        self._reader.start()

    def start(self, config: Mapping[str, Any], *, log: str = "") -> Nursling:
        """Fork a process and return when it exists."""
        with self._lock:
            number = len(self._children)
            child = Nursling(self._directory / f"{log or f'process-{number}'}.log")
            self._children.append(child)
            request = {"number": number, "config": config, "log": str(child.log)}
            self._line.sendall(json.dumps(request).encode() + b"\n")
        if not child.born.wait(PATIENCE):
            raise AssertionError("the nursery does not answer")
        return child

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.shutdown(socket.SHUT_WR)
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join(PATIENCE)
            self._line.close()

    def _listen(self) -> None:
        with self._line.makefile("rb") as lines:
            for line in lines:
                message = json.loads(line)
                child = self._children[message["number"]]
                if "pid" in message:
                    child.pid = message["pid"]
                    child.born.set()
                else:
                    child.code = message["code"]
                    child.ended.set()


def main() -> None:
    """Fork as the owner asks until it hangs up; then kill what is left."""
    line = socket.socket(fileno=int(sys.argv[1]))
    module, _, name = sys.argv[2].partition(":")
    function = getattr(importlib.import_module(module), name)
    wake, wakened = os.pipe()
    os.set_blocking(wakened, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakened, warn_on_full_buffer=False)
    children: dict[int, int] = {}
    buffer = b""
    while True:
        readable, _, _ = select.select([line.fileno(), wake], [], [])
        if wake in readable:
            os.read(wake, 4096)
            _reap(line, children)
        if line.fileno() in readable:
            data = line.recv(1 << 16)
            if not data:
                break
            *requests, buffer = (buffer + data).split(b"\n")
            for request in requests:
                _fork(line, children, json.loads(request), function)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    for pid in list(children):
        os.waitpid(pid, 0)


def _reap(line: socket.socket, children: dict[int, int]) -> None:
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            _tell(line, {"number": children.pop(pid), "code": code})


def _fork(
    line: socket.socket,
    children: dict[int, int],
    request: dict[str, Any],
    function: Callable[[dict[str, Any]], int | None],
) -> None:
    pid = os.fork()
    if pid:
        children[pid] = request["number"]
        _tell(line, {"number": request["number"], "pid": pid})
        return
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        line.close()
        with suppress(OSError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = function(request["config"]) or 0
    except BaseException:  # noqa: BLE001 - said in the log; nothing of the parent's may run here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _tell(line: socket.socket, message: dict[str, int]) -> None:
    with suppress(OSError):
        line.sendall(json.dumps(message).encode() + b"\n")

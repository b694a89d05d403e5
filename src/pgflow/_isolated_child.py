"""The process of isolated handlers: reads a task, performs it, writes the outcome; ends with its parent."""

from __future__ import annotations

import asyncio
import fcntl
import importlib
import logging
import os
import resource
import runpy
import signal
import socket
import sys
import threading
import types
from collections import UserDict
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pgflow._context import Services, TaskContext
from pgflow._handler import Handler, is_coroutine_function
from pgflow._isolation import Border, pack, read_frame
from pgflow._outcomes import Completed, Failed, failure
from pgflow.errors import UsageError
from pgflow.flow import Flow, Step
from pgflow.records import GrantedTask, RawJson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgflow._outcomes import Outcome

_MAIN = "__mp_main__"
"""The name under which the parent's script is imported: its `if __name__ == "__main__"` stays quiet."""


class _Parent:
    """The socket to the worker; written by one thread at a time, read by one thread of its own."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.requests: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._answers: SimpleQueue[dict[str, Any]] = SimpleQueue()
        threading.Thread(target=self._listen, name="pgflow-parent", daemon=True).start()

    def send(self, message: Mapping[str, Any]) -> None:
        with self._lock:
            self._connection.sendall(pack(message))

    def ask_run_input(self, _: UUID) -> RawJson:
        self.send({"want": "run_input"})
        return RawJson(self._answers.get()["run_input"].encode())

    def _listen(self) -> None:
        while True:
            try:
                message = read_frame(self._connection)
            except (EOFError, OSError):
                # The worker is gone, or has given this task up: nothing done here counts any more.
                os.killpg(os.getpid(), signal.SIGKILL)
            else:
                (self.requests if "task" in message else self._answers).put(message)


class _Progress(UserDict[tuple[UUID, str, int, int], str]):
    def __init__(self, parent: _Parent) -> None:
        super().__init__()
        self._parent = parent

    def __setitem__(self, key: tuple[UUID, str, int, int], text: str) -> None:
        self._parent.send({"progress": text})


class _ForwardedLogs(logging.Handler):
    """Sends records to the worker, whose logging is configured."""

    def __init__(self, parent: _Parent) -> None:
        super().__init__()
        self._parent = parent
        self._plain = set(vars(logging.makeLogRecord({})))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._send(record)
        except OSError:
            raise  # the worker is gone
        except Exception:  # noqa: BLE001 - no log record may fail a task: logging's own way
            self.handleError(record)

    def _send(self, record: logging.LogRecord) -> None:
        fields = {
            name: value
            for name, value in vars(record).items()
            if name not in self._plain and isinstance(value, str | int | float | bool | None)
        }
        fields |= {
            "name": record.name,
            "levelno": record.levelno,
            "levelname": record.levelname,
            "msg": self.format(record),
        }
        self._parent.send({"log": fields})


def main(descriptor: int, lifeline: int, main_file: str | None, main_module: str | None) -> None:
    """Serve until the parent closes the socket."""
    # The worker decides what becomes of its processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for inherited in (descriptor, lifeline):
        os.set_inheritable(inherited, False)
    _die_with(lifeline)
    Border.inside = True
    parent = _Parent(socket.socket(fileno=descriptor))
    logging.getLogger().addHandler(_ForwardedLogs(parent))
    logging.getLogger("pgflow.task").setLevel(logging.INFO)
    handlers: dict[str, Handler] = {}
    while True:
        request, limit = parent.requests.get(), None
        try:
            key = repr((request["function"], request["shape"], request["task"]["step_slug"]))
            if key not in handlers:
                step = _find_step(request, main_file, main_module)
                handlers[key] = Handler(step)
            limit = request["memory_limit"]
            with _memory_limited(limit):
                outcome = _perform(request, handlers[key], parent)
        except BaseException as error:  # noqa: BLE001 - importing runs user code
            outcome = failure(error)
        parent.send(_message(outcome) | _memory_note(outcome, limit))


def _die_with(lifeline: int) -> None:
    """Have the kernel kill this process's group when the worker is gone: a handler that holds the GIL stops all threads."""
    if sys.platform == "linux":
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)


@contextmanager
def _memory_limited(limit: int | None) -> Iterator[None]:
    """Have allocations fail beyond so many MiB of the process's own data."""
    if limit is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = limit << 20
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _memory_note(outcome: Outcome, limit: int | None) -> dict[str, Any]:
    """Name the limit that an attempt has reached; such a process is not used again, whatever the handler left in it."""
    if limit is None or not isinstance(outcome, Failed) or outcome.details["type"] != "MemoryError":
        return {}
    return {
        "error": f"MemoryError: the handler reached its memory_limit of {limit} MiB",
        "spent": True,
    }


def _perform(request: Mapping[str, Any], handler: Handler, parent: _Parent) -> Outcome:
    fields = dict(request["task"])
    fields["run_id"] = UUID(fields["run_id"])
    for name in ("input", "flow_input"):
        fields[name] = None if fields[name] is None else RawJson(fields[name].encode())
    task = GrantedTask(**fields)
    services = Services(
        worker_id=UUID(request["worker_id"]),
        read_run_input=parent.ask_run_input,
        progress=_Progress(parent),
        deferred=request["deferred"],
    )
    batched = handler.step.batch_size is not None
    context = TaskContext(task, services, "process", batched=batched, redaction=handler.redaction)
    if is_coroutine_function(handler.function):
        return asyncio.run(handler.attempt(task, context))
    return handler.attempt_sync(task, context)


def _message(outcome: Outcome) -> dict[str, Any]:
    match outcome:
        case Completed(output):
            return {"outcome": "completed", "output": output}
        case Failed(error, details):
            return {"outcome": "failed", "error": error, "details": details}
        case _:
            raise AssertionError(outcome)


def _find_step(
    request: Mapping[str, Any], main_file: str | None, main_module: str | None
) -> Step[Any]:
    module_name, qualified_name = request["function"]
    if module_name == "__main__":
        _import_main(main_file, main_module)
    found: Any = importlib.import_module(module_name)
    for name in qualified_name.split("."):
        found = getattr(found, name, None)
    if found is None:
        raise UsageError(
            f"the handler {module_name}.{qualified_name} cannot be imported by another process",
            hint="isolation='process' needs a function at the top level of a module.",
        )
    task, shape = request["task"], request["shape"]
    if isinstance(found, Step):
        if found.slug == task["step_slug"] and found.flow.slug == task["flow_slug"]:
            return found
        found = found.function
    return _rebuilt_step(task["flow_slug"], task["step_slug"], found, shape)


def _rebuilt_step(
    flow_slug: str, step_slug: str, function: Any, shape: Mapping[str, Any]
) -> Step[Any]:
    """Build a step of the same shape, whose flow holds nothing but it and its dependencies' names."""
    flow: Flow[Any] = Flow(flow_slug, redact=shape["redact"])
    dependencies = list(shape["dependencies"])
    batches = {} if shape["batch_size"] is None else {"batch_size": shape["batch_size"]}
    if shape["convention"] == "mapping":
        options = {"depends_on": dependencies, "step_type": shape["step_type"]}
        if shape["initial_tasks"] is not None:
            options["initial_tasks"] = shape["initial_tasks"]
        entries = [(step_slug, function, options)]
        flow = Flow.from_list(flow_slug, entries, redact=shape["redact"])
    elif shape["step_type"] == "single":
        flow.step(depends_on=dependencies, name=step_slug)(function)
    elif shape["takes_element"] and dependencies:
        flow.map(over=dependencies[0], name=step_slug, **batches)(function)
    elif shape["takes_element"]:
        flow.map(name=step_slug, **batches)(function)
    else:
        make = getattr(flow, "map")  # noqa: B009 - dynamic use, beyond the typed overloads
        make(depends_on=dependencies, name=step_slug, initial_tasks=shape["initial_tasks"])(
            function
        )
    return flow[step_slug]


def _import_main(file: str | None, module: str | None) -> None:
    if _MAIN in sys.modules:
        return
    main = types.ModuleType(_MAIN)
    if module is not None:
        namespace = runpy.run_module(module, run_name=_MAIN, alter_sys=True)
    elif file is not None:
        namespace = runpy.run_path(file, run_name=_MAIN)
    else:
        raise UsageError(
            "isolation='process' needs handlers in a file, not in an interactive session"
        )
    main.__dict__.update(namespace)
    sys.modules["__main__"] = sys.modules[_MAIN] = main

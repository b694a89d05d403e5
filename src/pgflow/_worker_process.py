"""The main program of a supervised worker: works as its supervisor configured it, and ends with it."""

from __future__ import annotations

import asyncio
import io
import os
import select
import socket
import sys
import threading
from typing import Any

from pgflow._isolation import pack, read_frame
from pgflow._logs import configure_logging
from pgflow._targets import places_of
from pgflow._vault import load_value_codec
from pgflow.database import is_transient
from pgflow.embedded import resolve_dsn
from pgflow.errors import DefinitionError, PgflowError
from pgflow.plan import Handlers
from pgflow.worker import Worker, load_work

SIGN_OF_LIFE = 1.0
BAD_START = 2
END_PATIENCE = 5.0
"""Seconds that the event loop has to close once the worker has stopped."""
LAST_PATIENCE = 15.0
"""Seconds beyond the drain timeout after which an orphan ends without ceremony."""


def main(descriptor: int) -> int:
    """Run one worker; return the exit code."""
    os.set_inheritable(descriptor, False)
    connection = socket.socket(fileno=descriptor)
    config = read_frame(connection)
    if config["prints_lines"] and isinstance(sys.stdout, io.TextIOWrapper):
        # Unbuffered, threads would get between a line and its end.
        sys.stdout.reconfigure(line_buffering=True, write_through=False)
    configure_logging(config["log_level"])
    try:
        asyncio.run(_work(connection, config))
    except PgflowError as error:
        connection.sendall(pack({"error": str(error), "outage": is_transient(error)}))
        return BAD_START
    return 0


async def _work(connection: socket.socket, config: dict[str, Any]) -> None:
    work = load_work(config["targets"])
    flows, queues = ([], work.queues) if isinstance(work, Handlers) else (work, [])
    for flow in flows:
        try:
            flow.validate()
        except DefinitionError as error:
            hint = "\n  ".join(places_of(error, flows))
            raise DefinitionError(error.problems, flow=error.flow, hint=hint or None) from error
    worker = Worker(
        await asyncio.to_thread(resolve_dsn, config["dsn"]),
        work,
        queues=config["queues"],
        concurrency=config["concurrency"],
        lease=config["lease"],
        drain_timeout=config["drain_timeout"],
        value_codec=load_value_codec(config["value_codec"]),
    )
    arguments = (connection, worker, config["drain_timeout"])
    threading.Thread(target=_attend, args=arguments, daemon=True, name="pgflow-parent").start()
    served = {"flows": [flow.slug for flow in flows], "queues": queues}
    announce = asyncio.create_task(_announce(connection, worker, served))
    try:
        await worker.run(signals=True)
    finally:
        announce.cancel()
        threading.Thread(target=_end_anyway, daemon=True, name="pgflow-end").start()


def _end_anyway() -> None:
    """End the process although a handler that was given up keeps the event loop from closing."""
    threading.Event().wait(END_PATIENCE)
    os._exit(1)


async def _announce(
    connection: socket.socket, worker: Worker, served: dict[str, list[str]]
) -> None:
    await worker.started.wait()
    connection.sendall(pack({"ready": str(worker.worker_id), **served}))
    await worker.stopping.wait()
    connection.sendall(pack({"stopping": True}))


def _attend(connection: socket.socket, worker: Worker, drain_timeout: float) -> None:
    """Tell that the process lives; stop the worker when the supervisor is gone."""
    while True:
        readable, _, _ = select.select([connection], [], [], SIGN_OF_LIFE)
        if readable:
            break
        try:
            connection.sendall(pack({"alive": True}))
        except OSError:
            break
    worker.stop()
    # The drain has its time; then the end comes, whatever a handler does.
    threading.Event().wait(drain_timeout + LAST_PATIENCE)
    os._exit(1)

"""Supervisor: keeps a number of worker processes running, one restart never hurrying the next.

Each child hangs on a private socket: it tells that it lives, and ends when the socket does, so no
worker outlives its supervisor. The child's half is _worker_process.py.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from pgflow._background import stopped_by_signals
from pgflow._child import Child, ChildSilent
from pgflow._isolation import Border
from pgflow.embedded import resolve_dsn
from pgflow.errors import PgflowError

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
HEALTHY = 30.0
"""Seconds of life after which a child's restarts are forgotten."""
SILENT = 60.0
"""Seconds without a sign of life after which a child is killed."""
START_PATIENCE = 60.0
"""Seconds that a child has for its first sign of life: it imports the user's code before."""
KILL_AFTER = 5.0
"""Seconds that children have after a second stop."""
BAD_START = 2
"""Exit code of a child that cannot work as configured, and then of the supervisor."""

_log = logging.getLogger("pgflow.supervisor")


class Supervisor:
    """Runs `processes` workers of the targets; blocking by `run`, else `async with`.

    >>> Supervisor("app.flows:campaign", processes=4).run()
    0
    """

    def __init__(
        self,
        targets: str | Sequence[str],
        *,
        processes: int = 2,
        dsn: str | None = None,
        queues: Sequence[str] | None = None,
        concurrency: int = 100,
        lease: int = 30,
        drain_timeout: float = 30,
        log_level: str = "INFO",
        silent_after: float = SILENT,
        value_codec: str | None = None,
        output: int | None = None,
    ) -> None:
        """Take what a Worker takes, `value_codec` as `module:attribute`; `silent_after` seconds without a sign of life get a child killed.

        What children print goes to the file descriptor `output` instead of this process's own output.
        """
        self.restarts = 0
        self.error: str | None = None
        """Why a worker could not start, or could not go on: the latest such text."""
        self.met_outage = False
        """Whether that was by the fault of the server, or of the way to it: it may work later."""
        self.flows: list[str] = []
        """Slugs of the flows that the children serve, once one is ready."""
        self.queues: list[str] = []
        """Queues of the handlers that they serve instead, where plans name them."""
        self._processes = processes
        self._dsn = dsn
        self._silent_after = silent_after
        self._drain_timeout = drain_timeout
        self._output = output
        self._config: dict[str, Any] = {
            "targets": [targets] if isinstance(targets, str) else list(targets),
            "dsn": dsn,
            "queues": None if queues is None else list(queues),
            "concurrency": concurrency,
            "lease": lease,
            "drain_timeout": drain_timeout,
            "log_level": log_level,
            "value_codec": value_codec,
            "prints_lines": output is not None,
        }
        self._children: dict[int, Child] = {}
        self._workers: dict[int, UUID] = {}
        self._stopping = asyncio.Event()
        self._ready = asyncio.Condition()
        self._worked = False
        self._exit_code = 0
        self._kill: asyncio.TimerHandle | None = None
        self._running: asyncio.Task[int] | None = None

    @property
    def pids(self) -> dict[int, int]:
        """Return the process id of each slot's child that lives."""
        return {slot: child.pid for slot, child in self._children.items()}

    @property
    def workers(self) -> dict[int, UUID]:
        """Return the worker id of each slot's child that is registered and does not drain."""
        return dict(self._workers)

    def run(self) -> int:
        """Supervise until SIGTERM or SIGINT, then drain; return the exit code. A second signal ends it at once."""
        return asyncio.run(self.run_async(signals=True))

    async def run_async(self, *, signals: bool = False) -> int:
        """Supervise until `stop`; return the exit code: 0, 1 after a kill, 2 when no worker could start."""
        Border.refuse_inside("Supervisor.run()")
        if self._dsn is None:
            # Holds an embedded server while its users, the children, come and go.
            await asyncio.to_thread(resolve_dsn)
        with ExitStack() as stack:
            if signals:
                stack.enter_context(stopped_by_signals(lambda _: self.stop()))
            await asyncio.gather(*(self._keep(slot) for slot in range(self._processes)))
        if self._kill is not None:
            self._kill.cancel()
        return self._exit_code

    async def __aenter__(self) -> Self:
        """Start the children in the background."""
        self._running = asyncio.create_task(self.run_async())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, and wait for the drain."""
        self.stop()
        if self._running is not None:
            await self._running

    async def ready(self) -> None:
        """Wait until every slot has a registered worker; raise PgflowError if none can start."""
        async with self._ready:
            await self._ready.wait_for(
                lambda: len(self._workers) == self._processes or self._stopping.is_set()
            )
        if self._stopping.is_set() and not self._worked:
            raise PgflowError(
                self.error
                or "the workers have ended before they could work; what they print says why"
            )

    async def quiet(self) -> None:
        """Wait, after `stop`, until no child takes on tasks any more; they may still drain."""
        async with self._ready:
            await self._ready.wait_for(lambda: not self._workers)

    def stop(self) -> None:
        """Have all children drain; a second call has them give up, and kills them soon after."""
        again = self._stopping.is_set()
        self._stopping.set()
        for child in self._children.values():
            child.send_signal(signal.SIGTERM)
        patience = KILL_AFTER if again else self._drain_timeout + 20
        if self._kill is not None:
            self._kill.cancel()
        self._kill = asyncio.get_running_loop().call_later(patience, self._kill_late)

    def kill(self) -> None:
        """Kill all children at once; their tasks start again when their leases end."""
        self.stop()
        self._send_kill()

    def _send_kill(self) -> None:
        for child in self._children.values():
            child.send_signal(signal.SIGKILL)

    async def _keep(self, slot: int) -> None:
        """Run children in a slot, one after the other, until stopped."""
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            begin = time.monotonic()
            code = await self._run_child(slot)
            if self._stopping.is_set():
                return
            self.restarts += 1
            if code == 0 or time.monotonic() - begin > HEALTHY:
                pause = FIRST_PAUSE  # it was asked to end, or has worked for long
            wait = pause * random.uniform(0.75, 1.25)  # noqa: S311 - spreads restarts, no secret
            _log.warning("worker %d ended with code %d, restart in %.1f s", slot, code, wait)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._stopping.wait()
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _run_child(self, slot: int) -> int:
        try:
            child = await Child.start(self._config, self._output)
        except OSError as error:
            # Too many processes or files, for the moment: the other slots work on.
            self.error = f"worker {slot} could not be started: {error}"
            _log.error("%s", self.error)
            return os.EX_OSERR
        self._children[slot] = child
        if self._stopping.is_set():
            child.send_signal(signal.SIGTERM)
        try:
            await self._attend(slot, child)
        except ChildSilent:
            _log.error(
                "worker %d gave no sign of life for %.0f s: killed", slot, self._silent_after
            )
            child.send_signal(signal.SIGKILL)
        code = await child.wait()
        self._children.pop(slot, None)
        self._workers.pop(slot, None)
        await self._tell_ready()
        if code == BAD_START and not self._worked:
            # Later on the same code may mean an outage, which passes.
            self._exit_code = BAD_START
            self.stop()
            await self._tell_ready()
        elif code != 0 and self._stopping.is_set():
            self._exit_code = self._exit_code or 1
        return code

    async def _attend(self, slot: int, child: Child) -> None:
        """Listen to a child until it ends."""
        first = max(self._silent_after, START_PATIENCE)
        async for message in child.messages(self._silent_after, first):
            match message:
                case {"ready": str(worker_id), "flows": list(flows), "queues": list(queues)}:
                    self._workers[slot] = UUID(worker_id)
                    self.flows, self.queues = flows, queues
                    self._worked = True
                    await self._tell_ready()
                case {"stopping": True}:
                    self._workers.pop(slot, None)
                    await self._tell_ready()
                case {"error": str(text), "outage": bool(is_outage)}:
                    self.error, self.met_outage = text, is_outage
                    _log.error("%s", text)
                case _:
                    pass

    async def _tell_ready(self) -> None:
        async with self._ready:
            self._ready.notify_all()

    def _kill_late(self) -> None:
        for slot in self._children:
            _log.error("worker %d did not end in time: killed", slot)
        self._send_kill()

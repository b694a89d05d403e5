"""Edition: the worker processes of one state of the code."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pgflow.errors import PgflowError
from pgflow.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Sequence

QUIET_PATIENCE = 2.0
"""Seconds to wait for word that an old worker takes on nothing more: a handler may block its event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What all editions have in common."""

    targets: Sequence[str]
    dsn: str
    processes: int
    concurrency: int
    drain_timeout: float
    log_level: str
    value_codec: str | None


class Edition:
    """Workers that have imported the code as it was at `born`."""

    def __init__(self, options: WorkerOptions, output: int) -> None:
        self.born = datetime.now().astimezone()
        self.is_ready = False
        self._supervisor = Supervisor(
            options.targets,
            processes=options.processes,
            dsn=options.dsn,
            concurrency=options.concurrency,
            drain_timeout=options.drain_timeout,
            log_level=options.log_level,
            value_codec=options.value_codec,
            output=output,
        )
        self._running: asyncio.Task[Any] = asyncio.create_task(self._supervisor.run_async())

    @property
    def flows(self) -> list[str]:
        """Slugs of its flows, once it is ready."""
        return self._supervisor.flows

    @property
    def queues(self) -> list[str]:
        """Queues of its handlers, where plans name them."""
        return self._supervisor.queues

    @property
    def pids(self) -> list[int]:
        """Process ids of its workers."""
        return list(self._supervisor.pids.values())

    @property
    def restarts(self) -> int:
        """How often a worker of it had to be replaced."""
        return self._supervisor.restarts

    @property
    def error(self) -> str | None:
        """Why its workers do not start, or stopped."""
        return self._supervisor.error

    @property
    def met_outage(self) -> bool:
        """Whether it was the server, not the code, that kept them from starting."""
        return self._supervisor.met_outage

    @property
    def is_working(self) -> bool:
        """Whether its workers take on tasks."""
        return bool(self._supervisor.workers)

    async def ready(self) -> None:
        """Wait until its workers work; raise PgflowError with what is wrong with the code."""
        ready = asyncio.create_task(self._supervisor.ready())
        try:
            await asyncio.wait({ready, self._running}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if not ready.done():
            self._running.result()
            raise PgflowError(self.error or "the workers have ended")
        ready.result()
        self.is_ready = True

    async def retire(self) -> None:
        """Have its workers drain; return when they take on nothing more."""
        self._supervisor.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(QUIET_PATIENCE):
                await self._supervisor.quiet()

    def kill(self) -> None:
        """Kill its workers."""
        self._supervisor.kill()

    async def ended(self) -> None:
        """Wait until its workers have ended."""
        await self._running

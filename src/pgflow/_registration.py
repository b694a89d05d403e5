"""A worker in the database: its flows' definitions and its own row, made anew where the server has lost them."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from pgflow._backoff import Backoff
from pgflow._logs import first_line
from pgflow._repertoire import prepare
from pgflow.database import is_transient
from pgflow.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from pgflow._repertoire import Flows, Repertoire
    from pgflow.database import Database

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 15.0
"""Seconds between two attempts on a server that takes no writes."""
LAST_WORDS = 10.0
"""Seconds that a stopping worker waits for a database that does not answer."""

_log = logging.getLogger("pgflow.worker")


class StoppedEarly(Exception):  # noqa: N818 - an event, not a fault
    """The worker was stopped before the server took its registration."""


class Registration:
    """Announces one worker; every method belongs to its event loop."""

    def __init__(
        self,
        worker_id: UUID,
        database: Database,
        flows: Flows,
        *,
        queues: Sequence[str] | None,
        name: str | None,
        concurrency: int,
    ) -> None:
        self._worker_id = worker_id
        self._database = database
        self._flows = flows
        self._queues = queues
        self._name = name
        self._concurrency = concurrency
        self._renewing = asyncio.Lock()

    async def begin(self, stopping: asyncio.Event) -> Repertoire:
        """Store the definitions, learn the queues, register.

        Waits for a server that answers but takes no writes: a standby, a read-only database, a full disk. Raises
        StoppedEarly, and whatever does not pass by itself.
        """
        backoff, has_waited = Backoff(FIRST_PAUSE, LONGEST_PAUSE), False
        while True:
            try:
                return await self._register()
            except Exception as error:
                lost = isinstance(error, ConnectionFailed) and not has_waited
                if lost or not is_transient(error):
                    raise
                _log.warning(
                    "the server takes no writes, the worker waits for it: %s", first_line(error)
                )
            has_waited = True
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff.next()):
                    await stopping.wait()
            if stopping.is_set():
                raise StoppedEarly

    async def renew(self) -> None:
        """Register again: the row was pruned, or the server has lost its latest commits; raises nothing."""
        if self._renewing.locked():
            return
        async with self._renewing:
            try:
                await self._register()
            except Exception as error:  # noqa: BLE001 - whoever misses the row asks again
                _log.warning("worker %s could not be registered anew: %s", self._worker_id, error)
            else:
                _log.warning(
                    "the database had forgotten worker %s; it is registered anew", self._worker_id
                )

    async def end(self) -> None:
        """Tell that the worker has stopped, if the database listens."""
        with suppress(Exception):
            async with asyncio.timeout(LAST_WORDS):
                await self._database.mark_worker_stopped(self._worker_id)

    async def _register(self) -> Repertoire:
        repertoire = await prepare(self._database, self._flows, self._queues)
        info: dict[str, Any] = {
            "flows": repertoire.versions,
            "concurrency": self._concurrency,
            "handlers": repertoire.keys,
        }
        if repertoire.plans is not None:
            info["registered"] = repertoire.plans.names
        await self._database.register_worker(
            self._worker_id,
            repertoire.queues,
            self._name or repertoire.name,
            socket.gethostname(),
            os.getpid(),
            orjson.dumps(info).decode(),
        )
        return repertoire

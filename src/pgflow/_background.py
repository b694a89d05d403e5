"""What goes on beside a worker's tasks: waiting for a run's end, upkeep of the database, signals."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pgflow._repertoire import refresh
from pgflow.database import is_transient
from pgflow.errors import RunNotFound
from pgflow.listener import RESYNC, Listener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from pgflow._repertoire import Flows, Repertoire
    from pgflow.database import Database

END_POLL = 0.05
"""Seconds between looks at the awaited run, where nothing notifies."""
END_PATIENCE = 1.0
"""Seconds between looks at the awaited run, where notifications may be missed."""
UPKEEP = 60.0
LOOK_AT_DEFINITIONS = 5.0
"""Seconds between two looks at the definitions of dynamic flows."""

_log = logging.getLogger("pgflow.worker")


async def end_of_run(database: Database, run_id: UUID, *, listen: bool) -> None:
    """Wait until a run has ended; raise RunNotFound if there is no such run."""
    stream = Listener.of(database).events(run_id) if listen else None
    while not await _is_over(database, run_id):
        if stream is None:
            await asyncio.sleep(END_POLL)
            continue
        event = await stream.next(END_PATIENCE)
        while event is not None and not event.event_type.startswith(("run:", RESYNC)):
            event = await stream.next(END_PATIENCE)


async def _is_over(database: Database, run_id: UUID) -> bool:
    try:
        status = await database.run_status(run_id)
    except Exception as error:
        if not is_transient(error):
            raise
        return False
    if status is None:
        raise RunNotFound(run_id)
    return status.is_final


async def keep_up(database: Database) -> None:
    """Have messages sent again that tasks have lost; any worker does, now and then."""
    while True:
        await asyncio.sleep(UPKEEP * random.uniform(0.5, 1.5))  # noqa: S311 - spreads workers, no secret
        try:
            found = await database.resend_lost_messages()
        except Exception as error:  # noqa: BLE001 - the next time will do
            _log.warning("looking for lost messages failed: %s", error)
        else:
            if found:
                _log.warning("%d tasks had lost their message; it was sent again", found)


async def follow_definitions(
    database: Database, repertoire: Repertoire, flows: Flows, serve: Callable[[str], None]
) -> None:
    """Learn what changes in flows that the database defines; `serve` gets the names of new queues."""
    while True:
        await asyncio.sleep(LOOK_AT_DEFINITIONS * random.uniform(0.8, 1.2))  # noqa: S311 - as above
        try:
            added = await refresh(database, repertoire, flows)
        except Exception as error:  # noqa: BLE001 - the next time will do
            _log.warning("the flows' present definitions could not be read: %s", error)
        else:
            for queue in added:
                serve(queue)


@contextmanager
def stopped_by_signals(stop: Callable[[bool], None]) -> Iterator[None]:
    """Call `stop(False)` at the first SIGTERM or SIGINT, `stop(True)` at each further one."""
    loop = asyncio.get_running_loop()
    seen = itertools.count()

    def take(number: signal.Signals) -> None:
        again = next(seen) > 0
        _log.info("%s: %s", number.name, "stopping at once" if again else "draining")
        stop(again)

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, take, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)

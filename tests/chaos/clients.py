"""Clients under chaos: they start runs, repeat what is in doubt, cancel and retry some, and watch all of them."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg

from pgflow import Client
from pgflow.database import Database, is_transient
from pgflow.errors import SchemaMismatch, UsageError
from tests.chaos import journal
from tests.chaos.facts import TERMINAL
from tests.chaos.flows import FLOWS, MAY_FAIL, WEIGHTS, input_of
from tests.chaos.handlers import lift

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from pgflow import Flow

LOOK = 0.25
"""Seconds between two looks of the watcher."""
FORGET = 3.0
"""Seconds that a run is watched beyond its end."""
NEVER = 1e18
"""When a request was answered that never was."""


@dataclass(eq=False)
class Started:
    """A run that a client knows of."""

    run_id: str
    flow: Flow[Any]
    mark: str
    status: str = "started"
    ended_at: float = NEVER
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it has been seen terminal."""
    steps: dict[str, str] = field(default_factory=dict)


class Clients:
    """So many clients that together keep so many runs going, until `closing` is set."""

    def __init__(self, dsn: str, directory: Path, seed: int, *, clients: int, live: int) -> None:
        self._dsn = dsn
        self._directory = directory
        self._seed = seed
        self._count = clients
        self._live = live
        self._runs: dict[str, Started] = {}
        self._errands: set[asyncio.Task[None]] = set()
        self.closing = asyncio.Event()
        self.seen_enough = asyncio.Event()
        self.started = 0
        self.repeated_starts = 0
        """Starts repeated with the same key, in doubt or for its own sake."""

    async def run(self) -> None:
        """Start runs until `closing`; returns when every start and errand has been answered."""
        await asyncio.gather(*(self._client(number) for number in range(self._count)))
        while self._errands:
            await asyncio.gather(*self._errands)

    async def watch(self, dsn: str) -> None:
        """Journal each change of status of the runs, looking straight at the database, until `seen_enough`."""
        while not self.seen_enough.is_set():
            try:
                async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as own:
                    while not self.seen_enough.is_set():
                        await self._look(own)
                        await asyncio.sleep(LOOK)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                await asyncio.sleep(LOOK)

    async def _client(self, number: int) -> None:
        chance = random.Random(f"client {self._seed} {number}")
        mine: list[Started] = []
        database = Database.connect(self._dsn, max_size=2)
        await self._until_answered(database.open)
        async with _closed(database):
            client = Client(database)
            while not self.closing.is_set():
                mine = [run for run in mine if run.status not in TERMINAL]
                if len(mine) >= self._live // self._count:
                    await asyncio.sleep(0.05)
                    continue
                (flow,) = chance.choices(FLOWS, WEIGHTS)
                mark = f"{self._seed}-{number}-{self.started}"
                given = input_of(flow, chance, mark)
                run = await self._start(client, flow, given, mark)
                mine.append(run)
                if chance.random() < 0.1:
                    await self._start(client, flow, given, mark)
                    self.repeated_starts += 1
                if chance.random() < 0.06:
                    self._send(self._cancel(database, run, chance.uniform(0, 1.5)))
                elif flow.slug in MAY_FAIL and chance.random() < 0.7:
                    self._send(self._retry(database, run, chance.uniform(0, 1.0)))
            if self._errands:
                await asyncio.wait(set(self._errands))

    def _send(self, errand: Any) -> None:
        task = asyncio.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _start(self, client: Client, flow: Flow[Any], given: Any, mark: str) -> Started:
        answer = await self._until_answered(lambda: client.start(flow, given, key=mark))
        run_id = str(answer.id)
        journal.write("started", self._directory, run=run_id, flow=flow.slug, key=mark, input=given)
        if run_id not in self._runs:
            self.started += 1
            self._runs[run_id] = Started(run_id, flow, mark)
        return self._runs[run_id]

    async def _until_answered(self, call: Callable[[], Awaitable[Any]]) -> Any:
        while True:
            try:
                return await call()
            except Exception as error:
                if not (is_transient(error) or isinstance(error, SchemaMismatch)):
                    raise
                self.repeated_starts += 1
            await asyncio.sleep(0.05)

    async def _cancel(self, database: Database, run: Started, after: float) -> None:
        await asyncio.sleep(after)
        answer = "in doubt"
        with suppress(Exception):
            found = await database.cancel_run(UUID(run.run_id), "chaos")
            answer = str(found.status) if found else "not found"
        journal.write("cancel", self._directory, run=run.run_id, answer=answer)

    async def _retry(self, database: Database, run: Started, after: float) -> None:
        """Wait until the run has ended, lift its doom, and retry it, if it has failed."""
        while not (run.is_over.is_set() or self.closing.is_set()):
            with suppress(TimeoutError):
                await asyncio.wait_for(run.is_over.wait(), 0.2)
        await asyncio.sleep(after)
        if self.closing.is_set():
            return
        lift(self._directory, run.mark)
        sent = time.monotonic()
        # Known before it is sent, so that the watcher goes on; and journaled also if no answer comes.
        run.ended_at = NEVER
        answered, answer = NEVER, "in doubt"
        try:
            found = await database.retry_run(UUID(run.run_id))
            answered, answer = time.monotonic(), str(found.status) if found else "not found"
        except UsageError as error:
            answered, answer = time.monotonic(), str(error)
        except psycopg.errors.ObjectNotInPrerequisiteState:
            answered, answer = time.monotonic(), "refused"
        except Exception as error:
            if not is_transient(error):
                raise
        journal.write(
            "retry", self._directory, run=run.run_id, sent=sent, answered=answered, answer=answer
        )

    async def _look(self, connection: psycopg.AsyncConnection[Any]) -> None:
        now = time.monotonic()
        watched = [run for run in self._runs.values() if run.ended_at + FORGET > now]
        ids = [run.run_id for run in watched]
        if not ids:
            return
        query = "select run_id::text, status from pgflow.runs where run_id = any(%s::uuid[])"
        for run_id, status in await (await connection.execute(query, [ids])).fetchall():
            run = self._runs[run_id]
            if status != run.status:
                journal.write("seen", self._directory, run=run_id, status=status, sent=now)
                run.status = status
                run.ended_at = NEVER
                if status in TERMINAL:
                    run.ended_at = time.monotonic()
                    run.is_over.set()
        sent = time.monotonic()
        query = "select run_id::text, step_slug, status from pgflow.step_states where run_id = any(%s::uuid[])"
        for run_id, step, status in await (await connection.execute(query, [ids])).fetchall():
            steps = self._runs[run_id].steps
            if steps.get(step) != status:
                steps[step] = status
                journal.write(
                    "step_seen", self._directory, run=run_id, step=step, status=status, sent=sent
                )


@asynccontextmanager
async def _closed(database: Database) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await database.close()

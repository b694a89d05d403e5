"""Everything that runs: broker, bridge, publisher and workers, each a process, each but the publisher killed once."""

import asyncio
import os
import shutil
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Collection, Coroutine
from pathlib import Path

import psycopg

from pgflow import Supervisor

from . import audit
from .bridge import BATCH, DURABLE
from .broker import Broker, create_stream, unacknowledged
from .live import Counts, Live

BRIDGE_DIES_AT = 0.16
"""Share of the events in a run; it is killed between that commit and the acknowledgements."""
BROKER_DIES_AT = 0.6
"""Share of the events published."""
BROKER_AWAY = 0.7
"""Seconds."""
WORKERS_DIE_AT = 0.7
"""Share of the events written."""
LEASE = 3
"""Seconds until the tasks of a dead worker are granted again; 30 unless told otherwise."""
LOOK = 0.1
PATIENCE = 100.0
"""Seconds, beside those of the publishing, until every event must be written and acknowledged."""
FEWEST = 1_000
"""Events: with fewer the workers may have nothing left to do when it is their turn to be killed."""

STARTED = """
select exists (
  select from stream_example.batches as batch
  inner join pgflow.task_attempts as attempt on batch.run_id = attempt.run_id
  where attempt.outcome = 'started'
)
"""


class Plant:
    """Runs the processes, kills them, starts them again."""

    def __init__(self, program: str, dsn: str, out: Path, live: Live) -> None:
        self.ledger = out / "ledger.csv"
        self.outages: dict[str, tuple[float, float]] = {}
        """Who was away, from when to when, in seconds since the epoch."""
        self.unacknowledged = -1
        """What the broker has left to deliver at the end."""
        shutil.rmtree(out / "jetstream", ignore_errors=True)
        self.ledger.unlink(missing_ok=True)
        self._broker = Broker(program, out)
        self._dsn = dsn
        self._live = live
        self._supervisor = Supervisor(
            f"{__package__}.flow:stream_metrics",
            processes=2,
            dsn=dsn,
            lease=LEASE,
            log_level="CRITICAL",
        )
        self._bridge_is_ready = asyncio.Event()
        self._observer: psycopg.AsyncConnection

    async def run(self, events: int, rate: float, seed: int) -> None:
        """Publish the events, and return when all are written and acknowledged."""
        # However this process is asked to end, it ends the others first.
        this = asyncio.current_task()
        assert this is not None
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, this.cancel)
        self._live.note("Starting nats-server, a bridge and two workers.")
        try:
            async with (
                await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as self._observer,
                self._supervisor,
            ):
                await self._broker.start()
                await create_stream(self._broker.url)
                await self._supervisor.ready()
                bridge = asyncio.create_task(self._keep_bridge(events))
                await self._bridge_is_ready.wait()
                self._live.note(f"Publishing {events:,} events, {rate:g} a second.")
                publisher = await self._publish(events, rate, seed)
                try:
                    with self._live:
                        async with asyncio.timeout(PATIENCE + events / rate):
                            await self._follow(publisher, events)
                finally:
                    bridge.cancel()
                    await asyncio.gather(bridge, return_exceptions=True)
                    await _end(publisher)
        finally:
            self._broker.stop()

    async def _follow(self, publisher: Process, events: int) -> None:
        """Show how far all are, kill the broker and the workers when it is their turn, and wait for the end."""
        turns: list[tuple[Callable[[Counts], bool], Callable[[], Coroutine[None, None, None]]]] = [
            (lambda counts: counts.published >= BROKER_DIES_AT * events, self._restart_broker),
            (
                lambda counts: counts.written >= WORKERS_DIE_AT * events,
                lambda: self._restart_workers(events),
            ),
        ]
        async with asyncio.TaskGroup() as restarts:
            while (counts := await self._count()).written < events or turns:
                if publisher.returncode:
                    raise RuntimeError(f"the publisher ended with code {publisher.returncode}")
                self._live.show(counts)
                if turns and turns[0][0](counts):
                    restarts.create_task(turns.pop(0)[1]())
                await asyncio.sleep(LOOK)
            self._live.show(counts)
        while self.unacknowledged:
            await asyncio.sleep(LOOK)
            self.unacknowledged = await unacknowledged(self._broker.url, DURABLE)

    async def _count(self) -> Counts:
        row = await (await self._observer.execute(audit.COUNTS)).fetchone()
        assert row is not None
        published = self.ledger.read_bytes().count(b"\n") if self.ledger.exists() else 0
        return Counts(published, *row)

    async def _restart_broker(self) -> None:
        start = time.time()
        self._broker.kill()
        self._live.note("The broker was killed (SIGKILL).")
        await asyncio.sleep(BROKER_AWAY)
        await self._broker.start()
        self._back("broker", start)

    async def _restart_workers(self, events: int) -> None:
        """Kill both workers at a moment when they have tasks."""
        pids, workers = self._supervisor.pids.values(), set(self._supervisor.workers.values())
        while not await self._stop_with_tasks(pids):
            if (await self._count()).written >= events:
                raise RuntimeError("the workers had done everything before they could be killed")
            await asyncio.sleep(0.01)
        start = time.time()
        _signal(pids, signal.SIGKILL)
        self._live.note("Both workers were killed (SIGKILL), with tasks in their hands.")
        while len(now := set(self._supervisor.workers.values()) - workers) < len(workers):  # noqa: ASYNC110 - the supervisor tells of its first workers only
            await asyncio.sleep(LOOK)
        assert now
        self._back("workers", start)

    async def _stop_with_tasks(self, pids: Collection[int]) -> bool:
        """Stop the workers (SIGSTOP) if they have tasks at this moment."""
        caught = False
        _signal(pids, signal.SIGSTOP)
        try:
            await asyncio.sleep(0.05)  # for what they have sent to the server to arrive
            row = await (await self._observer.execute(STARTED)).fetchone()
            caught = row is not None and row[0]
        finally:
            if not caught:
                _signal(pids, signal.SIGCONT)
        return caught

    def _back(self, who: str, start: float) -> None:
        self.outages[who] = (start, time.time())
        self._live.note(
            f"The {who} is back." if who != "workers" else "Two other workers are there."
        )

    async def _publish(self, events: int, rate: float, seed: int) -> Process:
        numbers = ("--events", str(events), "--rate", str(rate), "--seed", str(seed))
        return await self._python("publisher", self._broker.url, str(self.ledger), *numbers)

    async def _keep_bridge(self, events: int) -> None:
        """Keep a bridge running; the first one is to die."""
        arguments = ["--leashed", "--die-after", str(max(1, int(events * BRIDGE_DIES_AT / BATCH)))]
        died_at = None
        while True:
            process = await self._python("bridge", self._broker.url, *arguments)
            try:
                assert process.stdout is not None
                await process.stdout.readline()  # it says when it is ready
                self._bridge_is_ready.set()
                if died_at is not None:
                    self._back("bridge", died_at)
                code = await process.wait()
            finally:
                await _end(process)
            died_at = time.time()
            self._live.note(
                f"The bridge ended with code {code}, after a commit and before the acknowledgements."
            )
            arguments = ["--leashed"]

    async def _python(self, module: str, *arguments: str) -> Process:
        """Start a module of this package as a process."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"{__package__}.{module}", *arguments),
            stdin=asyncio.subprocess.PIPE,  # ends with this process, and ends that one
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PGFLOW_DSN": self._dsn},
        )


def _signal(pids: Collection[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
    await process.wait()

"""Celery with Redis as broker and result backend, by its guides "Optimizing" and "Canvas".

From the guides: the prefork pool with one process a core, a large `worker_prefetch_multiplier` for short tasks, and
gossip, mingle and heartbeat off; a chord joins a group. Early acknowledgement (the default) loses what a dying worker
holds, and Redis flushes its append-only file each second.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

from celery import Celery, chain, chord, group, signals

from benchmarks.peers import engine
from benchmarks.peers.engine import CHAIN_LENGTH, Engine, Gathered, Link

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFETCH = 64
TIMEOUT = 600.0

_url = f"redis+socket://{os.environ['PEERS_URL']}?virtual_host=0"
app = Celery("peers", broker=_url, backend=_url)
app.conf.update(worker_prefetch_multiplier=PREFETCH, broker_connection_retry_on_startup=True)


@signals.worker_ready.connect
def _tell(**_: Any) -> None:
    # Celery makes log records of what goes to sys.stdout.
    print("ready", file=sys.__stdout__, flush=True)


@app.task(bind=True)
def produce(task: Any, size: int) -> Any:
    """Become a chord of the items."""
    items = [item.s(number) for number in engine.produce(size)]
    return task.replace(chord(group(items), gather.s()))


@app.task
def item(number: int) -> int:
    """Do nothing."""
    return engine.item(number)


@app.task
def gather(results: list[int]) -> Gathered:
    """Look at every result."""
    return engine.gather(results)


@app.task
def top(number: int) -> int:
    """Pass the run's number on."""
    return number


@app.task
def left(number: int) -> int:
    """Add one."""
    return engine.left(number)


@app.task
def right(number: int) -> int:
    """Double."""
    return engine.right(number)


@app.task
def bottom(sides: list[int]) -> list[int]:
    """Return both, and the time."""
    return engine.bottom(*sides)


@app.task
def link(links: list[Link]) -> list[Link]:
    """Append this link's times."""
    return engine.link(links)


class CeleryEngine(Engine):
    """Canvas: chains, groups and chords."""

    name = "celery"
    package = "celery"
    notes = (
        f"prefork, worker_prefetch_multiplier={PREFETCH}, no gossip, mingle or heartbeat; a chord; "
        "acknowledges early and Redis flushes each second: a crash loses work"
    )

    async def prepare(self) -> None:
        """Nothing to install."""

    def worker_command(self, processes: int) -> list[list[str]]:
        """Return one command; its pool has the processes."""
        command = [sys.executable, "-m", "celery", "--app", "benchmarks.peers.celery", "worker"]
        options = ["--pool", "prefork", "--concurrency", str(processes), "--loglevel", "CRITICAL"]
        return [[*command, *options, "--without-gossip", "--without-mingle", "--without-heartbeat"]]

    async def fan(self, size: int) -> Gathered:
        """Start the task that becomes a chord."""
        return (await asyncio.to_thread(self._results, [produce.s(size)]))[0]

    async def diamonds(self, numbers: Sequence[int]) -> list[list[int]]:
        """Start a chain with a chord in it for each."""
        starts = [chain(top.s(n), chord([left.s(), right.s()], bottom.s())) for n in numbers]
        return await asyncio.to_thread(self._results, starts)

    async def chain(self) -> list[Link]:
        """Start a chain."""
        links = chain(link.s([]), *(link.s() for _ in range(CHAIN_LENGTH - 1)))
        return (await asyncio.to_thread(self._results, [links]))[0]

    @staticmethod
    def _results(starts: Sequence[Any]) -> list[Any]:
        started = [start.apply_async() for start in starts]
        return [result.get(timeout=TIMEOUT) for result in started]


ENGINE = CeleryEngine

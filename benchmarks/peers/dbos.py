"""DBOS, by its tutorials "Workflows", "Steps" and "Queues & Concurrency".

From the tutorials: a fan enqueues a workflow for each item and collects the handles' results; a chain and a diamond are
steps of one workflow, the diamond's two sides under `asyncio.gather`. A workflow that must start at once is started in
the process of the caller (`start_workflow`), so there is no worker between in the latencies. Queues are polled: each
0.1 s instead of the default 1 s, which is ten times better for small fans.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any

from dbos import DBOS

from benchmarks.peers import engine
from benchmarks.peers.engine import CHAIN_LENGTH, Engine, Gathered, Link

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

POLLING = 0.1
WORKER_CONCURRENCY = 50


@DBOS.step()
def produce(size: int) -> list[int]:
    """Return the items."""
    return engine.produce(size)


@DBOS.workflow()
def item(number: int) -> int:
    """Do nothing."""
    return engine.item(number)


@DBOS.step()
def gather(results: list[int]) -> Gathered:
    """Look at every result."""
    return engine.gather(results)


@DBOS.workflow()
def fan(size: int) -> Gathered:
    """Enqueue a workflow for each item and collect the results."""
    handles = [DBOS.enqueue_workflow("items", item, number) for number in produce(size)]
    found: Gathered = gather(
        [handle.get_result(polling_interval_sec=POLLING) for handle in handles]
    )
    return found


@DBOS.step()
async def top(number: int) -> int:
    """Pass the run's number on."""
    return number


@DBOS.step()
async def left(number: int) -> int:
    """Add one."""
    return engine.left(number)


@DBOS.step()
async def right(number: int) -> int:
    """Double."""
    return engine.right(number)


@DBOS.step()
async def bottom(left_result: int, right_result: int) -> list[int]:
    """Return both, and the time."""
    return engine.bottom(left_result, right_result)


@DBOS.workflow()
async def diamond(number: int) -> list[int]:
    """Run four steps, two of them side by side."""
    first = await top(number)
    sides = await asyncio.gather(left(first), right(first))
    output: list[int] = await bottom(*sides)
    return output


@DBOS.step()
def link(links: list[Link]) -> list[Link]:
    """Append this link's times."""
    return engine.link(links)


@DBOS.workflow()
def chain() -> list[Link]:
    """Run the links one after the other."""
    links: list[Link] = []
    for _ in range(CHAIN_LENGTH):
        links = link(links)
    return links


class DbosEngine(Engine):
    """Workflows, started here and queued for the workers."""

    name = "dbos"
    package = "dbos"
    notes = (
        f"a workflow for each item, polling_interval_sec={POLLING} (default 1), worker_concurrency={WORKER_CONCURRENCY}; "
        "chain and diamond are steps of one workflow; latencies without a worker: it starts in the caller's process"
    )

    async def _launch(self, queues: list[str]) -> None:
        logging.disable(logging.WARNING)
        url = self.url.replace("postgresql://", "postgresql+psycopg://", 1)
        config = {
            "name": "peers",
            "system_database_url": url,
            "application_version": "1",
            "executor_id": str(os.getpid()),
            "log_level": "ERROR",
        }
        DBOS(config=config)
        DBOS.listen_queues(queues)
        await asyncio.to_thread(DBOS.launch)
        for name in ("flows", "items"):
            await DBOS.register_queue_async(
                name, worker_concurrency=WORKER_CONCURRENCY, polling_interval_sec=POLLING
            )

    async def prepare(self) -> None:
        """Let DBOS create its tables; this process works no queue."""
        await self._launch([])

    async def work(self, ready: Callable[[], None]) -> None:
        """Work both queues."""
        await self._launch(["flows", "items"])
        ready()
        await asyncio.Event().wait()

    async def fan(self, size: int) -> Gathered:
        """Enqueue the workflow that fans out."""
        return (await asyncio.to_thread(self._results, fan, [size]))[0]

    async def diamonds(self, numbers: Sequence[int]) -> list[list[int]]:
        """Enqueue all diamonds."""
        return await asyncio.to_thread(self._results, diamond, numbers)

    @staticmethod
    def _results(workflow: Any, inputs: Sequence[int]) -> list[Any]:
        handles = [DBOS.enqueue_workflow("flows", workflow, number) for number in inputs]
        # The last first: waiting for each while all are under way would cost the server more.
        results = [handle.get_result(polling_interval_sec=POLLING) for handle in reversed(handles)]
        return results[::-1]

    async def chain(self) -> list[Link]:
        """Start a chain in this process."""
        handle = await asyncio.to_thread(DBOS.start_workflow, chain)
        links: list[Link] = await asyncio.to_thread(handle.get_result)
        return links


ENGINE = DbosEngine

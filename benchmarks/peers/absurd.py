"""Absurd by its Python SDK; the schema is the one that `absurdctl` of the same version brings.

By its documentation: steps are checkpoints inside a task; a task that fans out spawns children in another queue and
waits for each (`ctx.await_task_result`), which is a checkpoint too. The children are spawned in one transaction.
Workers poll: each 0.05 s instead of the default 0.25 s, in favour of its latencies.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
from absurd_sdk import AsyncAbsurd
from absurdctl import BUNDLED_SCHEMA_SQL

from benchmarks.peers import engine
from benchmarks.peers.engine import CHAIN_LENGTH, Engine, Gathered, Link

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

POLL = 0.05
CONCURRENCY = 20
FLOWS, ITEMS = "flows", "items"


class AbsurdEngine(Engine):
    """Tasks of one queue for the flows, of another for the items of a fan."""

    name = "absurd"
    package = "absurd-sdk"
    notes = (
        f"asynchronous SDK, concurrency={CONCURRENCY}, poll_interval={POLL} (default 0.25); items are child tasks, spawned in "
        "one transaction and awaited one by one; chain and diamond are steps of one task, in one process"
    )

    async def _open(self) -> None:
        self._connection = await psycopg.AsyncConnection.connect(self.url, autocommit=True)
        self._client = AsyncAbsurd(self._connection, queue_name=FLOWS)

    async def prepare(self) -> None:
        """Install the schema and create the queues."""
        await self._open()
        await self._connection.execute(BUNDLED_SCHEMA_SQL)
        await self._client.create_queue(FLOWS)
        await self._client.create_queue(ITEMS)

    async def work(self, ready: Callable[[], None]) -> None:
        """Work both queues, each on a connection of its own."""
        await self._open()
        flows = AsyncAbsurd(self.url, queue_name=FLOWS)
        items = AsyncAbsurd(self.url, queue_name=ITEMS)
        flows.register_task("fan")(self._perform_fan)
        flows.register_task("diamond")(_perform_diamond)
        flows.register_task("chain")(_perform_chain)
        items.register_task("item")(_perform_item)
        workers = [
            asyncio.create_task(app.start_worker(concurrency=CONCURRENCY, poll_interval=POLL))
            for app in (flows, items)
        ]
        ready()
        await asyncio.gather(*workers)

    async def _perform_fan(self, size: int, ctx: Any) -> Gathered:
        async def spawn() -> list[str]:
            async with self._connection.transaction():
                spawned = [
                    await self._client.spawn("item", number, queue=ITEMS)
                    for number in engine.produce(size)
                ]
            return [str(task["task_id"]) for task in spawned]

        children = await ctx.step("spawn", spawn)
        snapshots = [await ctx.await_task_result(child, queue_name=ITEMS) for child in children]
        return engine.gather([snapshot.result for snapshot in snapshots])

    async def fan(self, size: int) -> Gathered:
        """Spawn the task that fans out."""
        return (await self._results("fan", [size]))[0]

    async def diamonds(self, numbers: Sequence[int]) -> list[list[int]]:
        """Spawn all diamonds in one transaction."""
        return await self._results("diamond", numbers)

    async def chain(self) -> list[Link]:
        """Spawn a chain."""
        return (await self._results("chain", [0]))[0]

    async def _results(self, task: str, inputs: Sequence[int]) -> list[Any]:
        async with self._connection.transaction():
            spawned = [await self._client.spawn(task, number, queue=FLOWS) for number in inputs]
        # The last first: waiting for each while all are under way would cost the server more.
        snapshots = [
            await self._client.await_task_result(str(found["task_id"]), queue_name=FLOWS)
            for found in reversed(spawned)
        ]
        for snapshot in snapshots:
            if snapshot.state != "completed":
                raise RuntimeError(f"{task}: {snapshot}")
        return [snapshot.result for snapshot in reversed(snapshots)]


async def _perform_item(number: int, _: Any) -> int:
    return engine.item(number)


async def _perform_diamond(number: int, ctx: Any) -> list[int]:
    async def top() -> int:
        return number

    async def left() -> int:
        return engine.left(first)

    async def right() -> int:
        return engine.right(first)

    async def bottom() -> list[int]:
        return engine.bottom(left_result, right_result)

    first = await ctx.step("top", top)
    left_result = await ctx.step("left", left)
    right_result = await ctx.step("right", right)
    output: list[int] = await ctx.step("bottom", bottom)
    return output


async def _perform_chain(_: int, ctx: Any) -> list[Link]:
    links: list[Link] = []

    async def link() -> list[Link]:
        return engine.link(links)

    for place in range(CHAIN_LENGTH):
        links = await ctx.step(f"link_{place}", link)
    return links


ENGINE = AbsurdEngine

"""py-pgflow by its public API, in the same harness and with the same handlers as its peers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from benchmarks.peers import engine
from benchmarks.peers.engine import CHAIN_LENGTH, Engine, Gathered, Link
from pgflow import Flow
from pgflow.client import Client
from pgflow.database import Database
from pgflow.schema import install
from pgflow.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

fan = Flow[int]("peers_fan")


@fan.step()
def produce(size: int) -> list[int]:
    """Return the items."""
    return engine.produce(size)


@fan.map(over=produce)
def item(number: int) -> int:
    """Do nothing."""
    return engine.item(number)


@fan.step(depends_on=[item])
def gather(item: list[int]) -> Gathered:
    """Look at every result."""
    return engine.gather(item)


diamond = Flow[int]("peers_diamond")


@diamond.step()
def top(number: int) -> int:
    """Pass the run's number on."""
    return number


@diamond.step(depends_on=[top])
def left(top: int) -> int:
    """Add one."""
    return engine.left(top)


@diamond.step(depends_on=[top])
def right(top: int) -> int:
    """Double."""
    return engine.right(top)


@diamond.step(depends_on=[left, right])
def bottom(left: int, right: int) -> list[int]:
    """Return both, and the time."""
    return engine.bottom(left, right)


chain = Flow[None]("peers_chain")


@chain.step(name="link_0")
def first_link(_: None) -> list[Link]:
    """Begin the record."""
    return engine.link([])


_link = first_link
for _position in range(1, CHAIN_LENGTH):

    @chain.step(name=f"link_{_position}", depends_on=[_link])
    def further_link(links: list[Link]) -> list[Link]:
        """Append this link's times."""
        return engine.link(links)

    _link = further_link

STARTERS = 8
"""Runs that are started at once where one call cannot start them all."""
PATIENCE = 600.0


class OurEngine(Engine):
    """A client; each worker process runs one Worker for the three flows."""

    name = "ours"
    package = "py-pgflow"
    notes = "all defaults"

    async def prepare(self) -> None:
        """Install the schema."""
        await asyncio.to_thread(install, self.url)
        self._database = await Database.connect(self.url).__aenter__()
        self._client = Client(self._database)

    async def work(self, ready: Callable[[], None]) -> None:
        """Perform the tasks of the three flows."""
        worker = Worker(self.url, [fan, diamond, chain])
        running = asyncio.create_task(worker.run())
        await worker.started.wait()
        ready()
        await running

    async def fan(self, size: int) -> Gathered:
        """Run a map."""
        run = await self._client.start(fan, size)
        await run.wait(PATIENCE)
        gathered: Gathered = (await run.output())["gather"]
        return gathered

    async def diamonds(self, numbers: Sequence[int]) -> list[list[int]]:
        """Start all diamonds with one call where there is one, else a few at once."""
        if hasattr(self._client, "start_many"):
            runs = list(await self._client.start_many(diamond, list(numbers)))
        else:
            runs = await self._start_each(numbers)
        # The last first: a wait for each while all are under way would cost the server more than the work.
        outputs = [await self._diamond_output(run) for run in reversed(runs)]
        return outputs[::-1]

    async def _start_each(self, numbers: Sequence[int]) -> list[Any]:
        runs: dict[int, Any] = {}
        waiting = iter(numbers)

        async def start_some() -> None:
            for number in waiting:
                runs[number] = await self._client.start(diamond, number)

        await asyncio.gather(*(start_some() for _ in range(STARTERS)))
        return [runs[number] for number in numbers]

    async def _diamond_output(self, run: Any) -> list[int]:
        await run.wait(PATIENCE)
        output: list[int] = (await run.output())["bottom"]
        return output

    async def chain(self) -> list[Link]:
        """Run a chain."""
        run = await self._client.start(chain)
        await run.wait(PATIENCE)
        links: list[Link] = (await run.output())[f"link_{CHAIN_LENGTH - 1}"]
        return links


ENGINE = OurEngine

"""Fan-in by hand, for queues that have none: a table of results and a counter row for each run.

That is what their documentation leaves to the application. An item's result and the count-down are one statement,
so one commit an item comes on top of the engine's own; a repeated item does not count twice.
"""

from __future__ import annotations

import asyncio
import json
import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from benchmarks.peers.engine import (
    CHAIN_LENGTH,
    Engine,
    bottom,
    gather,
    item,
    left,
    link,
    produce,
    right,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.peers.engine import Gathered, Link

KINDS = ("produce", "item", "gather", "top", "left", "right", "bottom", "link")
"""The kinds of jobs."""
POLL = 0.005

SCHEMA = """
create schema tally;
create table tally.runs (run text primary key, remaining int not null, output jsonb) with (fillfactor = 50);
create table tally.results (run text, place int, value jsonb, primary key (run, place));

create function tally.open(p_run text, p_results int) returns void language sql as $$
  insert into tally.runs (run, remaining) values (p_run, p_results) on conflict do nothing $$;

create function tally.record(p_run text, p_place int, p_value text) returns int language sql as $$
  with recorded as (
    insert into tally.results values (p_run, p_place, p_value::jsonb) on conflict do nothing returning 1)
  update tally.runs set remaining = remaining - 1 where run = p_run and exists (select from recorded)
  returning remaining $$;

create function tally.results(p_run text) returns text language sql as $$
  select jsonb_agg(value order by place)::text from tally.results where run = p_run $$;

create function tally.finish(p_run text, p_output text) returns void language sql as $$
  insert into tally.runs (run, remaining, output) values (p_run, 0, p_output::jsonb)
  on conflict (run) do update set output = excluded.output $$;

create function tally.count(p_runs text[]) returns bigint language sql as $$
  select count(*) from tally.runs where run = any(p_runs) and output is not null $$;

create function tally.outputs(p_runs text[]) returns text language sql as $$
  select jsonb_object_agg(run, output)::text from tally.runs where run = any(p_runs) $$;
"""


class TallyEngine(Engine):
    """A job queue with the fan-in made by hand; an engine says how to enqueue and how to call SQL."""

    @abstractmethod
    async def enqueue(self, kind: str, payloads: Sequence[dict[str, Any]]) -> None:
        """Add jobs of one kind, in one call."""

    @abstractmethod
    async def fetch(self, function: str, arguments: Sequence[Any]) -> Any:
        """Call `tally.<function>` in a transaction of its own, and return its value."""

    async def call(self, function: str, *arguments: Any) -> Any:
        """Call a function of the schema above; values go and come as JSON."""
        values = list(arguments)
        if function in {"record", "finish"}:
            values[-1] = json.dumps(values[-1])
        found = await self.fetch(function, values)
        return json.loads(found) if function in {"results", "outputs"} else found

    async def perform(self, kind: str, job: dict[str, Any]) -> None:
        """Do the work of a job; for a worker."""
        run = job["run"]
        match kind:
            case "produce":
                items = produce(job["size"])
                await self.call("open", run, len(items))
                await self.enqueue("item", [{"run": run, "number": number} for number in items])
            case "item":
                await self._record(run, job["number"], item(job["number"]), "gather")
            case "gather":
                results = await self.call("results", run)
                await self.call("finish", run, gather(results))
            case "top":
                await self.call("open", run, 2)
                await self.enqueue("left", [job])
                await self.enqueue("right", [job])
            case "left":
                await self._record(run, 0, left(job["number"]), "bottom")
            case "right":
                await self._record(run, 1, right(job["number"]), "bottom")
            case "bottom":
                results = await self.call("results", run)
                await self.call("finish", run, bottom(*results))
            case "link":
                links = link(job["links"])
                if len(links) < CHAIN_LENGTH:
                    await self.enqueue("link", [{"run": run, "links": links}])
                else:
                    await self.call("finish", run, links)

    async def _record(self, run: str, place: int, value: int, then: str) -> None:
        if await self.call("record", run, place, value) == 0:
            await self.enqueue(then, [{"run": run}])

    # The client

    async def fan(self, size: int) -> Gathered:
        """Run one step → so many items → one step that gets all results."""
        gathered: Gathered = (await self._run("produce", [{"size": size}]))[0]
        return gathered

    async def diamonds(self, numbers: Sequence[int]) -> list[list[int]]:
        """Start all diamonds with one call."""
        return await self._run("top", [{"number": number} for number in numbers])

    async def chain(self) -> list[Link]:
        """Run a chain of links."""
        links: list[Link] = (await self._run("link", [{"links": []}]))[0]
        return links

    async def _run(self, kind: str, payloads: list[dict[str, Any]]) -> list[Any]:
        runs = [str(uuid4()) for _ in payloads]
        jobs = [payload | {"run": run} for run, payload in zip(runs, payloads, strict=True)]
        await self.enqueue(kind, jobs)
        deadline = time.monotonic() + 600
        while await self.call("count", runs) < len(runs):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(runs)} runs of {kind} have not ended")
            await asyncio.sleep(POLL)
        outputs = await self.call("outputs", runs)
        return [outputs[run] for run in runs]

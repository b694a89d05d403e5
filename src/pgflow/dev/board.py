"""What `pgflow dev` shows at one moment, and the reading of the runs for it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from pgflow.errors import RunNotFound
from pgflow.live.follow import Pace
from pgflow.live.tree import Snapshot

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from pgflow.database import Database
    from pgflow.records import RunSummary

MOST_LATEST = 50
"""The latest runs that are looked at, whatever became of them."""
MOST_LIVE = 200
"""The latest runs in progress that are looked at besides."""
MOST_TREES = 20
"""The latest runs in progress whose steps are read; the others are lines."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that is over."""

    run: RunSummary
    ending: str
    """Its output, or why it has none, on one line."""
    trace: str | None = None
    """The traceback of what failed first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Everything that is shown."""

    targets: str
    state: str
    """`starting`, `ready`, `broken` (an older edition works), `waiting` (none does), `stopping` or `stopped`."""
    workers: int = 0
    serves: Sequence[str] = ()
    """Flows, or queues of plans, in words."""
    born: datetime | None = None
    """Since when the present edition works."""
    reloads: int = 0
    restarts: int = 0
    problem: str | None = None
    running: Sequence[Snapshot] = ()
    """The latest first, as in `ended`."""
    ended: Sequence[Ended] = ()


@dataclass(slots=True)
class Runs:
    """Reads the runs of flows and on queues: all in progress and the latest, what ended only once."""

    database: Database
    conclude: Callable[[Database, RunSummary], Awaitable[Ended]]
    _paces: dict[UUID, Pace] = field(default_factory=dict)
    _ended: dict[UUID, Ended] = field(default_factory=dict)

    async def look(
        self, flows: Sequence[str], queues: Sequence[str]
    ) -> tuple[list[Snapshot], list[Ended]]:
        """Return the runs that go on, and those that are over, the latest first."""
        running: list[Snapshot] = []
        ended: list[Ended] = []
        for run in await self._find(flows, queues):
            if not run.status.is_final:
                running.append(await self._follow(run, has_tree=len(running) < MOST_TREES))
                continue
            with suppress(RunNotFound):  # deleted meanwhile
                ended.append(await self._end_of(run))
        self._paces = {s.run.run_id: self._paces[s.run.run_id] for s in running}
        self._ended = {end.run.run_id: end for end in ended}
        return running, ended

    async def _find(self, flows: Sequence[str], queues: Sequence[str]) -> list[RunSummary]:
        """Return the latest runs, all in progress, and those that were in progress at the look before."""
        latest = await self.database.runs_served(flows, queues, limit=MOST_LATEST)
        live = await self.database.runs_served(flows, queues, is_live=True, limit=MOST_LIVE)
        found = {run.run_id: run for run in (*latest, *live)}
        for run_id in self._paces.keys() - found.keys():
            if (run := await self.database.run_summary(run_id)) is not None:
                found[run_id] = run
        return sorted(found.values(), key=lambda run: run.started_at, reverse=True)

    async def _follow(self, run: RunSummary, *, has_tree: bool) -> Snapshot:
        pace = self._paces.setdefault(run.run_id, Pace())
        steps = await self.database.steps(run.run_id) if has_tree else []
        return Snapshot(run, steps, pace.observe(steps, monotonic()))

    async def _end_of(self, run: RunSummary) -> Ended:
        known = self._ended.get(run.run_id)
        # A retried run goes on and ends again.
        if known is not None and known.run.finished_at == run.finished_at:
            return known
        return await self.conclude(self.database, run)

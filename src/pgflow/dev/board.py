"""What `pgflow dev` shows at one moment, and the reading of the runs for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgflow.live.follow import Pace, read_snapshot

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from pgflow.database import Database
    from pgflow.live.tree import Snapshot
    from pgflow.records import RunSummary

MOST_RUNS = 20
"""The latest runs of each flow that are looked at."""


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
    flows: Sequence[str] = ()
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
    """Reads the latest runs of flows, what ended only once."""

    database: Database
    conclude: Callable[[Database, RunSummary], Awaitable[Ended]]
    _paces: dict[UUID, Pace] = field(default_factory=dict)
    _ended: dict[UUID, Ended] = field(default_factory=dict)

    async def look(self, flows: Iterable[str]) -> tuple[list[Snapshot], list[Ended]]:
        """Return the runs that go on, and those that are over, the latest first."""
        found = [run for flow in flows for run in await self.database.runs(flow, limit=MOST_RUNS)]
        found.sort(key=lambda run: run.started_at, reverse=True)
        running: list[Snapshot] = []
        ended: list[Ended] = []
        for run in found:
            if not run.status.is_final:
                snapshot = await self._follow(run.run_id)
                run = snapshot.run  # noqa: PLW2901 - a later look at the same run
                if not run.status.is_final:
                    running.append(snapshot)
                    continue
            ended.append(await self._end_of(run))
        self._paces = {s.run.run_id: self._paces[s.run.run_id] for s in running}
        self._ended = {end.run.run_id: end for end in ended}
        return running, ended

    async def _follow(self, run_id: UUID) -> Snapshot:
        return await read_snapshot(self.database, run_id, self._paces.setdefault(run_id, Pace()))

    async def _end_of(self, run: RunSummary) -> Ended:
        known = self._ended.get(run.run_id)
        # A retried run goes on and ends again.
        if known is not None and known.run.finished_at == run.finished_at:
            return known
        return await self.conclude(self.database, run)

"""What `pgflow dev` tells about runs that are over."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from pgflow.dev.session import Plan, Session

if TYPE_CHECKING:
    from pgflow.database import Database
    from pgflow.dev.board import Board, Ended, Runs
    from pgflow.dev.screen import Screen


@dataclass
class Looks:
    """Stands for the database: what each look finds."""

    ended: list[Any] = field(default_factory=list)

    async def look(self, _flows: object) -> tuple[list[Any], list[Any]]:
        return [], self.ended


@dataclass
class Told:
    """A screen that remembers which ends it was told of."""

    ends: list[Any] = field(default_factory=list)

    def ended(self, end: Ended) -> None:
        self.ends.append(end)

    def show(self, _board: Board) -> None:
        pass


def end(after: float) -> Any:
    """Return a run that ended so many seconds from now."""
    run = SimpleNamespace(run_id=uuid4(), finished_at=datetime.now(UTC) + timedelta(seconds=after))
    return SimpleNamespace(run=run)


def session(looks: Looks, told: Told) -> Session:
    options = SimpleNamespace(targets=["app.py"])
    plan = Plan(options=cast("Any", options), roots=[], input=None, greet=lambda _: None)
    return Session(plan, cast("Database", None), cast("Runs", looks), cast("Screen", told), 1)


async def test_a_run_that_is_over_before_the_first_look_is_told() -> None:
    """On an idle machine a small run takes less time than there is between two looks."""
    looks, told = Looks(), Told()
    watching = session(looks, told)
    looks.ended = [quick := end(after=0.1)]
    await watching._look_once()
    assert told.ends == [quick]


async def test_an_end_is_told_once_and_one_of_before_never() -> None:
    looks, told = Looks([old := end(after=-60)]), Told()
    watching = session(looks, told)
    await watching._look_once()
    assert told.ends == []
    looks.ended = [second := end(after=2), first := end(after=1), old]
    await watching._look_once()
    await watching._look_once()
    assert told.ends == [first, second]
    first.run.finished_at += timedelta(seconds=5)  # retried, it has ended again
    await watching._look_once()
    assert told.ends == [first, second, first]

"""What `pgflow dev` tells about runs that are over, and how it puts one edition in the place of another."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest

from pgflow.dev.rerun import Rerun
from pgflow.dev.session import Plan, Session
from pgflow.errors import ConnectionFailed, PgflowError, RunNotFound, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from pgflow.database import Database
    from pgflow.dev.board import Board, Ended, Runs
    from pgflow.dev.screen import Screen


@dataclass
class Looks:
    """Stands for the database: what each look finds."""

    ended: list[Any] = field(default_factory=list)

    async def look(self, _flows: object, _queues: object) -> tuple[list[Any], list[Any]]:
        return [], self.ended


@dataclass
class Told:
    """A screen that remembers which ends it was told of, and what else."""

    ends: list[Any] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def ended(self, end: Ended) -> None:
        self.ends.append(end)

    def tell(self, text: str, *, bad: bool = False) -> None:
        self.texts.append(text)

    def broken(self, problem: str) -> None:
        self.texts.append(f"broken: {problem}")

    def show(self, _board: Board) -> None:
        pass


def end(after: float) -> Any:
    """Return a run that ended so many seconds from now."""
    run = SimpleNamespace(run_id=uuid4(), finished_at=datetime.now(UTC) + timedelta(seconds=after))
    return SimpleNamespace(run=run)


def session(looks: Looks, told: Told, database: Any = None) -> Session:
    options = SimpleNamespace(targets=["app.py"], drain_timeout=3)
    plan = Plan(
        options=cast("Any", options), roots=[], input=None, revive=None, greet=lambda *_: None
    )
    made = Session(plan, cast("Database", database), cast("Runs", looks), cast("Screen", told), 1)
    made._began = datetime.now(UTC)
    return made


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


class Edition:
    """Stands for workers: starts or not as it is told, ends when it is let go."""

    born = datetime.now(UTC)
    restarts = 0
    is_working = True
    queues: Sequence[str] = ()
    pids: Sequence[int] = ()
    error: str | None = None
    is_ready = True

    def __init__(self, *, met_outage: bool = False) -> None:
        self.flows = ["hello"]
        self.met_outage = met_outage
        self.retirements = 0
        self.may_end = asyncio.Event()

    async def ready(self) -> None:
        if self.met_outage:
            raise PgflowError("no answer")

    async def retire(self) -> None:
        self.retirements += 1

    def kill(self) -> None:
        self.may_end.set()

    async def ended(self) -> None:
        await self.may_end.wait()


@dataclass
class Stage:
    """What the editions of a session are, and a way to change the code."""

    editions: list[Edition]
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    made: int = 0

    def make(self, *_: object) -> Edition:
        self.made += 1
        return self.editions[self.made - 1]

    async def changes(self, *_: object) -> AsyncIterator[list[Path]]:
        while True:
            await self.changed.wait()
            self.changed.clear()
            yield []


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage([])
    monkeypatch.setattr("pgflow.dev.session.Edition", stage.make)
    monkeypatch.setattr("pgflow.dev.session.changes", stage.changes)
    return stage


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - it is for any condition
            await asyncio.sleep(0)


class Server:
    """Stands for a database whose clock is slow."""

    async def now(self) -> datetime:
        return datetime.now(UTC) - timedelta(hours=1)


async def test_an_interrupt_while_an_old_edition_drains_stops_it_once(stage: Stage) -> None:
    """A second SIGTERM has workers give up what they perform."""
    old, new = stage.editions = [Edition(), Edition()]
    told = Told()
    running = asyncio.create_task(session(Looks(), told, Server()).run())
    await until(lambda: stage.made == 1)
    stage.changed.set()
    await until(lambda: "reloaded: hello" in told.texts)
    os.kill(os.getpid(), signal.SIGINT)
    await until(lambda: new.retirements)
    for edition in (old, new):
        edition.may_end.set()
    assert await running == 0
    assert (old.retirements, new.retirements) == (1, 1)


async def test_ends_are_compared_with_the_servers_clock(stage: Stage) -> None:
    looks, told = Looks([before := end(after=-4000), since := end(after=-3500)]), Told()
    stage.editions = [edition := Edition()]
    running = asyncio.create_task(session(looks, told, Server()).run())
    await until(lambda: told.ends)
    os.kill(os.getpid(), signal.SIGINT)
    edition.may_end.set()
    await running
    assert told.ends == [since]
    assert before not in told.ends


async def test_an_outage_at_the_start_is_no_mistake_of_the_code_and_is_tried_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow.dev.session.OUTAGE_PAUSE", 0.001)
    stage.editions = [Edition(met_outage=True), Edition()]
    told = Told()
    running = asyncio.create_task(session(Looks(), told, Server()).run())
    await until(lambda: stage.made == 2)
    os.kill(os.getpid(), signal.SIGINT)
    for edition in stage.editions:
        edition.may_end.set()
    await running
    assert told.texts[0] == "tried again in 0.001 s: PGF000: no answer"
    assert not any(text.startswith("broken") for text in told.texts)


async def test_a_server_that_does_not_answer_is_started_again(stage: Stage) -> None:
    class Gone(Looks):
        async def look(self, _flows: object, _queues: object) -> tuple[list[Any], list[Any]]:
            raise ConnectionFailed("no answer")

    revived = threading.Event()
    stage.editions = [edition := Edition()]
    made = session(Gone(), Told(), Server())
    made._plan = replace(made._plan, revive=revived.set)
    running = asyncio.create_task(made.run())
    await until(revived.is_set)
    os.kill(os.getpid(), signal.SIGINT)
    edition.may_end.set()
    assert await running == 0


async def test_a_run_that_was_deleted_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    class Run:
        async def status(self) -> None:
            raise RunNotFound(uuid4())

    class Client:
        def __init__(self, _: object) -> None:
            pass

        async def start(self, *started: object) -> Run:
            starts.append(started)
            return Run()

    starts: list[object] = []
    monkeypatch.setattr("pgflow.dev.rerun.Client", Client)
    rerun = Rerun(cast("Database", None), "app.py", dict)
    await rerun.start(["hello"])
    await rerun.start(["hello"])
    assert starts == [("hello", {}), ("hello", {})]


@pytest.mark.parametrize(
    ("flows", "text"),
    [([], "pgflow run PLAN --no-worker"), (["a", "b"], "pgflow dev app.py:a --run")],
)
async def test_only_one_flow_can_be_run_again(flows: list[str], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        await Rerun(cast("Database", None), "app.py", dict).start(flows)
    assert text in str(caught.value.hint)

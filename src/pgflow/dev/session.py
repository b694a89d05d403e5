"""A session of `pgflow dev`: a new edition of the workers for each state of the code, the old one drained.

The new workers start beside the old ones, which end once the new ones work: a mistake in the code leaves the old ones
alone, and at no time is nobody there.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from pgflow._background import stopped_by_signals
from pgflow.database import is_transient
from pgflow.dev.board import Board, Runs
from pgflow.dev.edition import Edition
from pgflow.dev.output import logs_to
from pgflow.dev.rerun import Rerun
from pgflow.dev.watching import MOST_DIRECTORIES, Sources, changes
from pgflow.errors import PgflowError
from pgflow.live.follow import INTERVAL, SHARE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from uuid import UUID

    from pgflow.database import Database
    from pgflow.dev.edition import WorkerOptions
    from pgflow.dev.screen import Screen

KILLED = 130
"""Exit code after a second Ctrl-C."""
OUTAGE_PAUSE = 2.0
"""Seconds until an edition is tried again that the server kept from starting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a session does."""

    options: WorkerOptions
    roots: Sequence[Path]
    input: Callable[[], Any] | None
    """Gives the input of the run that each edition starts; none if it starts none."""
    revive: Callable[[], object] | None
    """Starts the server again if it has crashed; none for somebody else's."""
    greet: Callable[[Sequence[str], Sequence[str]], None]
    """Called once, with the flows, and what is served in words, when the first edition works."""


class Session:
    """Runs until it is stopped."""

    def __init__(
        self, plan: Plan, database: Database, runs: Runs, screen: Screen, output: int
    ) -> None:
        self._plan = plan
        self._database = database
        self._runs = runs
        self._screen = screen
        self._output = output
        self._editions: list[Edition] = []
        """Those whose workers live, the oldest first."""
        self._retired_ones: set[Edition] = set()
        self._serving: Edition | None = None
        self._endings: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._is_over = False
        self._exit_code = 0
        self._reloads = 0
        self._problem: str | None = None
        self._outage: str | None = None
        self._flows: list[str] = []
        self._queues: list[str] = []
        self._rerun: Rerun | None = None
        if plan.input is not None:
            self._rerun = Rerun(database, plan.options.targets[0], plan.input)
        self._began = datetime.min.replace(tzinfo=UTC)
        """By the server's clock, as the ends of runs are."""
        self._told: set[tuple[UUID, datetime | None]] = set()
        self._board = Board(targets=" ".join(plan.options.targets), state="starting")

    async def run(self) -> int:
        """Work until a signal stops it; return the exit code."""
        self._began = await self._database.now()
        with stopped_by_signals(self._stop), logs_to(self._tell_log):
            work = [asyncio.create_task(p) for p in (self._watch(), self._serve(), self._look())]
            stopped = asyncio.create_task(self._stopping.wait())
            try:
                await asyncio.wait({stopped, *work}, return_when=asyncio.FIRST_COMPLETED)
                for task in work:
                    if task.done():
                        task.result()  # one of the parts cannot go on
            finally:
                self._stopping.set()
                await self._end([stopped, *work])
        return self._exit_code

    def _stop(self, again: bool) -> None:
        self._stopping.set()
        if not again:
            patience = self._plan.options.drain_timeout
            self._screen.tell(
                f"stopping; tasks that run have {patience:g} s, another Ctrl-C kills them"
            )
        else:
            self._exit_code = KILLED
            for edition in self._editions:
                edition.kill()

    async def _end(self, work: list[asyncio.Task[Any]]) -> None:
        """Stop all parts, wait for the workers' drain, show how the runs are left."""
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        with suppress(OSError):  # whoever read the output may be gone
            self._show()
        for edition in list(self._editions):
            self._retire(edition)
        while self._endings:
            await asyncio.wait(self._endings)
        self._is_over = True
        with suppress(Exception):  # neither server nor reader need be there for the last picture
            await self._look_once()

    # The code

    async def _watch(self) -> None:
        start = await asyncio.to_thread(Sources.below, self._plan.roots)
        if start.is_partial:
            self._screen.tell(f"only the nearest {MOST_DIRECTORIES:,} directories are watched")
        self._changed.set()
        async for paths in changes(self._plan.roots, start):
            names = ", ".join(path.name for path in paths[:3]) + (" …" if len(paths) > 3 else "")  # noqa: PLR2004 - a line's worth
            self._screen.tell(f"{names} changed")
            self._changed.set()

    async def _serve(self) -> None:
        """Start an edition after each change; one that is still starting gives way to the next."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            edition = Edition(self._plan.options, self._output)
            self._editions.append(edition)
            ready = asyncio.create_task(edition.ready())
            changed = asyncio.create_task(self._changed.wait())
            try:
                await asyncio.wait({ready, changed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
                ready.cancel()
            if ready.done() and not ready.cancelled():
                await self._judge(edition, ready)
            else:
                self._retire(edition)

    async def _judge(self, edition: Edition, ready: asyncio.Task[None]) -> None:
        """Put an edition in the place of the serving one, or keep that."""
        try:
            ready.result()
        except PgflowError as error:
            self._retire(edition)
            self._refuse(edition, edition.error or str(error))
            return
        former, self._serving = self._serving, edition
        self._problem, self._flows, self._queues = None, edition.flows, edition.queues
        if former is None:
            self._plan.greet(self._flows, self._serves)
        else:
            self._reloads += 1
            await self._retired(former)
            self._screen.tell(f"reloaded: {', '.join(self._serves)}")
        if self._rerun is not None:
            await self._start_run(self._rerun)

    def _refuse(self, edition: Edition, reason: str) -> None:
        """Say why an edition does not work; what only the server is to blame for is tried again."""
        if edition.met_outage:
            self._screen.tell(f"tried again in {OUTAGE_PAUSE:g} s: {reason}", bad=True)
            asyncio.get_running_loop().call_later(OUTAGE_PAUSE, self._changed.set)
        else:
            self._problem = reason
            self._screen.broken(reason)

    @property
    def _serves(self) -> list[str]:
        return self._flows or [f"plans on {queue}" for queue in self._queues]

    def _retire(self, edition: Edition) -> None:
        task = asyncio.create_task(self._retired(edition))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _retired(self, edition: Edition) -> None:
        """Stop an edition; return when it takes on nothing more, and forget it when it has ended."""
        if edition in self._retired_ones:
            return  # a second stop would have its workers give up their tasks
        self._retired_ones.add(edition)
        ending = asyncio.create_task(self._ended(edition))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)
        await edition.retire()

    async def _ended(self, edition: Edition) -> None:
        await edition.ended()
        self._editions.remove(edition)
        self._retired_ones.discard(edition)

    # Runs

    async def _start_run(self, rerun: Rerun) -> None:
        try:
            await rerun.start(self._flows)
        except Exception as error:
            if not isinstance(error, PgflowError) and not is_transient(error):
                raise
            self._screen.tell(f"no run was started: {error}", bad=True)

    async def _look(self) -> None:
        while True:
            began = monotonic()
            try:
                await self._look_once()
                self._outage = None
            except Exception as error:
                if not is_transient(error):
                    raise
                await self._revive()
                self._outage = f"the database does not answer: {str(error).partition(chr(10))[0]}"
                self._show()
            await asyncio.sleep(max(INTERVAL, SHARE * (monotonic() - began)))

    async def _revive(self) -> None:
        if self._plan.revive is not None:
            with suppress(PgflowError):
                await asyncio.to_thread(self._plan.revive)

    async def _look_once(self) -> None:
        running, ended = await self._runs.look(self._flows, self._queues)
        for end in reversed(ended):
            identity = (end.run.run_id, end.run.finished_at)
            is_older = end.run.finished_at is not None and end.run.finished_at < self._began
            if identity not in self._told and not is_older:
                self._screen.ended(end)
            self._told.add(identity)
        self._show(running=running, ended=ended)

    def _show(self, **runs: Any) -> None:
        serving = self._serving
        if self._stopping.is_set():
            state = "stopped" if self._is_over else "stopping"
        elif self._problem is not None:
            state = "waiting" if serving is None else "broken"
        elif serving is None or not serving.is_working:
            state = "starting"
        else:
            state = "ready"
        self._board = Board(
            targets=self._board.targets,
            state=state,
            workers=len(serving.pids) if serving else 0,
            serves=self._serves,
            born=serving.born if serving else None,
            reloads=self._reloads,
            restarts=serving.restarts if serving else 0,
            problem=self._outage or self._problem,
            running=runs.get("running", self._board.running),
            ended=runs.get("ended", self._board.ended),
        )
        self._screen.show(self._board)

    # Logs

    def _tell_log(self, record: logging.LogRecord) -> None:
        """Show a record, unless it only says what is wrong with the code: that is shown already."""
        text = record.getMessage()
        if not any(text == edition.error and not edition.is_ready for edition in self._editions):
            self._screen.tell(text, bad=record.levelno >= logging.ERROR)

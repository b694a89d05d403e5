"""The cells of the crash matrix: how each is staged, and how a worker is led to its crash point."""

from __future__ import annotations

import json
import signal
import socket
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from tests.support import proxy as network
from tests.support.crash_flows import ITEMS, make_flow
from tests.support.proxy import Fault, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack
    from pathlib import Path
    from uuid import UUID

    from pgflow.database import Database
    from pgflow.records import GrantedTask
    from tests.support.nursery import Nursery, Nursling

FAULTS = ("kill", "term", "cut", "lost_reply", "stop")
COMMON = ("before_claim", "after_claim", "before_perform", "after_perform")
PLAIN = (*COMMON, "before_complete", "after_complete")
TRANSACTIONAL = (*COMMON, "before_commit", "after_commit")
LATE = ("after_complete", "after_commit")
"""Points after which nothing is reported; there may be something to claim."""
PATIENCE = 90.0


class Meeting:
    """A socket that one crash point asks at; what is asked for happens before the worker goes on."""

    def __init__(self, path: Path, deed: Callable[[], object]) -> None:
        self.path = path
        self.asked = threading.Event()
        self._deed = deed
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        with suppress(OSError):
            line, _ = self._socket.accept()
            with line:
                line.recv(100)
                self.asked.set()
                self._deed()


@dataclass
class Cell:
    """One crash point."""

    point: str
    slug: str
    stage: Stage
    victim: Nursling
    armed: list[network.Armed]
    """The fault of the network, once the worker has come to the point."""


def lease_of(fault: str, point: str) -> int:
    """Return a lease that runs out soon where it must, and never by slowness elsewhere."""
    loses_claim = fault == "lost_reply" and point in {"before_claim", *LATE}
    return 3 if fault == "kill" or loses_claim else 60


def next_calls(point: str) -> tuple[bytes, ...]:
    """Return the calls that the network is to spoil: the first that comes after the point on the target's way."""
    if point == "before_claim":
        return network.CLAIMS
    reports = network.REPORTS + network.COMMITS
    return reports + network.CLAIMS if point in LATE else reports


async def staged(db: Database, kind: str, slug: str, journal: Path) -> Stage:
    """Start a run, and bring it to where one target is all that is left to claim."""
    flow = make_flow(kind, slug)
    await db.define_flow(slug, json.dumps(flow.definition()))
    setting = {"journal": str(journal)}
    run_id = await db.start_flow(slug, json.dumps(setting))
    stage = Stage(run_id)
    if kind in {"last_step", "item", "last_item"}:
        by = uuid.uuid4()
        await db.register_worker(by, [slug], "stage")
        first: Any = setting if kind == "last_step" else [setting] * ITEMS
        await complete(db, await db.claim_tasks(slug, by, 1), first)
        if kind != "last_step":
            stage.held = await db.claim_tasks(slug, by, ITEMS - 1, 600)
        if kind == "last_item":
            await stage.finish(db)
    return stage


async def complete(db: Database, tasks: Sequence[GrantedTask], output: Any = None) -> None:
    """Complete tasks; items as their handler would."""
    for task in tasks:
        value = output or [7 * task.task_index + 1, task.attempt]
        key = ([task.run_id], [task.step_slug], [task.task_index], [task.attempt])
        (report,) = await db.complete_tasks(*key, [json.dumps(value)])
        assert report.outcome == "accepted"


@dataclass
class Stage:
    """A run, and items of it that the test itself has claimed."""

    run_id: UUID
    held: Sequence[GrantedTask] = ()

    async def finish(self, db: Database) -> None:
        """Complete those items."""
        held, self.held = self.held, ()
        await complete(db, held)


class Matrix:
    """The cells of one fault and one kind of step."""

    def __init__(
        self,
        dsn: str,
        nursery: Nursery,
        stack: ExitStack,
        *,
        directory: Path,
        fault: str,
        kind: str,
    ) -> None:
        self._dsn = dsn
        self._nursery = nursery
        self._directory = directory
        self._fault = fault
        self._kind = kind
        self._stack = stack
        self._children: list[Nursling] = []
        stack.callback(self._end)
        self.journal = directory / "journal"
        self.meetings: list[Meeting] = []
        self.restarted = threading.Event()

    async def begin(self, db: Database, point: str) -> Cell:
        """Stage a run, and let a worker loose on it that meets the fault at a point."""
        slug = f"{self._fault}_{self._kind}_{point}"
        stage = await staged(db, self._kind, slug, self.journal)
        armed: list[network.Armed] = []
        dsn, action = self._dsn, self._fault
        if self._fault in {"cut", "lost_reply"}:
            proxy = self._stack.enter_context(Proxy(self._dsn))
            dsn = proxy.dsn
            what = Fault.CUT_BEFORE_SEND if self._fault == "cut" else Fault.DROP_REPLY
            action = self._meet(point, lambda: armed.append(proxy.arm(what, next_calls(point))))
        elif self._fault == "stop":
            action = self._meet(point, lambda: self.restarted.wait(PATIENCE))
        crash_at = f"{point}:1:{action}"
        victim = self.start([[self._kind, slug]], crash_at, lease_of(self._fault, point), dsn)
        return Cell(point, slug, stage, victim, armed)

    def start(
        self, flows: list[list[str]], crash_at: str = "", lease: int = 60, dsn: str = ""
    ) -> Nursling:
        """Start a worker."""
        config = {"dsn": dsn or self._dsn, "flows": flows, "crash_at": crash_at, "lease": lease}
        child = self._nursery.start({**config, "concurrency": 1})
        self._children.append(child)
        return child

    def _meet(self, point: str, deed: Callable[[], object]) -> str:
        meeting = Meeting(self._directory / f"{point}.sock", deed)
        self.meetings.append(self._stack.enter_context(meeting))
        return f"ask={meeting.path}"

    def _end(self) -> None:
        self.restarted.set()
        for child in self._children:
            child.send(signal.SIGKILL)
        for child in self._children:
            child.wait()

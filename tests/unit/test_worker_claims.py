"""Claims: wakes claim at once, the time of the next message is asked for, queues share the slots."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import psycopg
import pytest

from pgflow import _claims
from pgflow._claims import Claims
from pgflow._reach import Reach
from pgflow._repertoire import Repertoire
from pgflow.database import UPGRADE_REPEATS
from pgflow.records import GrantedTask, RawJson

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

CONCURRENCY = 10


class Server:
    def __init__(self) -> None:
        self.waiting: Counter[str] = Counter()
        self.claims: list[tuple[str, int, int]] = []
        """Queue, asked, granted."""
        self.asked = 0
        self.due: float | None = None
        self.fault: Exception | None = None
        self.changed = asyncio.Event()
        self.reserved: Callable[[], int]

    async def claim_tasks(
        self, queue: str, worker: UUID, qty: int, lease: int, keys: Sequence[str]
    ) -> list[GrantedTask]:
        await asyncio.sleep(0)
        assert self.reserved() >= qty, "nobody else fills what is asked for"
        self.changed.set()
        if self.fault is not None:
            self.claims.append((queue, qty, -1))
            raise self.fault
        granted = min(qty, self.waiting[queue])
        self.waiting[queue] -= granted
        self.claims.append((queue, qty, granted))
        return [
            GrantedTask(
                "flow", UUID(int=1), "step", index, 1, RawJson(b"1"), None, 1, queue, "map", 1, 3,
                60, exhausted=False,
            )
            for index in range(granted)
        ]  # fmt: skip

    async def next_due(self, queues: Sequence[str], keys: Sequence[str]) -> float | None:
        await asyncio.sleep(0)
        self.asked += 1
        self.changed.set()
        return self.due


class FakeSlots:
    def __init__(self) -> None:
        self.concurrency = CONCURRENCY
        self.held: defaultdict[str, int] = defaultdict(int)
        self.changed = asyncio.Event()
        self.durations: list[float] = []
        self.busy = False
        self.reserved = 0

    def __len__(self) -> int:
        return sum(self.held.values())

    def room(self) -> int:
        return self.concurrency - len(self) - self.reserved

    def of_queue(self, queue: str) -> int:
        return self.held[queue]

    def reserve(self, count: int) -> None:
        self.reserved += count

    def release(self, count: int) -> None:
        self.reserved -= count

    def is_busy(self) -> bool:
        return self.busy

    def claimed(self, seconds: float) -> None:
        self.durations.append(seconds)

    def accept(self, granted: Sequence[GrantedTask], leased_at: float) -> None:
        for task in granted:
            self.held[task.queue_name] += 1

    def free(self, queue: str, count: int) -> None:
        self.held[queue] -= count
        self.changed.set()


class FakeListener:
    def __init__(self) -> None:
        self.is_healthy = True
        self.wakes: dict[str, asyncio.Event] = {}

    def wake(self, queue: str, event: asyncio.Event) -> asyncio.Event:
        self.wakes[queue] = event
        return event

    def is_listening(self, channel: str) -> bool:
        assert channel == "pgflow_wake"
        return self.is_healthy


class Bench:
    def __init__(self, queues: Sequence[str], *, listen: bool = True) -> None:
        self.server = Server()
        self.renewals = 0
        self.slots = FakeSlots()
        self.server.reserved = lambda: self.slots.reserved
        self.listener = FakeListener()
        self.claims: Any = Claims(
            self.server,  # type: ignore[arg-type]
            UUID(int=9),
            Repertoire({}, ["flow.step(map:)"], list(queues), {}),
            self.slots,  # type: ignore[arg-type]
            self.slots.accept,
            self.renew,
            reach=Reach(30),
            rouse=lambda: None,
            lease=30,
            listen=False,
        )
        self.claims._listener = cast("Any", self.listener if listen else None)
        self._task: asyncio.Task[None] | None = None

    async def renew(self) -> None:
        self.renewals += 1
        self.server.fault = None

    def start(self) -> None:
        self._task = asyncio.create_task(self.claims.run())

    async def close(self) -> None:
        self.claims.stop()
        if self._task is not None:
            async with asyncio.timeout(5):
                await self._task

    async def until(self, claims: int = 0, asked: int = 0) -> None:
        async with asyncio.timeout(5):
            while len(self.server.claims) < claims or self.server.asked < asked:
                self.server.changed.clear()
                await self.server.changed.wait()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench(["one"])
    yield bench
    await bench.close()


async def test_a_wake_claims_at_once_and_nothing_is_asked_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_claims, "FIRST_POLL", 60)
    bench.claims._pause = 60
    bench.start()
    await bench.until(claims=1)
    bench.server.waiting["one"] = 3
    bench.listener.wakes["one"].set()
    await bench.until(claims=2)
    assert bench.server.claims == [("one", 10, 0), ("one", 5, 3)], (
        "half of the room is left to reports, which bring tasks, too"
    )
    assert bench.server.asked == 0


async def test_an_idle_worker_asks_once_and_sleeps_until_the_next_message_is_due(
    bench: Bench,
) -> None:
    bench.server.due = 0.2
    loop = asyncio.get_running_loop()
    bench.start()
    await bench.until(claims=1, asked=1)
    begin = loop.time()
    bench.server.due = 0
    bench.server.waiting["one"] = 1
    await bench.until(claims=2, asked=2)
    assert loop.time() - begin > 0.15
    assert bench.server.claims[1] == ("one", 10, 1)


async def test_where_notifications_arrive_an_idle_worker_hardly_looks(bench: Bench) -> None:
    bench.start()
    await bench.until(claims=1, asked=1)
    await asyncio.sleep(0.5)
    assert (len(bench.server.claims), bench.server.asked) == (1, 1)


@pytest.mark.parametrize("listen", [True, False])
async def test_where_notifications_do_not_arrive_it_looks_at_least_once_a_second(
    listen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_claims, "LONGEST_POLL", 0.08)
    bench = Bench(["one", "two"], listen=listen)
    bench.listener.is_healthy = False
    bench.start()
    await bench.until(claims=2, asked=5)
    assert len(bench.server.claims) == 2, "one question stands for a claim of each queue"
    bench.server.waiting["two"] = 1
    bench.server.due = 0
    await bench.until(claims=4)
    assert ("two", 10, 1) in bench.server.claims
    await bench.close()


async def test_delays_make_it_ask_again(bench: Bench) -> None:
    bench.start()
    await bench.until(claims=1, asked=1)
    bench.server.due = 0
    bench.claims.ask_again()
    await bench.until(claims=2, asked=2)


async def test_queues_with_work_share_the_slots() -> None:
    bench = Bench(["flood", "small"])
    bench.server.waiting.update(flood=100, small=100)
    bench.start()
    await bench.until(claims=2)
    await asyncio.sleep(0)
    assert dict(bench.slots.held) == {"flood": 5, "small": 5}
    await bench.close()


async def test_a_queue_alone_has_all_slots_and_gives_the_next_free_ones_to_another() -> None:
    bench = Bench(["flood", "small"])
    bench.server.waiting["flood"] = 100
    bench.start()
    await bench.until(claims=3)
    await asyncio.sleep(0)
    assert bench.slots.held["flood"] == CONCURRENCY
    bench.server.waiting["small"] = 1
    bench.listener.wakes["small"].set()
    seen = len(bench.server.claims)
    bench.slots.free("flood", 1)
    await bench.until(claims=seen + 1)
    assert bench.server.claims[seen] == ("small", 1, 1)
    await bench.close()


async def test_claims_that_bring_little_leave_room_between_them_under_load(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_claims, "LONGEST_SPACE", 60)
    bench.start()
    await bench.until(claims=1, asked=1)
    bench.claims._rested_at = asyncio.get_running_loop().time() + 0.1
    bench.slots.busy = True
    bench.listener.wakes["one"].set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(bench.server.claims) == 1
    await bench.until(claims=2)


async def test_faults_of_the_server_pass(bench: Bench) -> None:
    bench.server.fault = psycopg.OperationalError("gone")
    bench.start()
    await bench.until(claims=1, asked=1)
    bench.server.fault = None
    bench.server.waiting["one"] = 1
    bench.listener.wakes["one"].set()
    await bench.until(claims=2)
    assert bench.server.claims[-1] == ("one", 5, 1)


async def test_a_queue_that_is_not_empty_yet_gets_all_the_room(bench: Bench) -> None:
    bench.start()
    await bench.until(claims=1, asked=1)
    bench.server.waiting["one"] = 100
    bench.listener.wakes["one"].set()
    await bench.until(claims=3)
    await asyncio.sleep(0)
    assert bench.server.claims[1:] == [("one", 5, 5), ("one", 5, 5)]
    bench.slots.free("one", 10)
    await bench.until(claims=4)
    assert bench.server.claims[3] == ("one", 10, 10)


async def test_a_worker_that_the_database_has_forgotten_is_registered_anew(bench: Bench) -> None:
    bench.server.fault = psycopg.errors.ForeignKeyViolation("Worker is not registered")
    bench.start()
    await bench.until(claims=1, asked=1)
    assert bench.renewals == 1


async def test_a_claim_that_an_upgrade_broke_is_made_again_a_few_times(bench: Bench) -> None:
    """The call was under way with the old functions; a schema that stays broken ends the claiming."""
    error = psycopg.errors.DatatypeMismatch("structure of query does not match")
    for _ in range(2):
        for _ in range(UPGRADE_REPEATS):
            bench.claims._pass_over(error)
        with pytest.raises(psycopg.errors.DatatypeMismatch):
            bench.claims._pass_over(error)
        bench.claims._outage.reset()  # a claim went well


async def test_other_errors_end_the_claiming(bench: Bench) -> None:
    bench.server.fault = psycopg.errors.RaiseException("Worker is not registered")
    with pytest.raises(psycopg.errors.RaiseException):
        await bench.claims.run()

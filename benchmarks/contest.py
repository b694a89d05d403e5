"""The comparison: every engine does the same work on the same server, in turns, so that a noisy minute hits them all.

A turn of an engine is three sessions, each on an empty store with fresh workers: fans and diamonds on two worker
processes, chains on one. Every result is verified; an engine that fails or is too slow is kept, with the reason.
"""

from __future__ import annotations

import math
import random
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.contestant import (
    ENTRIES,
    OUR_NAME,
    Contestant,
    ContestantFailed,
    Entry,
    TooSlow,
)
from benchmarks.limit import FUSED, measure_limit
from benchmarks.redis import Redis, RedisMissing
from benchmarks.stage import Gauges, Server, as_url
from benchmarks.verify import verify_chain, verify_diamonds, verify_fan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BASE = 10_000
"""Items of the fan that the ratios refer to; what cannot do it in time is measured with fewer."""
START_TIMEOUT = 90.0
WARM_FAN, WARM_DIAMONDS, WARM_CHAINS = 300, 20, 2


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured; `cap` is the seconds that an engine gets for a fan or the diamonds."""

    repetitions: int
    sizes: Sequence[int]
    diamonds: int
    chains: int
    cap: float


FULL = Plan(repetitions=3, sizes=(1_000, BASE, 100_000), diamonds=1_000, chains=8, cap=30.0)
QUICK = Plan(repetitions=1, sizes=(1_000, BASE), diamonds=200, chains=6, cap=15.0)


@dataclass(slots=True)
class Fan:
    """Repetitions of one size. CPU in µs an item, without the client's."""

    asked: int
    size: int
    """Items that were run: fewer than asked for where the engine is too slow, 0 for none."""
    rates: list[float] = field(default_factory=list)
    worker_cpu: list[float] = field(default_factory=list)
    server_cpu: list[float] = field(default_factory=list)
    commits: list[float] = field(default_factory=list)
    """An item; transactions that write. Empty for Redis."""
    too_slow: bool = False


@dataclass(slots=True)
class Standing:
    """What was found about one engine."""

    label: str
    store: str
    version: str = ""
    notes: str = ""
    failed: str | None = None
    fans: dict[int, Fan] = field(default_factory=dict)
    """By the size asked for."""
    diamonds: list[float] = field(default_factory=list)
    """Runs a second."""
    transition_p50: list[float] = field(default_factory=list)
    """Seconds, as all delays."""
    transition_p95: list[float] = field(default_factory=list)
    start_p50: list[float] = field(default_factory=list)
    start_p95: list[float] = field(default_factory=list)


class Contest:
    """Runs a plan; `tell` hears what is going on."""

    def __init__(self, plan: Plan, entries: Sequence[Entry], tell: Callable[[str], None]) -> None:
        self.plan = plan
        self.standings = {entry.name: Standing(entry.label, entry.store) for entry in entries}
        self.limit: list[float] = []
        self.settings: dict[str, str] = {}
        self._entries = list(entries)
        self._tell = tell
        self._server: Server
        self._redis: Redis | None = None

    def run(self) -> None:
        """Measure everything; raises ContestantFailed only if our own engine fails, and WrongResult."""
        with Server() as self._server:
            self.settings = self._server.settings()
            try:
                self._redis = Redis()
                self.settings["redis_version"] = self._redis.version()
            except RedisMissing as missing:
                for entry in self._entries:
                    if entry.needs_redis:
                        self.standings[entry.name].failed = str(missing)
            for entry in self._entries:
                self.standings[entry.name].failed = (
                    self.standings[entry.name].failed or entry.missing()
                )
            try:
                for repetition in range(self.plan.repetitions):
                    self._round(repetition)
            finally:
                if self._redis:
                    self._redis.__exit__()

    def as_json(self) -> dict[str, Any]:
        """Return what was found, for the page and for later."""
        return {
            "plan": asdict(self.plan),
            "settings": self.settings,
            "limit": self.limit,
            "engines": {name: asdict(standing) for name, standing in self.standings.items()},
        }

    def _round(self, repetition: int) -> None:
        # Each round begins with another engine: none is always the first after a pause.
        offset = repetition % len(self._entries)
        for entry in self._entries[offset:] + self._entries[:offset]:
            if self.standings[entry.name].failed is None:
                self._turn(entry, repetition)
        with self._server.database() as dsn:
            self._tell(f"round {repetition + 1}: the set-based limit")
            self.limit.append(measure_limit(dsn, FUSED, BASE))

    def _turn(self, entry: Entry, repetition: int) -> None:
        standing = self.standings[entry.name]
        for session in (self._fans, self._diamonds, self._chains):
            self._tell(f"round {repetition + 1}: {entry.label}, {session.__name__.strip('_')}")
            try:
                session(entry, standing)
            except ContestantFailed as failure:
                if entry.name == OUR_NAME:
                    raise
                standing.failed = str(failure)
                return
            except TooSlow as failure:
                # A fan that is too slow is noted where it happens; without a start there is nothing to note.
                self._tell(f"{entry.label}: {failure}")

    @contextmanager
    def _session(self, entry: Entry, workers: int) -> Iterator[tuple[Contestant, list[int], str]]:
        with self._server.database(schema=False) as dsn:
            if self._redis and entry.needs_redis:
                self._redis.flush()
            url = self._redis.socket if self._redis and entry.needs_redis else as_url(dsn)
            with Contestant(entry.command(url), url) as contestant:
                about = contestant.ask("prepare", START_TIMEOUT)
                standing = self.standings[entry.name]
                standing.version, standing.notes = about["version"], about["notes"]
                pids = contestant.ask("workers", START_TIMEOUT, count=workers)
                yield contestant, pids, dsn

    # Sessions

    def _fans(self, entry: Entry, standing: Standing) -> None:
        with self._session(entry, 2) as (contestant, pids, dsn):
            verify_fan(contestant.ask("fan", START_TIMEOUT, size=WARM_FAN), WARM_FAN)
            for asked in self.plan.sizes:
                fan = standing.fans.get(asked)
                if fan is None:
                    fan = standing.fans[asked] = Fan(asked, self._fitting(standing, asked))
                    fan.too_slow = fan.size == 0
                if not fan.too_slow:
                    self._fan(entry, fan, contestant, pids, dsn)

    def _fitting(self, standing: Standing, asked: int) -> int:
        """Return how many items fit the cap by the rate seen so far; 0 for none."""
        rates = [max(fan.rates) for fan in standing.fans.values() if fan.rates]
        return fitting(asked, rates[-1], self.plan.cap) if rates else asked

    def _fan(
        self, entry: Entry, fan: Fan, contestant: Contestant, pids: list[int], dsn: str
    ) -> None:
        gauges, redis_before = Gauges(dsn, pids), self._redis_cpu()
        try:
            reply = contestant.ask("fan", self.plan.cap, size=fan.size)
        except TooSlow:
            fan.too_slow = True
            raise
        used, redis_used = gauges.usage(), self._redis_cpu() - redis_before
        verify_fan(reply, fan.size)
        fan.rates.append(fan.size / reply["seconds"])
        fan.worker_cpu.append(1e6 * used.worker_cpu / fan.size)
        server_cpu = redis_used if entry.needs_redis else used.server_cpu
        fan.server_cpu.append(1e6 * server_cpu / fan.size)
        if not entry.needs_redis:
            fan.commits.append(used.transactions / fan.size)

    def _redis_cpu(self) -> float:
        return self._redis.cpu() if self._redis else 0.0

    def _diamonds(self, entry: Entry, standing: Standing) -> None:
        with self._session(entry, 2) as (contestant, _, _):
            warm = contestant.ask("diamonds", START_TIMEOUT, runs=WARM_DIAMONDS)
            verify_diamonds(warm, WARM_DIAMONDS)
            reply = contestant.ask("diamonds", self.plan.cap, runs=self.plan.diamonds)
            verify_diamonds(reply, self.plan.diamonds)
            standing.diamonds.append(self.plan.diamonds / reply["seconds"])

    def _chains(self, entry: Entry, standing: Standing) -> None:
        transitions: list[float] = []
        starts: list[float] = []
        with self._session(entry, 1) as (contestant, _, _):
            for number in range(WARM_CHAINS + self.plan.chains):
                time.sleep(random.uniform(0.05, 0.15))
                found = verify_chain(contestant.ask("chain", START_TIMEOUT))
                if number >= WARM_CHAINS:
                    starts.append(found[0])
                    transitions += found[1]
        standing.transition_p50.append(quantile(transitions, 0.5))
        standing.transition_p95.append(quantile(transitions, 0.95))
        standing.start_p50.append(quantile(starts, 0.5))
        standing.start_p95.append(quantile(starts, 0.95))


def fitting(asked: int, rate: float, cap: float) -> int:
    """Return `asked` if it is done within the cap at this rate, else a round smaller number for BASE, else 0."""
    if asked / rate <= cap:
        return asked
    if asked > BASE:
        return 0
    rounds = (asked // 2, asked // 5, asked // 10)
    return next((size for size in rounds if size / rate <= cap), 0)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def choose(names: Sequence[str] | None) -> list[Entry]:
    """Return the entries of these names, ours always among them; raises ValueError for an unknown one."""
    known = {entry.name for entry in ENTRIES}
    if unknown := sorted(set(names or ()) - known):
        raise ValueError(
            f"no such engine: {', '.join(unknown)}; there are {', '.join(sorted(known))}"
        )
    return [e for e in ENTRIES if not names or e.name in names or e.name == OUR_NAME]

"""A hunt: a server, workers, clients and the nemesis at once; then healing, and the checker's verdict."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg

from pgflow.embedded import EmbeddedServer
from pgflow.schema import install
from tests.chaos import checker, journal
from tests.chaos.clients import Clients
from tests.chaos.facts import Journal, Tables, Violation
from tests.chaos.handlers import LEDGER
from tests.chaos.nemesis import Nemesis
from tests.chaos.plan import CRASHES, Deed, acts
from tests.chaos.strain import Strain
from tests.chaos.workers import Fleet
from tests.support.nursery import Nursery
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator


SETTINGS: Final = {
    "shared_buffers": "128MB",
    "max_connections": "150",
    "max_wal_size": "1GB",
    "log_line_prefix": "%m [%p] %e ",
    # Nothing here cuts the power, so this makes recovery faster, and nothing less true.
    "fsync": "off",
}
LEASE: Final = 2
"""Seconds; short, so that what a dead worker held comes back soon."""
HEALING: Final = 10.0
"""Seconds beyond two leases within which every run ends after the faults do, on a machine that is not overloaded."""


@dataclass(frozen=True)
class Quarry:
    """How long the hunt goes: until all of these have come about."""

    seconds: float = 0.0
    kills: int = 0
    crashes: int = 0
    doubts: int = 0


@dataclass
class Outcome:
    """What a hunt did and found."""

    seed: int
    quarry: Quarry
    pace: float
    workers: int
    seconds: float = 0.0
    healing_seconds: float = 0.0
    healing_bound: float = 0.0
    strain: float = 1.0
    deeds: dict[str, int] = field(default_factory=dict)
    network: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    directory: str = ""


def hunt(seed: int, quarry: Quarry, *, pace: float = 0.3, workers: int = 5) -> Outcome:
    """Hunt; the directory with all journals and logs stays if something was found, else it is removed."""
    outcome = Outcome(seed, quarry, pace, workers)
    directory = Path(tempfile.mkdtemp(prefix="pgflow-chaos-"))
    outcome.directory = str(directory)
    begin = time.monotonic()
    try:
        _hunt(outcome, directory)
        outcome.seconds = time.monotonic() - begin
    finally:
        if not outcome.violations and outcome.seconds:
            shutil.rmtree(directory, ignore_errors=True)
            outcome.directory = ""
    return outcome


@contextmanager
def _server(directory: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer.ensure(directory, settings=SETTINGS)
    try:
        yield server
    finally:
        server.stop("fast")
        server.close()


def _hunt(outcome: Outcome, directory: Path) -> None:
    notes, logs = directory / "journal", directory / "logs"
    notes.mkdir()
    logs.mkdir()
    with ExitStack() as stack:
        nursery = stack.enter_context(
            Nursery("tests.chaos.workers:work", logs, {journal.VARIABLE: str(notes)})
        )
        server = stack.enter_context(_server(directory / "server"))
        install(server.dsn)
        with psycopg.connect(server.dsn) as connection:
            connection.execute(LEDGER)
        proxy = stack.enter_context(Proxy(server.dsn))
        strain = stack.enter_context(Strain())
        config = {"dsn": proxy.dsn, "lease": LEASE, "concurrency": 8, "drain_timeout": 3}
        with Fleet(nursery, outcome.workers, config) as fleet:
            nemesis = Nemesis(server, proxy, fleet, notes)
            clients = Clients(proxy.dsn, notes, outcome.seed, clients=4, live=32)
            asyncio.run(_let_loose(outcome, server, nemesis, clients, proxy, strain))
        _judge(outcome, server, fleet, nemesis, Journal.of(notes))
        outcome.network = dict(proxy.counts) | dict(proxy.lost_replies)
        outcome.counts |= {
            "workers started": fleet.started,
            "starts that found no database": fleet.unreachable,
            "starts repeated": clients.repeated_starts,
        }


async def _let_loose(  # noqa: PLR0917 - those who take part
    outcome: Outcome,
    server: EmbeddedServer,
    nemesis: Nemesis,
    clients: Clients,
    proxy: Proxy,
    strain: Strain,
) -> None:
    watching = asyncio.create_task(clients.watch(server.dsn))
    starting = asyncio.create_task(clients.run())
    hunting = asyncio.create_task(asyncio.to_thread(_torment, outcome, nemesis, proxy))
    # What ends before the hunt does has failed.
    await asyncio.wait({watching, starting, hunting}, return_when=asyncio.FIRST_COMPLETED)
    if not hunting.done():
        outcome.violations.append(Violation("client", "a client or the watcher has ended"))
    clients.closing.set()
    await hunting
    healed, cpu = time.monotonic(), strain.mark()
    bound = 2 * LEASE + HEALING
    while not starting.done() or await asyncio.to_thread(_live_runs, server.dsn):
        outcome.strain = max(1.0, strain.since(cpu))
        if time.monotonic() - healed > bound * outcome.strain:
            break
        await asyncio.sleep(0.1)
    outcome.healing_seconds = time.monotonic() - healed
    outcome.strain = max(1.0, strain.since(cpu))
    outcome.healing_bound = bound * outcome.strain
    if not starting.done():
        outcome.violations.append(Violation("stuck", "a client waits for an answer"))
        starting.cancel()
    else:
        starting.result()
    await asyncio.sleep(1.0)  # for the watcher's last looks
    clients.seen_enough.set()
    await watching


def _torment(outcome: Outcome, nemesis: Nemesis, proxy: Proxy) -> None:
    """Act until the quarry is brought in; heal in any case."""
    begin, quarry = time.monotonic(), outcome.quarry
    try:
        for act in acts(outcome.seed, outcome.pace):
            if (
                time.monotonic() - begin >= quarry.seconds
                and nemesis.done[Deed.KILL_WORKER] >= quarry.kills
                and sum(nemesis.done[deed] for deed in CRASHES) >= quarry.crashes
                and proxy.counts["in_doubt"] >= quarry.doubts
            ):
                break
            nemesis.commit(act)
    finally:
        nemesis.heal()
        outcome.deeds = {deed.name: nemesis.done[deed] for deed in Deed}


def _live_runs(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "select exists (select 1 from pgflow.runs where status = 'started')"
        ).fetchone()
        assert row is not None
        return bool(row[0])


def _judge(
    outcome: Outcome, server: EmbeddedServer, fleet: Fleet, nemesis: Nemesis, notes: Journal
) -> None:
    with psycopg.connect(server.dsn) as connection:
        tables = Tables.of(connection)
        outcome.violations += checker.of_database(connection)
    outcome.violations += checker.check(notes, tables)
    outcome.violations += checker.of_log(server.directory / "log")
    outcome.violations += [
        Violation("worker", f"ended by itself with {end.code}: {end.log}\n{_tail(end.log)}")
        for end in fleet.ended_badly
    ]
    outcome.violations += [Violation("migrator", text) for text in nemesis.problems]
    outcome.counts |= count(notes, tables)


def count(notes: Journal, tables: Tables) -> dict[str, Any]:
    """Return the figures of the summary."""
    statuses = [run.status for run in tables.runs.values()]
    reports = [line["outcome"] for lines in notes.reports.values() for line in lines]
    return {
        "runs": len(statuses),
        **{f"runs {status}": statuses.count(status) for status in sorted(set(statuses))},
        "tasks": sum(len(items) for steps in tables.items.values() for items in steps.values()),
        "attempts begun": notes.counts["begin"],
        "attempts lost": tables.outcomes["lost"],
        "attempts failed": tables.outcomes["failed"],
        "attempts released": tables.outcomes["released"],
        "reports already accepted": reports.count("already_accepted"),
        "reports stale": reports.count("stale") + reports.count("finished"),
        "runs retried": len(notes.retries),
        "runs cancelled on request": len(notes.cancels),
    }


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-15:]) if path.exists() else ""

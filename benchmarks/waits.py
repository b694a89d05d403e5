"""Samples what the backends of a database wait for, and how many commits a server does with and without NOTIFY."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from benchmarks.stage import OBSERVER, observing

if TYPE_CHECKING:
    import psycopg

INTERVAL = 0.005
"""Seconds between two samples."""
FUNCTION = re.compile(r"pgflow\.([a-z]\w+)\(")

ACTIVE = """select coalesce(wait_event_type, 'CPU'), coalesce(wait_event, ''), query from pg_stat_activity
  where datname = current_database() and backend_type = 'client backend' and state = 'active'
    and application_name <> %s"""


class Wait(NamedTuple):
    """What a backend was doing at the moment of a sample."""

    type: str
    """PostgreSQL's type of the wait event; `CPU` for none: it runs, or wants to."""
    event: str
    doing: str
    """The SQL function that it was called for."""


class WaitSampler:
    """Samples in a thread while it is entered."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.counts: Counter[Wait] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _sample(self) -> None:
        with observing(self._dsn) as connection:
            while not self._ending.wait(INTERVAL):
                for kind, event, query in connection.execute(ACTIVE, [OBSERVER], prepare=True):
                    self.counts[Wait(kind, event, called(query))] += 1


def called(query: str | None) -> str:
    """Return the SQL function of ours that a statement calls, or `other`."""
    found = FUNCTION.search(query or "")
    return found[1] if found else "other"


def shares(counts: Counter[Wait], least: float = 0.01) -> list[tuple[Wait, float]]:
    """Return each wait's share of all samples, the largest first; those below `least` together."""
    total = sum(counts.values())
    large = [(wait, n / total) for wait, n in counts.most_common() if n / total >= least]
    rest = 1.0 - sum(share for _, share in large)
    return [*large, (Wait("other", "", "other"), rest)] if total and rest > least / 10 else large


def measure_commits(
    dsn: str, clients: int, seconds: float, latency: float, *, notify: bool
) -> float:
    """Return commits a second of so many clients that each insert a row, on a disk that takes `latency` s longer.

    The latency is PostgreSQL's own `commit_delay`: whoever flushes waits first, as a slower disk would make it.
    """
    with observing(dsn) as connection:
        connection.execute("create table if not exists public.bench_commits (n int)")
    ended = threading.Event()
    counts = [0] * clients

    def work(number: int) -> None:
        with observing(dsn) as connection:
            connection.execute("set commit_siblings = 0")
            _set_delay(connection, latency)
            text = "insert into public.bench_commits values (%s)"
            if notify:
                text += " returning pg_notify('bench_commits', %s::text)"
            while not ended.is_set():
                given = [number, counts[number]] if notify else [number]
                connection.execute(text.encode(), given, prepare=True)
                counts[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    ended.set()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - begin)


def _set_delay(connection: psycopg.Connection[tuple[Any, ...]], latency: float) -> None:
    connection.execute("select set_config('commit_delay', %s, false)", [str(round(1e6 * latency))])

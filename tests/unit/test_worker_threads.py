"""HandlerThreads: quick jobs share a thread, blocking ones get one each, abandoned ones are replaced."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from pgflow._threads import HandlerThreads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence


class Job:
    def __init__(self, work: Callable[[], object]) -> None:
        self.work = work
        self.thread = 0


class Bench:
    def __init__(self, limit: int = 50) -> None:
        self.results: list[tuple[Job, object]] = []
        self.deliveries = 0
        self.changed = asyncio.Event()
        self.threads = HandlerThreads[Job, object](self.run, self.deliver, limit=limit)

    def run(self, job: Job) -> object:
        job.thread = threading.get_ident()
        return job.work()

    def deliver(self, done: Sequence[tuple[Job, object]]) -> None:
        self.results += done
        self.deliveries += 1
        self.changed.set()

    async def delivered(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.results) < count:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    bench.threads.close()


async def test_quick_jobs_share_few_threads_and_come_back_in_bulk(bench: Bench) -> None:
    jobs = [Job(lambda: 1) for _ in range(1_000)]
    bench.threads.submit(jobs)
    await bench.delivered(1_000)
    assert len({job.thread for job in jobs}) < 20
    assert bench.deliveries < 300


async def test_blocking_jobs_all_run_at_once(bench: Bench) -> None:
    barrier = threading.Barrier(50)
    bench.threads.submit([Job(lambda: barrier.wait(timeout=10)) for _ in range(50)])
    await bench.delivered(50)
    assert {result for _, result in bench.results} == set(range(50))


async def test_jobs_behind_a_blocking_one_do_not_wait_for_it(bench: Bench) -> None:
    release = threading.Event()
    bench.threads.submit([Job(lambda: release.wait(30))])
    bench.threads.submit([Job(lambda: "quick") for _ in range(5)])
    await bench.delivered(5)
    assert [result for _, result in bench.results] == ["quick"] * 5
    release.set()
    await bench.delivered(6)


async def test_result_before_a_blocking_job_is_not_held_back(bench: Bench) -> None:
    release = threading.Event()
    bench.threads.submit([Job(lambda: "quick"), Job(lambda: release.wait(30))])
    await bench.delivered(1)
    assert bench.results[0][1] == "quick"
    release.set()
    await bench.delivered(2)


async def test_limit_holds() -> None:
    bench = Bench(limit=3)
    release = threading.Event()
    jobs = [Job(lambda: release.wait(30)) for _ in range(5)]
    bench.threads.submit(jobs)
    await asyncio.sleep(0.2)
    assert sum(job.thread != 0 for job in jobs) == 3
    release.set()
    await bench.delivered(5)
    bench.threads.close()


async def test_withdrawn_jobs_never_run() -> None:
    bench = Bench(limit=1)
    release = threading.Event()
    first = Job(lambda: release.wait(30))
    others = [Job(lambda: "no") for _ in range(3)]
    bench.threads.submit([first])
    await asyncio.sleep(0.05)
    bench.threads.submit(others)
    assert bench.threads.withdraw() == others
    release.set()
    await bench.delivered(1)
    await asyncio.sleep(0.05)
    assert [job for job, _ in bench.results] == [first]
    bench.threads.close()


async def test_abandoned_thread_makes_room_and_its_result_is_dropped() -> None:
    bench = Bench(limit=1)
    release = threading.Event()
    started, ended = threading.Event(), threading.Event()

    def hang() -> None:
        started.set()
        release.wait(30)
        ended.set()

    stuck = Job(hang)
    bench.threads.submit([stuck])
    assert await asyncio.to_thread(started.wait, 5)
    assert bench.threads.abandon(stuck)
    bench.threads.submit([Job(lambda: "next")])
    await bench.delivered(1)
    release.set()
    await asyncio.to_thread(ended.wait, 5)
    bench.threads.submit([Job(lambda: "after")])
    await bench.delivered(2)
    assert [result for _, result in bench.results] == ["next", "after"]
    bench.threads.close()


async def test_job_that_has_just_ended_cannot_be_abandoned(bench: Bench) -> None:
    job = Job(lambda: 1)
    bench.threads.submit([job])
    await bench.delivered(1)
    assert not bench.threads.abandon(job)

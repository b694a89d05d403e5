"""client.py: starting, finding, waiting for and steering runs."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from pgflow import (
    Client,
    Database,
    EncodingError,
    Flow,
    FlowNotFound,
    RunCancelled,
    RunFailed,
    RunNotFound,
    UsageError,
    WaitTimeout,
)
from pgflow.builder import FlowBuilder
from pgflow.errors import ConnectionFailed
from tests.support.runs import Boom, claim, count_runs, fail, report, work

if TYPE_CHECKING:
    from pgflow.listener import RunEvent


def make_flow(*, last: str = "total", factor: int = 10, attempts: int = 3) -> Flow[dict[str, int]]:
    flow = Flow[dict[str, int]]("numbers", max_attempts=attempts, base_delay=0)

    @flow.step()
    def source(given: dict[str, int]) -> list[int]:
        return list(range(given["n"]))

    @flow.map(over=source)
    def scaled(number: int) -> int:
        return number * factor

    @flow.step(depends_on=(scaled,), name=last)
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    return flow


FUNCTIONS = {
    "source": lambda given: list(range(given["n"])),
    "scaled": lambda number: number * 10,
    "total": lambda given: sum(given["scaled"]),
}


async def test_start_registers_the_flow_and_pins_the_run_to_its_version(db: Database) -> None:
    client = Client(db)
    first = await client.start(make_flow(), {"n": 1})
    second = await client.start(make_flow(last="sum"), {"n": 1})
    third = await client.start(make_flow(), {"n": 1})
    runs = [await db.run(run.id) for run in (first, second, third)]
    assert [run and run.flow_version for run in runs] == [1, 2, 1]
    assert [step.step_slug for step in await db.steps(second.id)] == ["source", "scaled", "sum"]


async def test_a_definition_is_registered_once_a_process(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    define = db.define_flow

    async def counted(*arguments: Any, **named: Any) -> int:
        nonlocal calls
        calls += 1
        return await define(*arguments, **named)

    monkeypatch.setattr(db, "define_flow", counted)
    for _ in range(3):
        await Client(db).start(make_flow(), {"n": 1})
    assert calls == 1


async def test_a_changed_option_is_registered_as_well(db: Database) -> None:
    await Client(db).start(make_flow(attempts=3), {"n": 1})
    await Client(db).start(make_flow(attempts=7), {"n": 1})
    (flow,) = await Client(db).flows()
    assert (flow.version, flow.opt_max_attempts) == (1, 7)


async def test_a_flow_deleted_meanwhile_is_registered_again(db: Database) -> None:
    run = await Client(db).start(make_flow(), {"n": 1})
    await run.cancel()
    await FlowBuilder(db).delete_flow("numbers")
    again = await Client(db).start(make_flow(), {"n": 1})
    assert await again.status() == "started"


async def test_a_slug_starts_what_the_database_holds(db: Database) -> None:
    await Client(db).start(make_flow(), {"n": 1})
    run = await Client(db).start("numbers", {"n": 2})
    assert await db.run_input(run.id) == b'{"n": 2}'


async def test_the_same_key_gives_the_same_run(db: Database) -> None:
    runs = await asyncio.gather(
        *(Client(db).start(make_flow(), {"n": n}, key="k") for n in range(8))
    )
    assert len({run.id for run in runs}) == 1
    other = await Client(db).start(make_flow(), {"n": 1}, key="other")
    assert other.id != runs[0].id
    assert await count_runs(db) == 2


@pytest.mark.parametrize(
    ("value", "path"),
    [(float("nan"), "$.n"), ("a\0b", "$.n"), (object(), "$.n"), ("\ud800", "$.n")],
)
async def test_an_input_that_is_no_json_writes_nothing(
    db: Database, value: object, path: str
) -> None:
    with pytest.raises(EncodingError) as caught:
        await Client(db).start("numbers", {"n": value})
    assert caught.value.path == path
    assert await db.flow_slugs() == []


async def test_an_unknown_slug_is_named_with_the_closest(db: Database) -> None:
    await Client(db).start(make_flow(), {"n": 1})
    with pytest.raises(FlowNotFound, match="did you mean 'numbers'"):
        await Client(db).start("number", {})
    with pytest.raises(FlowNotFound, match="did you mean 'numbers'"):
        await Client(db).list("number")


async def test_a_synchronous_connection_is_refused_by_name(db: Database) -> None:
    with (
        db.connect_sync() as connection,
        pytest.raises(UsageError, match="AsyncConnection") as caught,
    ):
        await Client(db).start(make_flow(), {"n": 1}, connection=connection)  # type: ignore[call-overload]
    assert "start_in" in str(caught.value)


# Finding


@pytest.mark.parametrize("method", ["get", "cancel", "retry", "failed_tasks"])
async def test_a_run_that_does_not_exist_is_named(db: Database, method: str) -> None:
    missing = uuid4()
    with pytest.raises(RunNotFound, match=str(missing)):
        await getattr(Client(db), method)(missing)


@pytest.mark.parametrize("method", ["get", "cancel", "retry", "failed_tasks"])
async def test_a_malformed_id_is_a_clear_error(db: Database, method: str) -> None:
    with pytest.raises(UsageError, match="'campaign-1' is not the id of a run"):
        await getattr(Client(db), method)("campaign-1")


async def test_runs_are_listed_by_flow_and_status_newest_first(db: Database) -> None:
    client = Client(db)
    runs = [await client.start(make_flow(), {"n": 0}) for _ in range(3)]
    await runs[0].cancel()
    await FlowBuilder(db).create_flow("other")
    await client.start("other", {})
    assert [run.run_id for run in await client.list("numbers")] == [
        run.id for run in reversed(runs)
    ]
    assert [run.run_id for run in await client.list("numbers", "cancelled")] == [runs[0].id]
    assert [run.run_id for run in await client.list(limit=2, flow="numbers")] == [
        runs[2].id,
        runs[1].id,
    ]
    assert len(await client.list()) == 4
    with pytest.raises(UsageError, match="did you mean 'completed'"):
        await client.list(status="complete")


# Waiting


async def test_wait_returns_within_milliseconds_of_the_end(db: Database) -> None:
    delays = []
    for _ in range(5):
        run = await Client(db).start(make_flow(), {"n": 2})
        waiting = asyncio.create_task(run.wait(10))
        await asyncio.sleep(0.05)
        await work(
            db,
            "numbers",
            {key: FUNCTIONS[key] for key in ("source", "scaled")} | {"total": FUNCTIONS["total"]},
        )
        ended = time.perf_counter()
        summary = await waiting
        delays.append(time.perf_counter() - ended)
        assert summary.status == "completed"
    assert sorted(delays)[2] < 0.05


async def test_wait_works_by_polling_alone(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse() -> psycopg.AsyncConnection[Any]:
        raise ConnectionFailed("no notifications here")

    monkeypatch.setattr(db, "connect_listener", refuse)
    run = await Client(db).start(make_flow(), {"n": 2})
    waiting = asyncio.create_task(run.wait(10))
    await asyncio.sleep(0.05)
    await work(db, "numbers", FUNCTIONS)
    ended = time.perf_counter()
    await waiting
    assert time.perf_counter() - ended < 1


async def test_wait_times_out_and_the_run_goes_on(db: Database) -> None:
    run = await Client(db).start(make_flow(), {"n": 2})
    with pytest.raises(WaitTimeout, match=r"has not ended within 0\.05 s"):
        await run.wait(0.05)
    with pytest.raises(TimeoutError):
        await run.wait(0.01)
    assert await run.status() == "started"


async def test_a_failed_run_raises_where_and_why(db: Database) -> None:
    run = await Client(db).start(make_flow(), {"n": 3})

    def scaled(number: int) -> int:
        if number == 2:
            raise Boom("ValueError: bad number")
        return number

    await work(db, "numbers", FUNCTIONS | {"scaled": scaled})
    with pytest.raises(RunFailed, match="bad number") as caught:
        await run.wait(5)
    error = caught.value
    assert (error.run_id, error.flow, error.step, error.task_index, error.attempt, error.error) == (
        run.id, "numbers", "scaled", 2, 1, "ValueError: bad number",
    )  # fmt: skip
    with pytest.raises(RunFailed):
        await run.result()


async def test_a_condition_that_fails_the_run_is_told_without_a_task(db: Database) -> None:
    builder = FlowBuilder(db)
    await builder.create_flow("guarded")
    await builder.add_step("guarded", "only_admins", if_={"role": "admin"}, when_unmet="fail")
    run = await Client(db).start("guarded", {"role": "user"})
    with pytest.raises(RunFailed, match="Condition not met") as caught:
        await run.wait(5)
    assert (caught.value.step, caught.value.task_index) == ("only_admins", None)


async def test_a_cancelled_run_raises_with_the_reason(db: Database) -> None:
    run = await Client(db).start(make_flow(), {"n": 3})
    waiting = asyncio.create_task(run.wait(5))
    await asyncio.sleep(0.05)
    await run.cancel("changed my mind")
    with pytest.raises(RunCancelled, match="changed my mind"):
        await waiting
    assert await claim(db, "numbers") == []


async def test_waiting_outlives_a_lost_connection(db: Database, database_url: str) -> None:
    run = await Client(db).start(make_flow(), {"n": 2})
    waiting = asyncio.create_task(run.wait(10))
    await asyncio.sleep(0.1)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("""select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and pid <> pg_backend_pid()""")
    async with Database.connect(database_url) as other:
        await work(other, "numbers", FUNCTIONS)
    assert (await waiting).status == "completed"


# Results


async def test_results_are_decoded_by_the_steps(db: Database) -> None:
    flow = make_flow()
    run = await Client(db).start(flow, {"n": 4})
    await work(db, "numbers", FUNCTIONS)
    result = await run.result(5)
    assert result[flow["total"]] == result["total"] == 60
    assert result.output == await run.output() == {"total": 60}
    assert (result.run_id, list(result), len(result)) == (run.id, ["total"], 1)
    assert "total" in result
    assert flow["scaled"] not in result
    with pytest.raises(UsageError, match="scaled is not a leaf"):
        result["scaled"]
    with pytest.raises(UsageError, match="did you mean 'total'"):
        result["totl"]


async def test_falsy_outputs_survive(db: Database) -> None:
    await FlowBuilder(db).create_flow("one")
    await FlowBuilder(db).add_step("one", "only")
    outputs: list[object] = [0, "", False, None, [], {}]
    for output in outputs:
        run = await Client(db).start("one", {})
        (task,) = await claim(db, "one")
        await report(db, task, output)
        result = await run.result(5)
        assert "only" in result
        assert result["only"] == output
        assert type(result["only"]) is type(output)


async def test_a_skipped_leaf_says_so(db: Database) -> None:
    builder = FlowBuilder(db)
    await builder.create_flow("guarded")
    await builder.add_step("guarded", "always")
    await builder.add_step("guarded", "only_admins", if_={"role": "admin"})
    run = await Client(db).start("guarded", {"role": "user"})
    await work(db, "guarded", {"always": lambda _: 1})
    result = await run.result(5)
    assert list(result) == ["always"]
    with pytest.raises(UsageError, match="only_admins was skipped"):
        result["only_admins"]


async def test_a_large_map_as_a_leaf_is_read_from_its_tasks(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow._run.PAGE", 3)
    async with db.transaction() as connection:
        await connection.execute("""create or replace function pgflow._max_aggregate_bytes() returns bigint
          language sql immutable as 'select 10::bigint'""")
    flow = Flow[list[int]]("squares")

    @flow.map()
    def square(number: int) -> int:
        return number * number

    run = await Client(db).start(flow, list(range(10)))
    await work(db, "squares", {"square": lambda number: number * number})
    (leaf,) = await db.step_results(run.id)
    assert leaf.is_deferred
    result = await run.result(5)
    assert result[square] == [number * number for number in range(10)]
    assert result.output == {"square": [number * number for number in range(10)]}


# Looking and steering


async def test_progress_counts_tasks_and_steps(db: Database) -> None:
    run = await Client(db).start(make_flow(), {"n": 4})
    assert (await run.progress()).percent == 0
    (source,) = await claim(db, "numbers")
    await report(db, source, [0, 1, 2, 3])
    for task in (await claim(db, "numbers"))[:2]:
        await report(db, task, 1)
    progress = await run.progress()
    assert 0 < progress.percent < 100
    assert list(progress.steps) == ["source", "scaled", "total"]
    scaled = progress.steps["scaled"]
    assert (scaled.completed_tasks, scaled.started_tasks, scaled.total_tasks) == (2, 2, 4)


async def collect(run: Any) -> list[RunEvent]:
    return [event async for event in run.events()]


EXPECTED = [
    ("run:started", None),
    ("step:started", "source"),
    ("step:completed", "source"),
    ("step:started", "scaled"),
    ("step:completed", "scaled"),
    ("step:started", "total"),
    ("step:completed", "total"),
    ("run:completed", None),
]


async def test_events_are_told_live_in_order_once(db: Database) -> None:
    run = await Client(db).start(make_flow(), {"n": 2})
    collecting = asyncio.create_task(collect(run))
    await asyncio.sleep(0.1)
    await work(db, "numbers", FUNCTIONS)
    events = await asyncio.wait_for(collecting, 5)
    assert [(event.event_type, event.step_slug) for event in events] == EXPECTED
    assert events[-1].payload["output"] == {"total": 10}, (
        "the live event, not the one told from the tables"
    )


async def test_events_of_a_run_that_is_over_are_told_from_the_tables(db: Database) -> None:
    run = await Client(db).start(make_flow(), {"n": 2})
    await work(db, "numbers", FUNCTIONS)
    events = await asyncio.wait_for(collect(run), 5)
    assert [(event.event_type, event.step_slug) for event in events] == EXPECTED


async def test_events_of_a_cancelled_run_end(db: Database) -> None:
    run = await Client(db).start(make_flow(), {"n": 2})
    collecting = asyncio.create_task(collect(run))
    await asyncio.sleep(0.1)
    await run.cancel("enough")
    events = await asyncio.wait_for(collecting, 5)
    assert events[-1].event_type == "run:cancelled"


async def test_retry_resumes_without_repeating_what_is_done(db: Database) -> None:
    run = await Client(db).start(make_flow(attempts=1), {"n": 3})
    seen: list[str] = []

    def source(given: dict[str, int]) -> list[int]:
        seen.append("source")
        return [1, 2, 3]

    def broken(_: object) -> int:
        raise Boom("broken")

    await work(db, "numbers", FUNCTIONS | {"source": source, "total": broken})
    (failed,) = await Client(db).failed_tasks(run.id)
    assert (failed.step_slug, failed.error_message) == ("total", "broken")
    assert failed.input is not None
    assert failed.input.parse() == {"scaled": [10, 20, 30]}
    await run.retry()
    await work(db, "numbers", FUNCTIONS | {"source": source})
    assert (await run.wait(5)).status == "completed"
    assert seen == ["source"]


async def test_a_live_run_is_not_retried(db: Database) -> None:
    run = await Client(db).start(make_flow(), {"n": 3})
    with pytest.raises(UsageError, match="nothing to retry"):
        await run.retry()


async def test_cancelling_twice_changes_nothing(db: Database) -> None:
    run = await Client(db).start(make_flow(), {"n": 3})
    first = await run.cancel("first")
    second = await run.cancel("second")
    assert first == second
    assert second.cancel_reason == "first"


async def test_a_long_error_reaches_who_waits_at_once(db: Database) -> None:
    run = await Client(db).start(make_flow(), {"n": 3})
    waiting = asyncio.create_task(run.wait(10))
    await asyncio.sleep(0.1)
    (task,) = await claim(db, "numbers")
    await fail(db, task, "x" * 9_000)
    began = time.perf_counter()
    with pytest.raises(RunFailed):
        await waiting
    assert time.perf_counter() - began < 1


# Many at once


async def test_many_runs_start_in_the_order_of_their_inputs(db: Database) -> None:
    runs = await Client(db).start_many(make_flow(), [{"n": n} for n in range(5)])
    assert len({run.id for run in runs}) == 5
    await work(db, "numbers", FUNCTIONS)
    assert [(await run.result())["total"] for run in runs] == [0, 0, 10, 30, 60]


async def test_many_runs_take_keys_into_account(db: Database) -> None:
    client = Client(db)
    first = await client.start(make_flow(), {"n": 1}, key="a")
    runs = await client.start_many(make_flow(), [{"n": 2}] * 4, keys=["a", None, "b", "b"])
    assert runs[0].id == first.id
    assert runs[2].id == runs[3].id
    assert len({run.id for run in runs}) == 3
    assert await count_runs(db) == 3


async def test_many_runs_start_all_or_none(db: Database) -> None:
    client = Client(db)
    with pytest.raises(EncodingError):
        await client.start_many(make_flow(), [{"n": 1}, {"n": "x" + chr(0)}])  # type: ignore[misc]
    with pytest.raises(UsageError, match="1 keys were given for 2 inputs"):
        await client.start_many(make_flow(), [{"n": 1}, {"n": 2}], keys=["a"])
    with pytest.raises(UsageError, match="blank"):
        await client.start_many(make_flow(), [{"n": 1}, {"n": 2}], keys=["a", " "])
    with pytest.raises(FlowNotFound):
        await client.start_many("nothing_of_that_name", [1, 2])
    assert await client.start_many(make_flow(), []) == []
    assert await count_runs(db) == 0


async def test_many_runs_start_after_their_flow_was_deleted(db: Database) -> None:
    client = Client(db)
    await client.start_many(make_flow(), [{"n": 1}])
    await db.delete_flow_and_data("numbers")
    (run,) = await client.start_many(make_flow(), [{"n": 2}])
    assert await run.status() == "started"

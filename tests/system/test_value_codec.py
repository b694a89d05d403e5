"""Values at rest: with a codec nothing of them is found in the database, and everything works as without."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator  # noqa: TC003 - annotations of handlers
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from pgflow import (
    Client,
    Database,
    DefinitionError,
    Flow,
    FlowBuilder,
    Worker,
    at_most,
    current_task,
    execute_dynamic,
)
from pgflow.client import start_in
from pgflow.crypto import AesGcmCodec
from pgflow.errors import RunFailed, UsageError
from pgflow.execute import execute_async
from tests.support.command import Here
from tests.support.features import PATIENCE
from tests.support.secret_flows import SECRET, echo

if TYPE_CHECKING:
    from pathlib import Path

    from pgflow._result import Result

KEY = os.urandom(32)
CODEC = AesGcmCodec({"k1": KEY})


@pytest.fixture
async def sealed(database_url: str) -> AsyncIterator[Database]:
    """Give a Database that seals."""
    async with Database.connect(database_url, value_codec=CODEC) as database:
        yield database


async def result_of(db: Database, flow: Flow[Any], given: object) -> Result:
    run = await Client(db).start(flow, given)
    async with asyncio.timeout(PATIENCE):
        await Worker(db, flow).run_until(run.id)
        return await run.result()


def found_in_tables(dsn: str, text: str) -> list[str]:
    """Return the tables of every schema a row of which, written out, holds the text."""
    with psycopg.connect(dsn) as connection:
        tables = connection.execute(
            "select table_schema, table_name from information_schema.tables"
            " where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')"
        ).fetchall()
        assert ("pgflow", "step_tasks") in tables
        return [
            f"{schema}.{name}"
            for schema, name in tables
            if connection.execute(
                sql.SQL(
                    "select exists (select 1 from {} as t where strpos(t::text, %s) > 0)"
                ).format(sql.Identifier(schema, name)),
                [text],
            ).fetchone()
            == (True,)
        ]


def everything() -> tuple[Flow[Any], list[str]]:  # noqa: C901 - a handler for each way
    """Return a flow that passes values on in every way there is."""
    flow: Flow[Any] = Flow("everything", base_delay=0)
    seen: list[str] = []

    @flow.step()
    async def orders(run_input: dict[str, Any]) -> list[dict[str, str]]:
        return [{"secret": f"{run_input['secret']}-{number}"} for number in range(5)]

    @flow.map(over=orders)
    def one_by_one(item: dict[str, str]) -> list[str]:
        assert current_task().run_input == {"secret": SECRET}
        return [item["secret"]]

    @flow.map(over=orders, batch_size=2)
    async def batched(item: dict[str, str]) -> str:
        return item["secret"]

    @flow.map(over=orders, batch_size=3)
    def whole_batches(items: list[dict[str, str]]) -> list[str]:
        return [item["secret"] for item in items]

    @flow.map(over=one_by_one)
    def again(item: list[str]) -> str:
        return item[0]

    @flow.map(over=orders, batch_size=5, failure_policy=at_most(5), max_attempts=1)
    def failing(item: dict[str, str]) -> str:
        if item["secret"].endswith("3"):
            raise ValueError("three")
        return item["secret"]

    @flow.map(initial_tasks=2)
    def fixed(run_input: dict[str, Any]) -> str:
        return f"{run_input['secret']}"

    @flow.step(depends_on=(again, batched))
    def streamed(again: Iterator[str], batched: list[str]) -> list[list[str]]:
        return [list(again), batched]

    @flow.step(depends_on=(whole_batches, failing, fixed, streamed))
    def collect(
        whole: list[str], failing: list[Any], fixed: list[str], streamed: list[list[str]]
    ) -> dict[str, Any]:
        seen.append(str(whole))
        return {"whole": whole, "failing": failing, "fixed": fixed, "streamed": streamed}

    flow.step(depends_on=(orders,), isolation="process", name="apart")(echo)
    flow.map(over=orders, isolation="process", name="each_apart")(echo)
    flow.step(name="nothing")(lambda _: None)
    flow.step(name="empty", depends_on=(orders,))(lambda _: [])
    return flow, seen


def expected() -> dict[str, Any]:
    items = [f"{SECRET}-{number}" for number in range(5)]
    orders = [{"secret": item} for item in items]
    return {
        "collect": {
            "whole": items,
            "failing": [*items[:3], None, items[4]],
            "fixed": [SECRET, SECRET],
            "streamed": [items, items],
        },
        "apart": orders,
        "each_apart": orders,
        "nothing": None,
        "empty": [],
    }


async def test_a_flow_of_all_kinds_works_and_leaves_no_trace(
    sealed: Database, database_url: str
) -> None:
    flow, seen = everything()
    result = await result_of(sealed, flow, {"secret": SECRET})
    assert result.output == expected()
    assert seen
    assert await (await Client(sealed).get(result.run_id)).output() == expected()
    assert found_in_tables(database_url, SECRET) == []
    # The search would find it: the same run without a codec.
    async with Database.connect(database_url) as plain:
        flow, _ = everything()
        assert (await result_of(plain, flow, {"secret": SECRET})).output == expected()
    assert "pgflow.runs" in found_in_tables(database_url, SECRET)
    assert "pgflow.step_tasks" in found_in_tables(database_url, SECRET)


async def test_a_root_map_goes_over_a_sealed_input(sealed: Database, database_url: str) -> None:
    flow: Flow[Any] = Flow("root")

    @flow.map()
    def shout(word: str) -> str:
        return word.upper()

    result = await result_of(sealed, flow, [SECRET, "b", "c"])
    assert result[shout] == [SECRET, "B", "C"]
    assert found_in_tables(database_url, SECRET) == []


async def test_large_outputs_are_read_in_pages(
    sealed: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow._streams.FIRST_PAGE", 2)
    monkeypatch.setattr("pgflow._streams.MAX_PAGE", 2)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "create or replace function pgflow._max_aggregate_bytes() returns bigint language sql immutable"
            " set search_path = '' as 'select 100::bigint'"
        )
    flow: Flow[Any] = Flow("large")

    @flow.map()
    def grow(word: str) -> str:
        return word * 20

    @flow.step(depends_on=(grow,))
    def count(words: Iterator[str]) -> int:
        return sum(len(word) for word in words)

    @flow.step(depends_on=(grow,))
    async def count_async(words: AsyncIterator[str]) -> int:
        return sum([len(word) async for word in words])

    @flow.step(depends_on=(grow,))
    def count_list(words: list[str]) -> int:
        return sum(map(len, words))

    @flow.map(over=grow)
    def same(word: str) -> str:
        return word

    given = [f"{number}-{SECRET}" for number in range(7)]
    result = await result_of(sealed, flow, given)
    size = sum(len(word) * 20 for word in given)
    assert [result[step] for step in (count, count_async, count_list)] == [size] * 3
    assert result[same] == [word * 20 for word in given]


async def test_writes_in_a_transaction(sealed: Database, database_url: str) -> None:
    flow: Flow[Any] = Flow("exactly")

    @flow.step()
    async def write(given: dict[str, str]) -> dict[str, str]:
        async with current_task().transaction() as connection:
            await connection.execute("create table public.written (n int)")
        return given

    @flow.step(depends_on=(write,))
    def write_sync(given: dict[str, str]) -> str:
        with current_task().transaction() as connection:
            connection.execute("insert into public.written values (1)")
        return given["secret"]

    result = await result_of(sealed, flow, {"secret": SECRET})
    assert result[write_sync] == SECRET
    assert found_in_tables(database_url, SECRET) == []


async def test_dynamic_flows_and_execute(sealed: Database, database_url: str) -> None:
    builder = FlowBuilder(sealed)
    await builder.create_flow("dynamic")
    await builder.add_step("dynamic", "fetch")
    await builder.add_step("dynamic", "each", ["fetch"], step_type="map")
    handlers: dict[str, Any] = {
        "fetch": lambda given: [given["secret"], "b"],
        "each": lambda given: [given["index"], given["item"]],
    }
    result = await execute_dynamic(
        "dynamic", {"secret": SECRET}, handlers, sealed, timeout=PATIENCE
    )
    assert result.output == {"each": [[0, SECRET], [1, "b"]]}
    assert found_in_tables(database_url, SECRET) == []
    flow: Flow[Any] = Flow("executed")
    flow.step(name="echo")(lambda given: given)
    result = await execute_async(
        flow, SECRET, dsn=database_url, value_codec=CODEC, timeout=PATIENCE
    )
    assert result["echo"] == SECRET
    assert found_in_tables(database_url, SECRET) == []
    with pytest.raises(UsageError, match="has its own value codec"):
        await execute_async(flow, SECRET, dsn=sealed, value_codec=CODEC)
    with pytest.raises(UsageError, match="has its own value codec"):
        Worker(sealed, flow, value_codec=CODEC)


async def test_starts_in_other_transactions_are_sealed_too(
    sealed: Database, database_url: str
) -> None:
    flow: Flow[Any] = Flow("echo")
    flow.step(name="echo")(lambda given: given)
    with psycopg.connect(database_url) as connection:
        run_id = start_in(connection, flow, {"secret": SECRET}, value_codec=CODEC)
    runs = await Client(sealed).start_many(
        flow, [{"secret": f"{SECRET}{number}"} for number in range(2)]
    )
    assert found_in_tables(database_url, SECRET) == []
    async with asyncio.timeout(PATIENCE):
        for run in [*runs, await Client(sealed).get(run_id)]:
            await Worker(sealed, flow).run_until(run.id)
            assert SECRET in str((await run.result()).output)


async def test_what_was_started_plain_is_read_and_its_results_are_sealed(
    sealed: Database, database_url: str
) -> None:
    flow: Flow[Any] = Flow("echo")
    flow.step(name="first")(lambda given: given)
    flow.step(name="echo", depends_on=["first"])(echo)
    async with Database.connect(database_url) as plain:
        run = await Client(plain).start(flow, {"n": 1.5})
    async with asyncio.timeout(PATIENCE):
        await Worker(sealed, flow).run_until(run.id)
        result = await (await Client(sealed).get(run.id)).result()
    assert result.output == {"echo": {"n": 1.5}}
    stored = await sealed.run(run.id)
    assert stored is not None
    assert stored.output is not None
    assert list(stored.output.parse()["echo"]) == ["pgflow:sealed"]


@pytest.mark.parametrize(
    ("codec", "reason"),
    [
        (None, "sealed with key 'k1', and no value codec is configured"),
        (AesGcmCodec({"k2": KEY}), "sealed with key 'k1', which this process does not have"),
        (
            AesGcmCodec({"k1": os.urandom(32)}),
            "the key 'k1' of this process does not open the value",
        ),
    ],
)
@pytest.mark.parametrize("batch_size", [None, 2])
async def test_without_the_key_the_task_fails_and_the_worker_lives(
    sealed: Database,
    database_url: str,
    codec: AesGcmCodec | None,
    reason: str,
    batch_size: int | None,
) -> None:
    flow: Flow[Any] = Flow("locked", max_attempts=2, base_delay=0)
    calls: list[object] = []
    batches: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}
    flow.map(name="look", **batches)(calls.append)
    run = await Client(sealed).start(flow, [1, 2])
    other: Flow[Any] = Flow("open")
    other.step(name="echo")(lambda given: given)
    async with (
        Database.connect(database_url, value_codec=codec) as wrong,
        asyncio.timeout(PATIENCE),
    ):
        worker = Worker(wrong, [flow, other])
        working = asyncio.create_task(worker.run())
        with pytest.raises(RunFailed) as caught:
            await run.wait()
        assert reason in str(caught.value.error)
        assert "PGF113" in str(caught.value.error)
        after = await Client(wrong).start(other, 5)
        assert (await after.result())["echo"] == 5
        worker.stop()
        await working
    assert calls == []
    attempts = [one for one in await sealed.attempts(run.id) if one.outcome == "failed"]
    assert max(one.attempt for one in attempts) <= 2


async def test_conditions_are_refused(sealed: Database, database_url: str) -> None:
    flow: Flow[Any] = Flow("conditional")
    flow.step(name="pay", if_={"plan": "pro"})(lambda given: given)
    for call in (Client(sealed).start(flow, {}), Worker(sealed, flow).run()):
        with pytest.raises(DefinitionError, match=r"if_ and if_not look into values.*'pay'"):
            await call
    async with Database.connect(database_url) as plain:
        await Client(plain).start(flow, {"plan": "pro"})
    with pytest.raises(DefinitionError, match="'pay'"):
        await Client(sealed).start("conditional", {})
    with psycopg.connect(database_url) as connection:
        for given in (flow, "conditional"):
            with pytest.raises(DefinitionError, match="'pay'"):
                start_in(connection, given, {}, value_codec=CODEC)
    builder = FlowBuilder(sealed)
    await builder.create_flow("built")
    with pytest.raises(DefinitionError, match="'pay'"):
        await builder.add_step("built", "pay", if_={"a": 1})
    with pytest.raises(DefinitionError, match="'pay'"):
        await builder.define_flow(
            "built", {"steps": [{"slug": "pay", "required_input_pattern": {}}]}
        )


SECRETS = (
    "from pgflow.crypto import AesGcmCodec\ncodec = AesGcmCodec({'k1': bytes.fromhex('%s')})\n"
)
FLOWS = """
from pgflow import Flow
echo = Flow("echo")
echo.step(name="first")(lambda given: [given])
echo.map(name="each", over="first")(lambda item: item)
"""


def test_the_commands_seal_and_open(
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = Here(database_url, capsys)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "echo_flows.py").write_text(FLOWS)
    (tmp_path / "my_secrets.py").write_text(SECRETS % KEY.hex())
    monkeypatch.setenv("PGFLOW_VALUE_CODEC", "my_secrets:codec")
    done = here("run", "echo_flows.py:echo", "--input", f'{{"secret": "{SECRET}"}}', "--json")
    assert done.code == 0, done
    assert done.json["output"] == {"each": [{"secret": SECRET}]}
    assert found_in_tables(database_url, SECRET) == []
    run_id = done.json["run_id"]
    assert here("show", run_id, "--json").json["input"] == {"secret": SECRET}
    tasks = here("show", run_id, "--step", "each", "--json").json["tasks"]
    assert [(task["input"], task["output"]) for task in tasks] == [
        ({"secret": SECRET}, {"secret": SECRET})
    ]
    monkeypatch.delenv("PGFLOW_VALUE_CODEC")
    without = here("show", run_id, "--json")
    assert without.code == 0
    assert SECRET not in without.out
    assert "sealed with key 'k1'" in without.json["input"]
    monkeypatch.setenv("PGFLOW_VALUE_CODEC", "my_secrets:nothing")
    wrong = here("runs")
    assert (wrong.code, "no value codec at 'my_secrets:nothing'" in wrong.err) == (2, True)

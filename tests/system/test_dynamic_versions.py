"""Workers that map steps to functions serve live runs of every version of a flow that the database defines."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from pgflow import Client, FlowBuilder, Worker
from pgflow._repertoire import prepare, refresh
from pgflow.crypto import AesGcmCodec
from pgflow.database import Database
from pgflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from pgflow._repertoire import Repertoire

PATIENCE = 60
OLD = ({"slug": "a"}, {"slug": "b", "depends_on": ["a"]})
NEW = ({"slug": "a"}, {"slug": "c", "depends_on": ["a"]})
FUNCTIONS: Mapping[str, Any] = {
    "a": lambda value: value,
    "b": lambda deps: ["b", deps["a"]],
    "c": lambda deps: ["c", deps["a"]],
}


async def define(db: Database, *steps: Mapping[str, Any]) -> None:
    await FlowBuilder(db).define_flow("f", {"steps": list(steps)})


@asynccontextmanager
async def working(db: Database, functions: Mapping[str, Any]) -> AsyncIterator[None]:
    worker = Worker(db, {"f": functions})
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        await task


async def prepared(db: Database, *without: str) -> Repertoire:
    functions = {name: function for name, function in FUNCTIONS.items() if name not in without}
    return await prepare(db, {"f": functions}, None)


async def test_a_new_worker_brings_runs_of_both_versions_to_their_end(db: Database) -> None:
    await define(db, *OLD)
    old = await Client(db).start("f", 1)
    await define(db, *NEW)
    new = await Client(db).start("f", 2)
    async with working(db, FUNCTIONS):
        assert (await old.result(timeout=PATIENCE))["b"] == ["b", 1]
        assert (await new.result(timeout=PATIENCE))["c"] == ["c", 2]


async def test_a_running_worker_keeps_the_keys_of_live_runs_only(db: Database) -> None:
    await define(db, *OLD)
    run = await Client(db).start("f")
    repertoire = await prepared(db, "c")
    await define(db, *NEW)
    flows = {"f": dict(FUNCTIONS)}
    assert await refresh(db, repertoire, flows) == []
    assert repertoire.keys == ["f.a(single:)", "f.b(single:a)", "f.c(single:a)"]
    await run.cancel()
    await refresh(db, repertoire, flows)
    assert repertoire.keys == ["f.a(single:)", "f.c(single:a)"]


async def test_functions_of_past_versions_are_no_mistake_others_are(db: Database) -> None:
    await define(db, *OLD)
    await define(db, *NEW)
    repertoire = await prepared(db)
    assert repertoire.keys == ["f.a(single:)", "f.c(single:a)"]
    with pytest.raises(UsageError, match="flow f has no step: d"):
        await prepare(db, {"f": {**FUNCTIONS, "d": print}}, None)
    with pytest.raises(UsageError, match="flow f has no function for: c"):
        await prepared(db, "c")


async def test_a_task_is_decoded_by_the_shape_that_its_run_began_with(db: Database) -> None:
    """One step in four shapes: a root, a map of a fixed number, a map over the run's input, a step behind another."""
    shapes: tuple[dict[str, Any], ...] = (
        {},
        {"step_type": "map", "initial_tasks": 2},
        {"step_type": "map"},
        {"depends_on": ["a"]},
    )
    runs = []
    for shape in shapes:
        await define(db, {"slug": "a"}, {"slug": "b", **shape})
        runs.append(await Client(db).start("f", [7]))
    functions = {"a": lambda _: "a", "b": lambda given: given}
    async with working(db, functions):
        found = [(await run.result(timeout=PATIENCE))["b"] for run in runs]
    items = [{"item": [7], "index": 0}, {"item": [7], "index": 1}]
    assert found == [[7], items, [{"item": 7, "index": 0}], {"a": "a"}]


async def test_sealed_items_are_opened_as_of_the_array_that_they_come_from(
    database_url: str,
) -> None:
    codec = AesGcmCodec({"k": os.urandom(32)})
    functions = {
        "a": lambda _: [1],
        "x": lambda _: [2],
        "b": lambda given: given["item"],
    }
    async with Database.connect(database_url, value_codec=codec) as db:
        runs = []
        for array in ("a", "x"):
            mapped = {"slug": "b", "step_type": "map", "depends_on": [array]}
            await define(db, {"slug": "a"}, {"slug": "x"}, mapped)
            runs.append(await Client(db).start("f"))
        async with working(db, functions):
            assert [(await run.result(timeout=PATIENCE))["b"] for run in runs] == [[1], [2]]


async def test_a_step_that_moves_takes_its_worker_along_to_the_new_queue(db: Database) -> None:
    await define(db, *OLD)
    flows = {"f": {"a": FUNCTIONS["a"], "b": FUNCTIONS["b"]}}
    chosen, free = await prepare(db, flows, ["f"]), await prepare(db, flows, None)
    await define(db, {"slug": "a", "queue": "gpu"}, OLD[1])
    assert await refresh(db, free, flows) == ["gpu"]
    assert free.queues == ["f", "gpu"]
    assert await refresh(db, chosen, flows) == []
    assert chosen.queues == ["f"]


async def test_what_is_redacted_stays_so_after_a_change(db: Database) -> None:
    await define(db, *OLD)
    repertoire = await prepared(db, "c")
    options = {"redact": ["*.token"]}
    await FlowBuilder(db).define_flow("f", {"options": options, "steps": list(NEW)})
    await refresh(db, repertoire, {"f": FUNCTIONS})
    await Client(db).start("f", {"token": "x"})
    worker_id = uuid4()
    await db.register_worker(worker_id, ["f"], "test")
    (task,) = await db.claim_tasks("f", worker_id, 1, 30, repertoire.keys)
    handler = repertoire.handler_of(task)
    assert handler is not None
    assert handler.redaction is not None

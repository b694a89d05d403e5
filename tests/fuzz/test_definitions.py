"""Definitions: junk is refused with a clear error and leaves nothing; what is stored can be run to its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import psycopg
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from pgflow import Database, DefinitionError, Flow, FlowBuilder, Limits, UsageError
from tests.fuzz.strategies import (
    DEFINITIONS,
    NEAR_SLUGS,
    SCALARS,
    SLUGS,
    STORABLE_TEXT,
    fuzz,
    json_of,
)
from tests.support.sql import Connection, rows, value

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLES = "select count(*) from pg_class where relnamespace in ('pgmq'::regnamespace, 'pgflow'::regnamespace)"
WAVES = 30
WORKER: Final = UUID(int=7)


def counts(connection: Connection) -> list[Any]:
    names = ("flows", "steps", "deps", "flow_versions")
    return [value(connection, f"select count(*) from pgflow.{name}") for name in names] + [
        value(connection, TABLES)
    ]


def run_to_the_end(connection: Connection, flow: str) -> str:
    """Start a run, complete whatever is granted, and return how it ended."""
    connection.execute("select pgflow.register_worker(%s, array[]::text[], 'fuzz')", [WORKER])
    run_id = value(connection, "select run_id from pgflow.start_flow(%s, '[1]')", flow)
    for _ in range(WAVES):
        status: str = value(connection, "select status from pgflow.runs where run_id = %s", run_id)
        if status != "started":
            return status
        queues = value(connection, "select array(select pgflow.flow_queue_names(%s))", flow)
        for queue in queues:
            connection.execute(f"update pgmq.q_{queue} set vt = clock_timestamp()".encode())
            granted = rows(
                connection,
                "select run_id, step_slug, task_index, attempt, items, exhausted from pgflow.claim_tasks(%s, %s, 100)",
                queue,
                value(
                    connection,
                    "select pgflow.register_worker(gen_random_uuid(), array[%s], 'f')",
                    queue,
                )
                or value(connection, "select worker_id from pgflow.workers limit 1"),
            )
            for task in granted:
                output = [1] if task["items"] is None else [1] * task["items"]
                connection.execute(
                    "select pgflow.complete_tasks(array[%s]::uuid[], array[%s], array[%s]::int[], array[%s]::int[], array[%s]::jsonb[])",
                    [
                        task["run_id"],
                        task["step_slug"],
                        task["task_index"],
                        task["attempt"],
                        Jsonb(output),
                    ],
                )
    raise AssertionError(
        f"the run has not ended: {rows(connection, 'select * from pgflow.step_states')}"
    )


@fuzz(120)
@given(definition=DEFINITIONS)
def test_sql_stores_or_refuses_it(connection: Connection, definition: Any) -> None:
    with connection.transaction(force_rollback=True):
        before = counts(connection)
        try:
            with connection.transaction():
                connection.execute("select pgflow.define_flow('f', %s)", [Jsonb(definition)])
        except psycopg.Error as error:
            refusal = error.sqlstate
        else:
            refusal = None
        event("stored" if refusal is None else "refused")
        if refusal is not None:
            assert refusal in {"22023", "54000", "23514"}
            assert counts(connection) == before
            return
        assert run_to_the_end(connection, "f") in {"completed", "failed"}
        # And again as an old version, which is read from the stored text.
        connection.execute('select pgflow.define_flow(\'f\', \'{"steps": [{"slug": "other"}]}\')')
        with connection.transaction():
            connection.execute("select pgflow.start_flow('f', '[1]', version => 1)")


@pytest.fixture
def session(database_url: str) -> Iterator[tuple[asyncio.Runner, Database]]:
    """Give one event loop, and a Database in it, for all examples of a test."""
    with asyncio.Runner() as runner:
        database = runner.run(Database.connect(database_url).open())
        yield runner, database
        runner.run(database.close())


@fuzz(50)
@given(definition=DEFINITIONS | json_of(STORABLE_TEXT, SCALARS), slug=SLUGS | NEAR_SLUGS)
def test_the_builder_stores_or_refuses_it(
    session: tuple[asyncio.Runner, Database], definition: Any, slug: str
) -> None:
    runner, database = session

    async def attempt() -> bool:
        builder = FlowBuilder(database, limits=Limits(max_steps=3, max_items=100))
        known = {flow.flow_slug for flow in await builder.list_flows()}
        try:
            await builder.define_flow(slug, definition)
        except DefinitionError:
            return {flow.flow_slug for flow in await builder.list_flows()} == known
        return slug in {flow.flow_slug for flow in await builder.list_flows()}

    assert runner.run(attempt())


OPTIONS = st.dictionaries(
    st.sampled_from(
        [
            "depends_on",
            "step_type",
            "initial_tasks",
            "max_attempts",
            "timeout",
            "queue",
            "batch_size",
            "x",
        ]
    ),
    json_of(STORABLE_TEXT, SCALARS)
    | st.lists(SLUGS, max_size=2)
    | st.sampled_from(["single", "map", "a"]),
    max_size=3,
)
ENTRIES = st.one_of(
    json_of(STORABLE_TEXT, SCALARS),
    st.tuples(SLUGS | NEAR_SLUGS, st.just(lambda _: [1])),
    st.tuples(SLUGS, st.just(lambda _: [1]), st.fixed_dictionaries({}, optional={
        "depends_on": st.lists(SLUGS, max_size=1), "timeout": st.integers(1, 9), "initial_tasks": st.integers(1, 3),
    })),
    st.tuples(SLUGS | SCALARS, SCALARS | st.just(print), OPTIONS),
)  # fmt: skip


@fuzz(100)
@given(slug=st.just("f") | NEAR_SLUGS | SCALARS, entries=st.lists(ENTRIES, max_size=4))
def test_what_python_accepts_sql_accepts(
    connection: Connection, slug: Any, entries: list[Any]
) -> None:
    try:
        flow = Flow.from_list(slug, entries)
        definition = flow.definition()
    except (DefinitionError, UsageError):
        event("refused")
        return
    event("accepted")
    with connection.transaction(force_rollback=True):
        connection.execute("select pgflow.define_flow(%s, %s)", [flow.slug, Jsonb(definition)])
        assert run_to_the_end(connection, flow.slug) in {"completed", "failed"}

"""Starts beside definitions: a run has one plan, the old one or the new one, and nobody waits for a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.sql import (
    Connection,
    Row,
    add_step,
    call,
    change,
    define,
    jsonb,
    rows,
    run,
    start,
    value,
    worker,
)
from tests.support.tasks import one_step, version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.races.stage import Stage

OLD = [{"slug": "a", "timeout": 1}]
NEW = [{"slug": "a", "timeout": 2}, {"slug": "b", "depends_on": ["a"], "timeout": 2}]


def plan_of(connection: Connection, started: Row) -> tuple[int, int, list[tuple[str, int, int]]]:
    """Return a run's version and number of steps, and of each step its slug, timeout and attempts."""
    query = "select * from pgflow.step_states where run_id = %s order by step_index"
    steps = [
        (one["step_slug"], one["timeout"], one["max_attempts"])
        for one in rows(connection, query, started["run_id"])
    ]
    return started["flow_version"], started["remaining_steps"], steps


PLANS = [(1, 1, [("a", 1, 5)]), (2, 2, [("a", 2, 6), ("b", 2, 6)])]


def define_old(connection: Connection) -> int:
    return version(connection, "f", OLD, max_attempts=5)


def define_new(connection: Connection) -> int:
    return version(connection, "f", NEW, max_attempts=6)


@pytest.fixture(params=[True, False], ids=["stored", "not stored"])
def session(request: pytest.FixtureRequest, stage: Stage) -> Stage:
    """A stage with the old definition, whose plan is stored or not."""
    define_old(stage.setup)
    if request.param:
        start(stage.setup, "f")
    return stage


def test_a_start_before_the_commit_of_a_definition_has_the_old_plan(session: Stage) -> None:
    defining = session.session()
    define_new(defining)
    started = session.act(lambda one: start(one, "f")).result()
    assert plan_of(session.setup, started) == PLANS[0]
    defining.commit()
    assert plan_of(session.setup, start(session.setup, "f")) == PLANS[1]


def test_a_start_in_the_defining_transaction_has_the_new_plan(session: Stage) -> None:
    defining = session.session()
    define_new(defining)
    assert plan_of(defining, start(defining, "f")) == PLANS[1]
    started = session.act(lambda one: start(one, "f")).result()
    assert plan_of(session.setup, started) == PLANS[0]
    defining.rollback()
    assert plan_of(session.setup, start(session.setup, "f")) == PLANS[0]


def test_a_plan_of_a_definition_that_is_rolled_back_is_forgotten(session: Stage) -> None:
    defining = session.session()
    define_new(defining)
    start(defining, "f")
    defining.rollback()
    change(session.setup, "update pgflow.steps set opt_timeout = 3")
    assert plan_of(session.setup, start(session.setup, "f")) == (1, 1, [("a", 3, 5)])


def test_many_starts_beside_many_definitions_never_mix(stage: Stage) -> None:
    define_old(stage.setup)

    def redefine(one: Connection) -> None:
        for _ in range(12):
            define_new(one)
            one.commit()
            define_old(one)
            one.commit()

    def go_on_starting(one: Connection) -> list[Row]:
        found = []
        for _ in range(60):
            found.append(start(one, "f"))
            one.commit()
        return found

    defining = stage.act(redefine)
    starters = [stage.act(go_on_starting) for _ in range(3)]
    defining.result()
    for starter in starters:
        for started in starter.result():
            plan = plan_of(stage.setup, started)
            assert plan in [*PLANS, (1, 1, [("a", 1, 6)]), (2, 2, [("a", 2, 5), ("b", 2, 5)])]
            assert plan in PLANS


def test_a_start_in_a_long_transaction_keeps_no_other_waiting(session: Stage) -> None:
    long = session.session()
    start(long, "f")
    started = session.act(lambda one: start(one, "f")).result()
    assert plan_of(session.setup, started) == PLANS[0]
    long.commit()


def test_first_starts_of_two_flows_in_either_order_do_not_deadlock(stage: Stage) -> None:
    for flow in ("f", "g"):
        define(stage.setup, flow, {"a": []})
    first, second = stage.session(), stage.session()
    start(first, "f")
    start(second, "g")
    stage.act(lambda one: (start(one, "f"), start(one, "g"))).result()
    start(first, "g")
    start(second, "f")
    first.commit()
    second.commit()
    assert value(stage.setup, "select count(*) from pgflow.runs") == 6


def test_a_definition_in_a_long_transaction_keeps_no_start_waiting(session: Stage) -> None:
    long = session.session()
    define_new(long)
    for _ in range(2):
        started = session.act(lambda one: start(one, "f")).result()
        assert plan_of(session.setup, started) == PLANS[0]
    long.commit()


def test_a_definition_does_not_wait_for_a_start(session: Stage) -> None:
    long = session.session()
    start(long, "f")
    assert session.act(define_new).result() == 2
    long.commit()
    assert plan_of(session.setup, start(session.setup, "f")) == PLANS[1]


# A definition that comes between the reads of the flow and of its steps

PAUSE = """
  alter function pgflow._resolved_steps(pgflow.flows, integer) rename to _resolved_steps_at_once;
  create function pgflow._resolved_steps(p_flow pgflow.flows, p_version integer)
  returns pgflow.planned_steps[] language plpgsql set search_path = '' as $$
  declare v_steps pgflow.planned_steps[];
  begin
    perform pg_advisory_xact_lock(77);
    return pgflow._resolved_steps_at_once(p_flow, p_version);
  end $$"""


@pytest.fixture
def paused(database_url: str) -> Iterator[Callable[[], Connection]]:
    """Give sessions in whose database the making of a plan stops between its two reads, by advisory lock 77."""
    opened: list[Connection] = []

    def connect() -> Connection:
        opened.append(psycopg.connect(database_url, autocommit=True))
        return opened[-1]

    connect().execute(PAUSE.encode())
    yield connect
    for connection in opened:
        connection.close()


@pytest.mark.parametrize("redefine", [True, False])
def test_a_definition_between_the_reads_of_a_plan_gives_the_new_one(
    paused: Callable[[], Connection], redefine: bool
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    setup, starter = paused(), paused()
    define_old(setup)
    setup.execute("select pg_advisory_lock(77)")
    with ThreadPoolExecutor(1) as threads:
        starting = threads.submit(start, starter, "f")
        query = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        while not value(setup, query):
            assert not starting.done()
        if redefine:
            define_new(setup)
        setup.execute("select pg_advisory_unlock(77)")
        started = starting.result(20)
    assert plan_of(setup, started) == PLANS[int(redefine)]
    assert run(setup, started["run_id"])["input"] == {}
    again = rows(setup, "select * from pgflow.start_flow('f', %s)", jsonb({}))[0]
    assert plan_of(setup, again) == PLANS[int(redefine)]


# Definitions beside other definitions and deletions


@pytest.mark.parametrize("deletes", [True, False])
def test_a_definition_behind_a_deletion_makes_the_flow_anew(session: Stage, deletes: bool) -> None:
    deleting = session.session()
    rows(deleting, "select pgflow.delete_flow_and_data('f')")
    defining = session.act(define_new)
    assert session.blocked(defining)
    if deletes:
        deleting.commit()
    else:
        deleting.rollback()
    found = defining.result()
    assert found == (1 if deletes else 2)
    assert plan_of(session.setup, start(session.setup, "f")) == (found, *PLANS[1][1:])


def test_a_definition_behind_an_added_step_keeps_that_as_a_version(stage: Stage) -> None:
    define_old(stage.setup)
    adding = stage.session()
    add_step(adding, "f", "extra", ["a"])
    defining = stage.act(define_new)
    assert stage.blocked(defining)
    adding.commit()
    assert defining.result() == 3
    started = start(stage.setup, "f", version=2)
    assert [slug for slug, *_ in plan_of(stage.setup, started)[2]] == ["a", "extra"]


def test_of_two_equal_definitions_at_once_the_second_changes_nothing(stage: Stage) -> None:
    define_old(stage.setup)
    first = stage.session()
    define_new(first)
    second = stage.act(define_new)
    assert stage.blocked(second)
    revision = value(first, "select revision from pgflow.flows")
    first.commit()
    assert second.result() == 2
    assert value(stage.setup, "select revision from pgflow.flows") == revision


def test_a_worker_that_reads_messages_itself_and_a_deletion_do_not_deadlock(stage: Stage) -> None:
    one_step(stage.setup)
    worker_id = worker(stage.setup, "f")
    deleting, starting = stage.together(
        stage.gate("select 1 from pgmq.q_f for update"),
        lambda session: rows(session, "select pgflow.delete_flow_and_data('f')"),
        lambda session: call(
            session, "start_tasks", flow_slug="f", msg_ids=[1], worker_id=worker_id
        ),
    )
    assert deleting.error is None
    assert isinstance(starting.error, psycopg.errors.UndefinedTable)

"""Claims that create slices of a map, beside each other and beside what ends, resumes or removes its run.

A claim that does not wait is told by its result, which comes while the other session still holds its locks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.slices import COUNT, SLICE, created, fan_outs, root_map_of, sliced_database
from tests.support.sql import (
    Connection,
    Row,
    begin,
    call,
    claim,
    complete,
    messages,
    rows,
    run,
    value,
)
from tests.support.tasks import break_down, indexes_of, succeed

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterator

    from tests.races.stage import Actor, Stage
    from tests.support.servers import Databases

HOLD_RUN = "select 1 from pgflow.runs where run_id = %s for update"


@pytest.fixture(scope="module")
def shared_database_url(databases: Databases) -> Iterator[str]:
    """Put the stage of this module into a database with small limits."""
    with sliced_database(databases) as dsn:
        yield dsn


@pytest.fixture(scope="module")
def _spare_sessions() -> Iterator[list[Connection]]:
    sessions: list[Connection] = []
    yield sessions
    for session in sessions:
        session.close()


@pytest.fixture
def run_id(stage: Stage) -> uuid.UUID:
    """A run of a sliced map whose first slice is done but for one task, so that the next claim creates a slice."""
    run_id = root_map_of(stage.setup, COUNT)
    held = claim(stage.setup, "f", SLICE)
    succeed(stage.setup, held[1:])
    return run_id


def finish(stage: Stage, run_id: uuid.UUID) -> None:
    """Work the run off; every item must have been there once."""
    rows(stage.setup, "update pgmq.q_f set vt = now()")
    while granted := claim(stage.setup, "f", 9):
        assert set(succeed(stage.setup, granted)) == {"accepted"}
    assert run(stage.setup, run_id)["status"] == "completed"
    assert (created(stage.setup, run_id), fan_outs(stage.setup)) == (COUNT, [])


# Claims beside claims


def test_two_claims_at_once_create_one_slice_and_neither_waits(
    stage: Stage, run_id: uuid.UUID
) -> None:
    first = stage.session()
    mine = claim(first, "f", 2)
    assert len(mine) == 2
    second = stage.act(lambda session: claim(session, "f", 9))
    assert second.result() == []  # the slice is not committed
    assert created(stage.setup, run_id) == SLICE
    first.commit()
    assert created(stage.setup, run_id) == 2 * SLICE
    theirs = claim(stage.setup, "f", 9)
    assert indexes_of(mine + theirs) == list(range(SLICE, 2 * SLICE))
    succeed(stage.setup, mine + theirs)
    finish(stage, run_id)


def test_a_slice_whose_claim_is_rolled_back_is_created_by_the_next(
    stage: Stage, run_id: uuid.UUID
) -> None:
    first = stage.session()
    claim(first, "f", 2)
    first.rollback()
    assert created(stage.setup, run_id) == SLICE
    assert indexes_of(claim(stage.setup, "f", 9)) == list(range(SLICE, 2 * SLICE))
    finish(stage, run_id)


def test_many_workers_get_every_item_once(stage: Stage) -> None:
    run_id = root_map_of(stage.setup, 150)

    def work(session: Connection) -> list[int]:
        found: list[int] = []
        while run(session, run_id)["status"] == "started":
            granted = claim(session, "f", 3)
            session.commit()
            assert set(succeed(session, granted)) <= {"accepted"}
            session.commit()
            found += [one["task_index"] for one in granted if one["step_slug"] == "items"]
        return found

    actors = [stage.act(work) for _ in range(4)]
    assert sorted(index for actor in actors for index in actor.result()) == list(range(150))
    assert fan_outs(stage.setup) == []


def test_many_workers_that_do_not_claim_get_every_item_once(stage: Stage) -> None:
    run_id = root_map_of(stage.setup, 60)

    def work(session: Connection) -> list[int]:
        found: list[int] = []
        while run(session, run_id)["status"] == "started":
            for one in begin(session, "f", 2):
                session.commit()
                complete(session, run_id, one["step_slug"], 1, one["task_index"])
                if one["step_slug"] == "items":
                    found.append(one["task_index"])
            session.commit()
        return found

    actors = [stage.act(work) for _ in range(3)]
    assert sorted(index for actor in actors for index in actor.result()) == list(range(60))


def test_the_last_reports_of_a_slice_at_once_create_the_next_one_once(stage: Stage) -> None:
    run_id = root_map_of(stage.setup, COUNT)
    held = claim(stage.setup, "f", SLICE)
    gate = stage.gate(HOLD_RUN, run_id)
    parts = [held[:2], held[2:]]
    actors = stage.together(
        gate, *(lambda session, part=part: succeed(session, part) for part in parts)
    )
    assert [actor.result() for actor in actors] == [["accepted"] * 2] * 2
    assert created(stage.setup, run_id) == 2 * SLICE
    finish(stage, run_id)


# Claims beside what ends the run


def fail_run(session: Connection) -> object:
    query = "select * from pgflow.step_tasks where status = 'started' limit 1"
    (held,) = rows(session, query)
    return break_down(session, [{**held, "attempt": held["attempts_count"]}], final=True)


ENDS: dict[str, Callable[[Connection], object]] = {
    "cancel": lambda session: rows(
        session, "select (pgflow.cancel_run(run_id)).status from pgflow.runs"
    ),
    "fail": fail_run,
    "delete": lambda session: rows(session, "select pgflow.delete_flow_and_data('f')"),
}


def nothing_is_left(stage: Stage) -> bool:
    """Tell whether no task is to be had of the run that ended, and no message and no further slice is left of it."""
    if not value(stage.setup, "select count(*) from pgflow.flows"):
        return not rows(stage.setup, "select * from pgflow.step_tasks")
    assert claim(stage.setup, "f", 9) == []
    return messages(stage.setup, "f") == [] and all(one["paused"] for one in fan_outs(stage.setup))


@pytest.mark.parametrize("end", ENDS)
def test_a_claim_does_not_wait_for_what_ends_the_run(
    stage: Stage, run_id: uuid.UUID, end: str
) -> None:
    ending = stage.session()
    ENDS[end](ending)
    claiming: Actor[list[Row]] = stage.act(lambda session: claim(session, "f", 9))
    if end != "delete":  # a queue that is being dropped is locked as a table
        assert claiming.result() == []
        assert created(stage.setup, run_id) == SLICE
    ending.commit()
    if claiming.error is not None:  # then the queue was gone
        assert end == "delete"
        assert isinstance(
            claiming.error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedFunction
        )
    assert nothing_is_left(stage)


@pytest.mark.parametrize("end", ENDS)
def test_what_ends_the_run_takes_the_slice_of_a_claim_with_it(
    stage: Stage, run_id: uuid.UUID, end: str
) -> None:
    claiming = stage.session()
    held = claim(claiming, "f", 2)
    assert len(held) == 2
    ending = stage.act(ENDS[end])
    stage.blocked(ending)
    claiming.commit()
    assert ending.error is None
    assert nothing_is_left(stage)
    assert set(succeed(stage.setup, held)) <= {"finished", "stale"}


@pytest.mark.parametrize("end", ["cancel", "fail"])
def test_claims_and_ends_side_by_side_leave_nothing(stage: Stage, end: str) -> None:
    for _ in range(5):
        run_id = root_map_of(stage.setup, COUNT)
        first = claim(stage.setup, "f", SLICE)

        def work(session: Connection, first: list[Row] = first) -> None:
            held = first[1:]
            for _ in range(4):
                succeed(session, held)
                session.commit()
                held = claim(session, "f", 3)
                session.commit()

        def fail(session: Connection, first: list[Row] = first) -> object:
            return break_down(session, first[:1], final=True)

        acts: list[Callable[[Connection], object]] = [
            work,
            lambda session: claim(session, "f", 3),
            fail if end == "fail" else ENDS[end],
        ]
        gate = stage.gate(HOLD_RUN, run_id)
        actors: list[Actor[object]] = [stage.act(act) for act in acts]
        gate.commit()
        assert [actor.error for actor in actors] == [None] * 3
        assert run(stage.setup, run_id)["status"] == {"cancel": "cancelled", "fail": "failed"}[end]
        assert nothing_is_left(stage)


# Claims beside a retry, and beside the clean-up


def test_a_claim_beside_a_retry_neither_waits_nor_pauses_what_goes_on(
    stage: Stage, run_id: uuid.UUID
) -> None:
    fail_run(stage.setup)
    retrying = stage.session()
    call(retrying, "retry_run", run_id=run_id)
    claiming = stage.act(lambda session: claim(session, "f", 9))
    assert claiming.result() == []
    retrying.commit()
    assert [one["paused"] for one in fan_outs(stage.setup)] == [False]
    finish(stage, run_id)


def test_a_retry_behind_a_claim_that_pauses_the_map_takes_it_up_again(
    stage: Stage, run_id: uuid.UUID
) -> None:
    fail_run(stage.setup)
    claiming = stage.session()
    assert claim(claiming, "f", 9) == []
    assert [one["paused"] for one in fan_outs(claiming)] == [True]
    retrying = stage.act(lambda session: call(session, "retry_run", run_id=run_id))
    stage.blocked(retrying)
    claiming.commit()
    assert retrying.error is None
    assert [one["paused"] for one in fan_outs(stage.setup)] == [False]
    finish(stage, run_id)


@pytest.mark.parametrize("first", ["claim", "prune"])
def test_a_claim_and_the_pruning_of_a_cancelled_run_do_not_deadlock(
    stage: Stage, run_id: uuid.UUID, first: str
) -> None:
    ENDS["cancel"](stage.setup)
    acts: dict[str, Callable[[Connection], object]] = {
        "claim": lambda session: claim(session, "f", 9),
        "prune": lambda session: rows(session, "select pgflow.prune_data_older_than('-1 s')"),
    }
    session = stage.session()
    acts[first](session)
    (other,) = acts.keys() - {first}
    actor = stage.act(acts[other])
    if other == "claim":
        assert actor.result() == []
    else:
        stage.blocked(actor)
    session.commit()
    assert actor.error is None
    rows(stage.setup, "select pgflow.prune_data_older_than('-1 s')")
    assert value(stage.setup, "select count(*) from pgflow.runs where run_id = %s", run_id) == 0
    assert fan_outs(stage.setup) == []

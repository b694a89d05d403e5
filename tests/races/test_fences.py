"""Faults 5 to 9: two workers and one task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.sql import (
    Connection,
    Row,
    call,
    claim,
    jsonb,
    messages,
    rows,
    run,
    task,
    value,
    worker,
)
from tests.support.tasks import (
    break_down,
    claim_one,
    expire,
    lost_task,
    one_step,
    outcomes,
    root_map,
    snapshot,
    succeed,
)

if TYPE_CHECKING:
    import uuid

    from tests.races.stage import Stage

HOLD_TASK = "select 1 from pgflow.step_tasks where run_id = %s for update"


def start_message(session: Connection, run_id: uuid.UUID) -> list[Row]:
    """Start the run's only task by its message, the contract's way."""
    ids = [
        one["message_id"]
        for one in rows(
            session, "select message_id from pgflow.step_tasks where run_id = %s", run_id
        )
    ]
    return call(session, "start_tasks", flow_slug="f", msg_ids=ids, worker_id=worker(session))


# 5, 6, 7: zombies


def test_fault_05_a_zombies_completion_changes_nothing(stage: Stage) -> None:
    run_id = one_step(stage.setup)
    zombie, live = lost_task(stage.session(autocommit=True), "f")
    before = snapshot(stage.setup, run_id)
    assert stage.act(lambda session: succeed(session, [zombie], "zombie")).result() == ["stale"]
    assert snapshot(stage.setup, run_id) == before
    assert stage.act(lambda session: succeed(session, [live], "live")).result() == ["accepted"]
    assert run(stage.setup, run_id)["output"] == {"a": "live"}


def test_fault_05_a_zombie_that_completes_while_the_live_one_does_is_refused(stage: Stage) -> None:
    run_id = one_step(stage.setup)
    zombie, live = lost_task(stage.setup, "f")
    gate = stage.gate(HOLD_TASK, run_id)
    late, good = stage.together(
        gate,
        lambda session: succeed(session, [zombie], "zombie"),
        lambda session: succeed(session, [live], "live"),
    )
    assert late.result()[0] in {"stale", "finished"}
    assert good.result() == ["accepted"]
    assert run(stage.setup, run_id)["output"] == {"a": "live"}


def test_fault_05_of_a_completion_and_a_second_grant_at_once_only_one_counts(stage: Stage) -> None:
    run_id = one_step(stage.setup)
    first = claim_one(stage.setup, "f")
    expire(stage.setup, "f")
    completing = stage.session()
    assert succeed(completing, [first], "first") == ["accepted"]
    assert stage.act(lambda session: claim(session, "f")).result() == []
    completing.commit()
    assert claim(stage.setup, "f") == []
    assert run(stage.setup, run_id)["output"] == {"a": "first"}


def test_fault_05_a_grant_that_comes_first_makes_the_waiting_completion_stale(stage: Stage) -> None:
    run_id = one_step(stage.setup)
    first = claim_one(stage.setup, "f")
    expire(stage.setup, "f")
    claiming = stage.session()
    second = claim_one(claiming, "f")
    late = stage.act(lambda session: succeed(session, [first], "zombie"))
    stage.blocked(late)
    claiming.commit()
    assert late.result() == ["stale"]
    assert task(stage.setup, run_id, "a")["status"] == "started"
    assert succeed(stage.setup, [second], "live") == ["accepted"]


def test_fault_06_a_zombies_failure_leaves_the_live_attempt_untouched(stage: Stage) -> None:
    run_id = one_step(stage.setup, max_attempts=2)
    zombie, live = lost_task(stage.setup, "f")
    before = snapshot(stage.setup, run_id)
    assert stage.act(lambda session: break_down(session, [zombie])).result() == ["stale"]
    assert snapshot(stage.setup, run_id) == before
    assert succeed(stage.setup, [live], "live") == ["accepted"]


def test_fault_06_a_zombie_that_fails_behind_the_new_grant_is_refused(stage: Stage) -> None:
    run_id = one_step(stage.setup, max_attempts=2)
    zombie = claim_one(stage.setup, "f")
    expire(stage.setup, "f")
    claiming = stage.session()
    claim_one(claiming, "f")
    late = stage.act(lambda session: break_down(session, [zombie]))
    stage.blocked(late)
    claiming.commit()
    assert late.result() == ["stale"]
    assert (task(stage.setup, run_id, "a")["status"], run(stage.setup, run_id)["status"]) == (
        "started",
        "started",
    )


def test_fault_07_a_zombie_that_extends_behind_the_new_grant_is_refused(stage: Stage) -> None:
    one_step(stage.setup)
    zombie = claim_one(stage.setup, "f")
    expire(stage.setup, "f")
    claiming = stage.session()
    claim_one(claiming, "f", lease=60)
    late = stage.act(lambda session: outcomes(session, "extend_leases", [zombie], lease=900))
    stage.blocked(late)
    claiming.commit()
    assert late.result() == ["stale"]
    assert messages(stage.setup, "f")[0]["delay"] < 61


def test_fault_07_an_extension_in_time_keeps_the_task(stage: Stage) -> None:
    one_step(stage.setup)
    held = claim_one(stage.setup, "f")
    expire(stage.setup, "f")
    extending = stage.session()
    assert outcomes(extending, "extend_leases", [held]) == ["accepted"]
    assert stage.act(lambda session: claim(session, "f")).result() == []
    extending.commit()
    assert claim(stage.setup, "f") == []
    assert succeed(stage.setup, [held]) == ["accepted"]


# 8, 9: one message, two workers


def test_fault_08_a_message_held_by_two_workers_is_granted_once(stage: Stage) -> None:
    run_id = one_step(stage.setup)
    gate = stage.gate(HOLD_TASK, run_id)
    actors = stage.together(gate, *[lambda session: start_message(session, run_id)] * 2)
    assert sum(len(actor.result()) for actor in actors) <= 1
    missing = 1 - task(stage.setup, run_id, "a")["attempts_count"]
    assert len(start_message(stage.setup, run_id)) == missing
    assert task(stage.setup, run_id, "a")["attempts_count"] == 1


def test_fault_08_the_second_of_two_overlapping_starts_gets_nothing(stage: Stage) -> None:
    run_id = one_step(stage.setup)
    first = stage.session()
    assert len(start_message(first, run_id)) == 1
    second = stage.act(lambda session: start_message(session, run_id))
    stage.blocked(second)
    first.commit()
    assert second.result() == []
    assert task(stage.setup, run_id, "a")["attempts_count"] == 1


def test_fault_08_a_start_that_is_rolled_back_leaves_the_task_to_others(stage: Stage) -> None:
    run_id = one_step(stage.setup)
    first = stage.session()
    start_message(first, run_id)
    first.rollback()
    assert len(start_message(stage.setup, run_id)) == 1


def test_fault_09_a_lease_that_expires_between_read_and_grant_gives_one_grant(stage: Stage) -> None:
    run_id = one_step(stage.setup)
    first, second = stage.session(), stage.session()
    for session in (first, second):
        assert len(rows(session, "select * from pgmq.read('f', 0, 1)")) == 1
        session.commit()
    assert len(start_message(first, run_id)) == 1
    late = stage.act(lambda session: start_message(session, run_id))
    stage.blocked(late)
    first.commit()
    assert late.result() == []


def test_fault_09_a_claim_of_no_lease_is_fenced_by_the_next(stage: Stage) -> None:
    one_step(stage.setup)
    first, second = (claim_one(stage.setup, "f", lease=0) for _ in range(2))
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert succeed(stage.setup, [first, second], "x") == ["stale", "accepted"]


# Claims side by side


def test_overlapping_claims_share_the_tasks_without_waiting(stage: Stage) -> None:
    root_map(stage.setup, 10)
    first = stage.session()
    mine = claim(first, "numbers", 6)
    others = stage.act(lambda session: claim(session, "numbers", 6)).result()
    first.commit()
    assert sorted(one["task_index"] for one in mine + others) == list(range(10))


def test_claims_of_many_workers_at_once_grant_each_task_once(stage: Stage) -> None:
    root_map(stage.setup, 200)

    def drain(session: Connection) -> list[int]:
        found: list[int] = []
        while granted := claim(session, "numbers", 7):
            found += [one["task_index"] for one in granted]
            session.commit()
        return found

    actors = [stage.act(drain) for _ in range(4)]
    assert sorted(index for actor in actors for index in actor.result()) == list(range(200))


def test_a_task_that_another_session_holds_is_skipped_without_waiting(stage: Stage) -> None:
    run_id = root_map(stage.setup, 3)
    gate = stage.gate(
        "select 1 from pgflow.step_tasks where run_id = %s and task_index = 1 for update", run_id
    )
    granted = stage.act(lambda session: claim(session, "numbers", 3)).result()
    assert sorted(one["task_index"] for one in granted) == [0, 2]
    gate.commit()
    assert task(stage.setup, run_id, "items", 1)["attempts_count"] == 0
    expire(stage.setup, "numbers")
    assert 1 in {one["task_index"] for one in claim(stage.setup, "numbers", 9)}


def test_a_task_that_was_skipped_is_due_again_soon(stage: Stage) -> None:
    run_id = one_step(stage.setup)
    gate = stage.gate(HOLD_TASK, run_id)
    assert stage.act(lambda session: claim(session, "f", lease=600)).result() == []
    gate.commit()
    assert messages(stage.setup, "f")[0]["delay"] <= 5


def test_a_start_that_is_not_committed_can_not_be_claimed(stage: Stage) -> None:
    one_step(stage.setup)
    claim(stage.setup, "f")
    starting = stage.session()
    call(starting, "start_flow", flow_slug="f", input=jsonb({}))
    assert stage.act(lambda session: claim(session, "f", 9)).result() == []
    starting.commit()
    assert len(claim(stage.setup, "f", 9)) == 1


def test_a_claim_that_is_rolled_back_costs_no_attempt(stage: Stage) -> None:
    run_id = one_step(stage.setup)
    dying = stage.session()
    claim(dying, "f")
    dying.rollback()
    assert claim_one(stage.setup, "f")["attempt"] == 1
    assert value(stage.setup, "select count(*) from pgflow.attempts where run_id = %s", run_id) == 0

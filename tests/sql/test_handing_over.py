"""What complete_and_claim leaves behind and whom it wakes, compared with completing and claiming one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.fused import complete_and_claim, first_task, source_of_a_map
from tests.support.random_runs import (
    LEASE,
    QUEUES,
    Scenario,
    begin_run,
    claim_all,
    in_order,
    output_of,
    picture,
    scenarios,
    set_stage,
    together,
    without_order,
)
from tests.support.sql import (
    Connection,
    Row,
    call,
    claim,
    jsonb,
    mapped,
    run,
    start,
    tasks,
    worker,
)
from tests.support.tasks import arrays

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

Heard = list[str]


@pytest.fixture
def by(connection: Connection) -> uuid.UUID:
    return worker(connection)


# Waking


@pytest.fixture
def awake(committing: Connection) -> tuple[Connection, Heard]:
    """Give a connection that commits each statement, and the queues for which workers were woken so far."""
    heard: Heard = []
    committing.add_notify_handler(lambda notice: heard.append(notice.payload))
    committing.execute("listen pgflow_wake")
    return committing, heard


@pytest.mark.parametrize(
    ("named", "woken"),
    [
        ({"queues": ["f", "side"]}, []),
        ({"queues": ["f"]}, ["side"]),
        ({"queues": ["side"]}, ["f"]),
        ({"queues": ["f", "side"], "qty": 1}, ["side"]),
        ({"queues": ["f", "side"], "qty": 0}, ["f", "side"]),
        ({"queues": ["f", "side"], "handlers": ["f.c"]}, ["f"]),
    ],
)
def test_nobody_is_woken_for_what_was_handed_over(
    awake: tuple[Connection, Heard], named: dict[str, Any], woken: list[str]
) -> None:
    connection, heard = awake
    done = first_task(connection, {"a": [], "b": ["a"], "c": {"deps": ["a"], "queue": "side"}})
    by = worker(connection)
    heard.clear()
    complete_and_claim(connection, [done], by=by, **named)
    assert sorted(heard) == woken


@pytest.mark.parametrize(("qty", "woken"), [(9, []), (5, []), (4, ["f"]), (0, ["f"])])
def test_the_rest_of_a_map_wakes_once(
    awake: tuple[Connection, Heard], qty: int, woken: list[str]
) -> None:
    connection, heard = awake
    done = source_of_a_map(connection)
    by = worker(connection)
    heard.clear()
    complete_and_claim(connection, [done], [1, 2, 3, 4, 5], by=by, qty=qty)
    assert heard == woken


# The two-call way


def granted_as(tasks_: Sequence[Row]) -> list[Row]:
    """Return granted tasks without what names the run, the message, or the kind of row."""
    names = {"run_id", "msg_id", "outcome"}
    return [
        {name: one[name] for name in one if name not in names} for one in in_order(list(tasks_))
    ]


@pytest.mark.slow
@settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(scenario=scenarios(tame=True))
@pytest.mark.parametrize("at_once", [1, 9])
def test_a_run_is_worked_off_as_by_completions_and_claims(
    connection: Connection, at_once: int, scenario: Scenario
) -> None:
    with connection.transaction(force_rollback=True):
        by = set_stage(connection)
        plain = begin_run(connection, scenario)
        grants = [held := in_order(claim_all(connection, by))]
        while held:
            done, held = held[:at_once], held[at_once:]
            together(connection, scenario, done)
            grants.append(new := claim_all(connection, by))
            held = in_order(held + new)
        fused = begin_run(connection, scenario)
        handed = [held := in_order(claim_all(connection, by))]
        while held:
            done, held = held[:at_once], held[at_once:]
            outputs = [jsonb(output_of(scenario, one)) for one in done]
            named = {"worker_id": by, "queue_names": list(QUEUES), "qty": 4, "lease": LEASE}
            new = call(connection, "complete_and_claim", **arrays(done), outputs=outputs, **named)
            handed.append(new := new + claim_all(connection, by))
            held = in_order(held + new)
        found = [without_order(picture(connection, run_id)) for run_id in (plain, fused)]
    assert [granted_as(one) for one in grants] == [granted_as(one) for one in handed]
    assert found[0] == found[1]


def test_a_map_is_worked_off_by_handing_over_and_claiming(
    connection: Connection, by: uuid.UUID
) -> None:
    mapped(connection, "f")
    run_id = start(connection, "f")["run_id"]
    held = complete_and_claim(connection, claim(connection, "f"), list(range(200)), by=by, qty=30)
    while held:
        held = complete_and_claim(connection, held, "x", by=by, qty=30) or claim(
            connection, "f", 30, worker_id=by
        )
    assert run(connection, run_id)["status"] == "completed"
    assert {one["attempts_count"] for one in tasks(connection, run_id)} == {1}

"""Large graphs complete in near-linear time, without limits of recursion or waves (fault 45).

Each call commits, as workers do, since in a single transaction the row versions of a run would pile up; and plans are
those of a session that has seen only small flows, since that is what a large one meets.
"""

from __future__ import annotations

import itertools
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.types.json import Jsonb

from tests.support.sql import (
    Connection,
    claim,
    complete_batch,
    define,
    row,
    run,
    start,
    value,
    worker,
)
from tests.support.tasks import steps_of

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable

Steps = list[dict[str, Any]]

GROWTH = 4
WORST_RATIO = 8.0
"""Growing so many times may cost at most so much more time: linear is 4, quadratic 16, the rest is noise."""


@pytest.fixture
def connection(committing: Connection) -> Connection:
    """Give a session that commits each statement and whose plans and statistics come from small flows."""
    steps = [
        step("a"),
        step("m", "a", step_type="map"),
        step("s", "a", required_input_pattern={"a": [1]}),
        step("z", "m", "s"),
    ]
    for number in range(7):
        flow = define_flow(committing, steps, f"small{number}")
        for output in ([], [1]):
            start(committing, flow)
            drain(committing, flow, output)
        if number == 0:
            committing.execute("analyze")
    return committing


def step(slug: str, *depends_on: str, **options: Any) -> dict[str, Any]:
    return {"slug": slug, "depends_on": list(depends_on), **options}


def define_flow(connection: Connection, steps: Steps, slug: str = "f") -> str:
    row(connection, "select pgflow.define_flow(%s, %s)", slug, Jsonb({"steps": steps}))
    return slug


def drain(connection: Connection, flow: str, output: object = 1) -> int:
    """Complete everything in large batches; return how many tasks there were."""
    identity, done = worker(connection, flow), 0
    while tasks := claim(connection, flow, 500, worker_id=identity):
        outcomes = complete_batch(connection, tasks, [output] * len(tasks))
        assert set(outcomes) == {"accepted"}
        done += len(tasks)
    return done


def empty_maps(length: int) -> Steps:
    return [step(f"m{n}", *([f"m{n - 1}"] if n else []), step_type="map") for n in range(length)]


def skips(length: int) -> Steps:
    """Chain steps each of which requires the output of the one before, the first of which is skipped."""
    first = step("s0", required_input_pattern={"never": True})
    return [
        first,
        *(
            step(f"s{n}", f"s{n - 1}", required_input_pattern={f"s{n - 1}": {}})
            for n in range(1, length)
        ),
    ]


def cascade(length: int) -> Steps:
    """Chain steps that are all skipped with the first."""
    first = step("s0", required_input_pattern={"never": True}, when_unmet="skip-cascade")
    return [first, *(step(f"s{n}", f"s{n - 1}") for n in range(1, length))]


def chain(length: int) -> Steps:
    return [step(f"s{n}", *([f"s{n - 1}"] if n else [])) for n in range(length)]


def fan_in(width: int) -> Steps:
    roots = [step(f"r{n}") for n in range(width)]
    return [*roots, step("join", *(one["slug"] for one in roots))]


def layers(count: int, width: int) -> Steps:
    """Stack layers in which each step waits for two of the layer above."""
    return [
        step(
            f"l{layer}_{n}",
            *{f"l{layer - 1}_{n}", f"l{layer - 1}_{(n + 1) % width}"} if layer else (),
        )
        for layer in range(count)
        for n in range(width)
    ]


def fastest(action: Callable[[], object], times: int = 3) -> float:
    """Return the seconds of the fastest of several calls."""
    timings = []
    for _ in range(times):
        before = time.perf_counter()
        action()
        timings.append(time.perf_counter() - before)
    return min(timings)


def assert_near_linear(timing: Callable[[int], float], size: int) -> None:
    small = large = math.inf
    for _ in range(4):  # a busy machine makes some of them slower, and none faster
        small, large = min(small, timing(size)), min(large, timing(size * GROWTH))
        if large / small < WORST_RATIO:
            break
    assert large / small < WORST_RATIO, f"{size}: {small:.3f} s, {size * GROWTH}: {large:.3f} s"


@pytest.mark.slow
@pytest.mark.parametrize("make", [empty_maps, skips, cascade])
def test_a_chain_of_5000_without_tasks_completes_with_the_start(
    connection: Connection, make: Callable[[int], Steps]
) -> None:
    flow = define_flow(connection, make(5_000))
    started = start(connection, flow, [])
    assert (started["status"], started["remaining_steps"]) == ("completed", 0)


@pytest.mark.slow
@pytest.mark.parametrize("make", [empty_maps, skips, cascade, chain, fan_in])
def test_starting_is_near_linear(connection: Connection, make: Callable[[int], Steps]) -> None:
    def timing(size: int) -> float:
        flow = define_flow(connection, make(size))
        return fastest(lambda: start(connection, flow, []))

    assert_near_linear(timing, 400)


@pytest.mark.parametrize("make", [chain, fan_in])
def test_defining_is_near_linear(connection: Connection, make: Callable[[int], Steps]) -> None:
    numbers = itertools.count()

    def timing(size: int) -> float:
        return fastest(lambda: define_flow(connection, make(size), f"f{next(numbers)}"))

    assert_near_linear(timing, 500)


def test_a_fan_in_of_5000_completes(connection: Connection) -> None:
    flow = define_flow(connection, fan_in(5_000))
    run_id = start(connection, flow)["run_id"]
    assert drain(connection, flow) == 5_001
    assert run(connection, run_id)["output"] == {"join": 1}


def test_the_join_of_a_wide_fan_in_sees_every_parent(connection: Connection) -> None:
    flow = define_flow(connection, fan_in(1_000))
    start(connection, flow)
    for _ in range(2):
        complete_batch(connection, claim(connection, flow, 500), [7] * 500)
    (join,) = claim(connection, flow, 10)
    assert join["input"] == {f"r{n}": 7 for n in range(1_000)}


@pytest.mark.slow
def test_a_graph_of_10000_steps_completes(connection: Connection) -> None:
    flow = define_flow(connection, layers(40, 250))
    run_id = start(connection, flow)["run_id"]
    assert drain(connection, flow) == 10_000
    found = run(connection, run_id)
    assert (found["status"], len(found["output"])) == ("completed", 250)


def test_working_off_a_wide_graph_is_near_linear(connection: Connection) -> None:
    def timing(size: int) -> float:
        flow = define_flow(connection, layers(4, size // 4))

        def once() -> None:
            start(connection, flow)
            drain(connection, flow)

        return fastest(once, 2)

    assert_near_linear(timing, 400)


def advance(connection: Connection, flow: str, transitions: int) -> None:
    identity = worker(connection, flow)
    for _ in range(transitions):
        tasks = claim(connection, flow, 1, worker_id=identity)
        assert complete_batch(connection, tasks, [1]) == ["accepted"]


def test_a_transition_costs_the_same_in_a_chain_of_5000(connection: Connection) -> None:
    timings = []
    for length in (50, 5_000):
        flow = define_flow(connection, chain(length), f"f{length}")
        start(connection, flow)
        timings.append(fastest(partial(advance, connection, flow, 10)))
    assert timings[1] / timings[0] < 3, timings


def test_starting_a_layer_costs_the_same_in_a_run_of_8000_steps(connection: Connection) -> None:
    timings = []
    for depth in (5, 80):
        flow = define_flow(connection, layers(depth, 100), f"f{depth}")
        start(connection, flow)
        batches = [claim(connection, flow, 100)]

        def finish_a_layer(flow: str = flow, batches: list[list[dict[str, Any]]] = batches) -> None:
            complete_batch(connection, batches.pop(), [1] * 100)
            batches.append(claim(connection, flow, 100))

        timings.append(fastest(finish_a_layer))
    assert timings[1] / timings[0] < 3, timings


def test_a_failure_in_a_large_run_archives_all_its_messages(connection: Connection) -> None:
    flow = define_flow(connection, fan_in(2_000))
    run_id = start(connection, flow)["run_id"]
    connection.execute("update pgflow.step_states set max_attempts = 1 where run_id = %s", [run_id])
    assert "r0" in steps_of(claim(connection, flow, 4))
    row(connection, "select * from pgflow.fail_task(%s, 'r0', 0, 'boom')", run_id)
    assert value(connection, f"select count(*) from pgmq.q_{flow}") == 0
    assert value(connection, f"select count(*) from pgmq.a_{flow}") == 2_000


# Large maps: the limits of the contract (8.3), by the wall clock


def starting_a_map(connection: Connection, size: int) -> float:
    define(connection, "numbers", {"m": {"step_type": "map"}})
    items = list(range(size))
    return fastest(lambda: start(connection, "numbers", items))


@pytest.mark.parametrize(("size", "limit"), [(1_000, 0.150), (10_000, 0.800)])
def test_a_map_starts_within_the_limit(connection: Connection, size: int, limit: float) -> None:
    assert starting_a_map(connection, size) < limit


def test_starting_a_map_is_near_linear(connection: Connection) -> None:
    assert_near_linear(lambda size: starting_a_map(connection, size), 2_500)


def in_maps_of_two_sizes(
    connection: Connection, action: Callable[[str, uuid.UUID], float]
) -> tuple[float, float]:
    """Return what an action with a flow and a worker costs in a map of 500 and in one of 10,000."""
    small, large = (
        define(connection, f"numbers{size}", {"m": {"step_type": "map"}}) for size in (500, 10_000)
    )
    start(connection, small, list(range(500)))
    start(connection, large, list(range(10_000)))
    return action(small, worker(connection)), action(large, worker(connection))


def test_a_claim_costs_the_same_in_a_map_of_10000(connection: Connection) -> None:
    def claiming(flow: str, identity: uuid.UUID) -> float:
        return fastest(lambda: claim(connection, flow, 100, worker_id=identity))

    small, large = in_maps_of_two_sizes(connection, claiming)
    assert large / small < 3, (small, large)


def test_a_completion_costs_the_same_in_a_map_of_10000(connection: Connection) -> None:
    def completing(flow: str, identity: uuid.UUID) -> float:
        batches = [claim(connection, flow, 100, worker_id=identity) for _ in range(3)]
        return fastest(lambda: complete_batch(connection, batches.pop(), [1] * 100))

    small, large = in_maps_of_two_sizes(connection, completing)
    assert large / small < 3, (small, large)


def test_a_map_of_10000_completes_in_order(connection: Connection) -> None:
    define(connection, "numbers", {"m": {"step_type": "map"}})
    run_id: uuid.UUID = start(connection, "numbers", list(range(10_000)))["run_id"]
    identity = worker(connection)
    while tasks := claim(connection, "numbers", 1_000, worker_id=identity):
        complete_batch(connection, tasks, [one["input"] for one in tasks])
    assert run(connection, run_id)["output"] == {"m": list(range(10_000))}

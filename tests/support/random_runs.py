"""Small random flows, and runs of them that are worked off move by move, to compare two ways of doing the same.

All runs of one comparison live in one transaction, so that `now()` is one moment; leases and delays are so long that
they tell themselves apart by hundreds of seconds.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from hypothesis import strategies as st

from tests.support.sql import (
    SQL_NULL,
    Connection,
    Row,
    call,
    claim,
    fail_batch,
    jsonb,
    record_events,
    report,
    rows,
    start,
    value,
    worker,
)
from tests.support.tasks import version

QUEUES = ("f", "side")
LEASE = 300
DELAY = 1000
"""Seconds; see the module's docstring."""

MAX_STEPS = 6
ARRAYS: tuple[list[object], ...] = ([], [1], [1, "two", None])
OTHERS: tuple[object, ...] = (SQL_NULL, None, 0, "text", {"a": 1}, {"a": [1]}, "x" * 10_000)


@dataclass(frozen=True)
class Move:
    """What happens next in a run: an act, the held task that it is done to (modulo their number), and an output."""

    act: str
    pick: int
    output: object


@dataclass(frozen=True)
class Scenario:
    """A flow, the input of its run, and moves; what is left after them is completed with `[1]`."""

    steps: list[dict[str, Any]]
    input: object
    moves: list[Move]


# Strategies

ACTS = (
    *["complete"] * 6,
    "unfenced",
    "stale",
    "again",
    "elsewhere",
    "fail",
    "fail",
    "lose",
    "release",
)


@st.composite
def _steps(draw: st.DrawFn, *, tame: bool) -> list[dict[str, Any]]:
    count = draw(st.integers(1, MAX_STEPS))
    has_conditions = draw(st.sampled_from([False] * 4 + [True]))
    steps: list[dict[str, Any]] = []
    for number in range(count):
        known = [step["slug"] for step in steps]
        is_map = draw(st.sampled_from([False, False, True]))
        most = 1 if is_map else 3
        deps = draw(st.lists(st.sampled_from(known), unique=True, max_size=most)) if known else []
        step: dict[str, Any] = {"slug": f"s{number}", "depends_on": deps}
        if is_map:
            step["step_type"] = "map"
        if draw(st.integers(0, 5)) == 0:
            step["start_delay"] = DELAY
        if draw(st.integers(0, 4)) == 0:
            step["queue"] = "side"
        if draw(st.integers(0, 2)) == 0:
            step["max_attempts"] = 1
            step["when_exhausted"] = draw(st.sampled_from(["skip", "skip-cascade"]))
        if has_conditions and draw(st.booleans()):
            step["required_input_pattern"] = {"s0": [1]} if deps else {}
            unmet = ["skip", "skip-cascade"] if tame else ["skip", "skip-cascade", "fail"]
            step["when_unmet"] = draw(st.sampled_from(unmet))
        steps.append(step)
    return steps


@st.composite
def scenarios(draw: st.DrawFn, *, tame: bool = False) -> Scenario:
    """Give scenarios; tame ones have no moves but completions, and only arrays as outputs."""
    steps = draw(_steps(tame=tame))
    has_root_map = any("step_type" in step and not step["depends_on"] for step in steps)
    run_input = draw(st.sampled_from(ARRAYS)) if has_root_map else {}
    outputs = ARRAYS if tame else (*ARRAYS * 3, *OTHERS)
    moves = st.builds(
        Move,
        act=st.just("complete") if tame else st.sampled_from(ACTS),
        pick=st.integers(0, 7),
        output=st.sampled_from(outputs),
    )
    return Scenario(steps, run_input, draw(st.lists(moves, max_size=10)))


# Playing

Complete: TypeAlias = Callable[[Connection, Row, object], list[str]]
"""Completes a task as it was granted and returns the outcome of that."""


def begin_run(connection: Connection, scenario: Scenario) -> uuid.UUID:
    """Define the scenario's flow, unless it is, and start a run of it."""
    version(connection, "f", scenario.steps, max_attempts=2, base_delay=0)
    return cast("uuid.UUID", start(connection, "f", scenario.input)["run_id"])


def claim_all(connection: Connection, by: uuid.UUID) -> list[Row]:
    """Claim everything from both queues, what is delayed too."""
    granted: list[Row] = []
    for queue in QUEUES:
        due = f"update pgmq.q_{queue} set vt = now() where vt > now() + interval '{DELAY / 2} s'"
        connection.execute(due.encode())
        granted += claim(connection, queue, 100, lease=LEASE, worker_id=by)
    return granted


def in_order(tasks: list[Row]) -> list[Row]:
    """Sort tasks by step and index."""
    return sorted(tasks, key=lambda task: (task["step_slug"], task["task_index"]))


def play(
    connection: Connection, by: uuid.UUID, scenario: Scenario, complete: Complete
) -> list[tuple[object, Row]]:
    """Work a run off; return after each move what it answered and the picture of the run."""
    run_id = begin_run(connection, scenario)
    found: list[tuple[object, Row]] = [("started", picture(connection, run_id))]
    moves = deque(scenario.moves)
    held: list[Row] = []
    while held := in_order(held + claim_all(connection, by)):
        move = moves.popleft() if moves else Move("complete", 0, [1])
        task = held[move.pick % len(held)]
        if move.act not in {"stale", "elsewhere"}:
            held.remove(task)
        answer = _act(connection, move, task, complete)
        found.append((answer, picture(connection, run_id)))
        assert len(found) < 200, "the run does not end"
    return found


def output_of(scenario: Scenario, task: Row) -> object:
    """Choose an output among those of the scenario's moves by the task alone."""
    place = 3 * int(task["step_slug"][1:]) + int(task["task_index"])
    return scenario.moves[place % len(scenario.moves)].output if scenario.moves else [1]


def _act(connection: Connection, move: Move, task: Row, complete: Complete) -> object:
    changed: Row = {
        "unfenced": {"attempt": None},
        "stale": {"attempt": task["attempt"] + 1},
        "elsewhere": {"task_index": 77},
    }.get(move.act, {})
    match move.act:
        case "fail":
            return fail_batch(connection, [task])
        case "release":
            return [one["outcome"] for one in report(connection, "release_tasks", [task])]
        case "lose":
            queue = task["queue_name"]
            lost = f"update pgmq.q_{queue} set vt = now() where msg_id = %s"
            return connection.execute(lost.encode(), [task["msg_id"]]).rowcount
        case _:
            times = 2 if move.act == "again" else 1
            return [complete(connection, {**task, **changed}, move.output) for _ in range(times)]


# Ways of completing


def singly(connection: Connection, task: Row, output: object) -> list[str]:
    """Complete a task by a report of its own: the short way, where nothing is special."""
    return _complete(connection, [task], [output])


def generally(connection: Connection, task: Row, output: object) -> list[str]:
    """Complete a task in a batch with a report of nothing, which takes the general way."""
    nothing = {**task, "run_id": uuid.UUID(int=0)}
    return _complete(connection, [task, nothing], [output, None])[:1]


def together(connection: Connection, scenario: Scenario, tasks: list[Row]) -> list[str]:
    """Complete tasks in one batch, each with the output that the scenario has for it."""
    return _complete(connection, tasks, [output_of(scenario, task) for task in tasks])


def _complete(connection: Connection, tasks: list[Row], outputs: list[object]) -> list[str]:
    reports = call(
        connection,
        "complete_tasks",
        run_ids=[task["run_id"] for task in tasks],
        step_slugs=[task["step_slug"] for task in tasks],
        task_indexes=[task["task_index"] for task in tasks],
        attempts=[task["attempt"] for task in tasks],
        outputs=[jsonb(output) for output in outputs],
    )
    return [one["outcome"] for one in reports]


# Pictures

_MESSAGES = """
  select
    message.message ->> 'step_slug' as step_slug, (message.message ->> 'task_index')::int as task_index, '{0}' as queue,
    '{1}' as place, message.message - 'run_id' as body, message.msg_id = task.message_id as is_the_tasks,
    case when '{1}' = 'q' then round(extract(epoch from message.vt - now()) / 100) end as due
  from pgmq.{1}_{0} as message
  left join pgflow.step_tasks as task
    on task.run_id = %(run)s and task.step_slug = message.message ->> 'step_slug'
    and task.task_index = (message.message ->> 'task_index')::int
  where message.message ->> 'run_id' = %(run)s::text"""

_PICTURE = """
  with message as ({messages})
  select
    (select to_jsonb(run) - 'run_id' from pgflow.runs as run where run.run_id = %(run)s) as run,
    (
      select jsonb_agg(to_jsonb(state) - 'run_id' order by state.step_index)
      from pgflow.step_states as state where state.run_id = %(run)s
    ) as states,
    (
      select jsonb_agg(to_jsonb(task) - '{{run_id,message_id}}'::text[] order by task.step_slug, task.task_index)
      from pgflow.step_tasks as task where task.run_id = %(run)s
    ) as tasks,
    (
      select jsonb_agg(
        to_jsonb(entry) - 'run_id' order by entry.step_slug, entry.task_index, entry.attempt, entry.outcome
      )
      from pgflow.attempts as entry where entry.run_id = %(run)s
    ) as attempts,
    (
      select jsonb_agg(to_jsonb(message) order by message.step_slug, message.task_index, message.place) from message
    ) as messages,
    (
      select jsonb_agg(jsonb_build_array(event.event, event.payload - 'run_id') order by event.position)
      from realtime.messages as event where event.topic = 'pgflow:run:' || %(run)s
    ) as events"""

_QUERY = _PICTURE.format(
    messages="\n union all ".join(
        _MESSAGES.format(queue, place) for queue in QUEUES for place in ("q", "a")
    )
)


def picture(connection: Connection, run_id: uuid.UUID) -> Row:
    """Return everything that is stored of a run and was told of it, but for what names this very run and its messages."""
    (found,) = rows(connection, _QUERY.replace("%(run)s", f"'{run_id}'"))
    return found


def without_order(found: Row) -> Row:
    """Return a picture in which events have no order."""
    return {**found, "events": sorted(found["events"], key=str)}


def set_stage(connection: Connection) -> uuid.UUID:
    """Make the queues and the sink of events that pictures need; return a worker."""
    record_events(connection)
    for queue in QUEUES:
        value(connection, "select pgflow.ensure_queue(%s)::text", queue)
    return worker(connection)

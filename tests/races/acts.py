"""The acts of the matrix of races: every function that writes, called on a scene of `tests.races.scenes`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.json import Jsonb

from tests.races.scenes import (
    DELAY,
    FLOW,
    HELD,
    INPUT,
    LEASE,
    MAIN,
    RETENTION,
    STEPS,
    WORKER,
    names,
    output_of,
)
from tests.support.sql import Connection, Row, call, rows
from tests.support.tasks import version

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Act:
    """One call of a mutating function."""

    name: str
    call: Callable[[Connection], object]
    scene: str | None = None
    """The scene in which the act has something to do; none for an act that has in each."""
    skips: bool = False
    """Leaves what another session has locked for later, so that it does the rest when it is called again."""

    def __call__(self, connection: Connection) -> object:
        """Return what the function returned, or the error that it raised."""
        try:
            return self.call(connection)
        except psycopg.Error as error:
            connection.rollback()
            return {"error": error.sqlstate, "message": error.diag.message_primary}


def scenes_of(one: Act, other: Act) -> list[str]:
    """Return the scenes in which two acts meet."""
    return sorted({scene for scene in (one.scene, other.scene) if scene}) or ["live"]


def merged(result: Any, more: Any) -> Any:
    """Put together what an act returned and what it returned when it was called again: rows, a number, or an error."""
    if isinstance(result, dict) or isinstance(more, dict):
        return result if isinstance(result, dict) else more
    counts = [next(iter(one.values())) for one in (*result, *more) if len(one) == 1]
    if counts:
        return [{name: sum(counts) for name in result[0]}] if isinstance(counts[0], int) else result
    return [*result, *more]


def _complete(*tasks: tuple[str, int]) -> Callable[[Connection], list[Row]]:
    outputs = [Jsonb(output_of(*task)) for task in tasks]
    return lambda session: call(session, "complete_tasks", **names(tasks), outputs=outputs)


def _fail(*tasks: tuple[str, int], **details: object) -> Callable[[Connection], list[Row]]:
    given: dict[str, list[Any]] = {
        "errors": ["boom"] * len(tasks),
        "details": [Jsonb(details)] * len(tasks),
    }
    return lambda session: call(session, "fail_tasks", **names(tasks), **given)


def _report(
    function: str, tasks: Sequence[tuple[str, int]], **more: object
) -> Callable[[Connection], list[Row]]:
    return lambda session: call(session, function, **names(tasks), **more)


def _start(session: Connection) -> list[Row]:
    return call(session, "start_flow", flow_slug=FLOW, input=Jsonb(INPUT), idempotency_key="first")


def _start_many(session: Connection) -> list[Row]:
    inputs = [Jsonb(INPUT), Jsonb([1]), Jsonb([])]
    keys = ["second", "first", "third"]
    return call(session, "start_many", flow_slug=FLOW, inputs=inputs, idempotency_keys=keys)


def _claim(session: Connection) -> list[Row]:
    return call(session, "claim_tasks", queue_name=FLOW, worker_id=WORKER, qty=50, lease=LEASE)


def _start_tasks(session: Connection) -> list[Row]:
    msg_ids = list(range(1, 60))
    return call(session, "start_tasks", flow_slug=FLOW, msg_ids=msg_ids, worker_id=WORKER)


def _complete_and_claim(session: Connection) -> list[Row]:
    tasks = [("items", 0), ("items", 1)]
    return call(
        session,
        "complete_and_claim",
        **names(tasks),
        outputs=[Jsonb(output_of(*task)) for task in tasks],
        worker_id=WORKER,
        queue_names=[FLOW],
        qty=10,
        lease=LEASE,
    )


def _progress(session: Connection) -> list[Row]:
    named = {"step_slug": "one", "task_index": 0, "attempt": 1, "progress": Jsonb({"done": 1})}
    return call(session, "report_progress", run_id=MAIN, **named)


def _register(session: Connection) -> list[Row]:
    named = {"queue_names": [FLOW, "other"], "function_name": "races"}
    return call(session, "register_worker", worker_id=WORKER, **named)


SPLIT = [{"output": output_of("packs", 0)}, {"error": "boom", "details": {}}]

ACTS = [
    Act("start_flow", _start),
    Act("start_many", _start_many),
    Act("claim_tasks", _claim, skips=True),
    Act("start_tasks", _start_tasks, skips=True),
    Act("complete_single", _complete(("one", 0)), "live"),
    Act("complete_items", _complete(("items", 1), ("items", 0)), "live"),
    Act("complete_last_items", _complete(("items", 0), ("items", 1)), "ending"),
    Act("complete_run", _complete(("tail", 0)), "last"),
    Act("complete_and_claim", _complete_and_claim, "ending"),
    Act("fail_retried", _fail(("one", 0), ("items", 0), ("packs", 0)), "live"),
    Act("fail_exhausted", _fail(("hard", 0)), "live"),
    Act("fail_skipped", _fail(("soft", 0)), "live"),
    Act("fail_last_items", _fail(("items", 1), ("items", 0), final=True), "ending"),
    Act("split_batches", _report("split_batches", [("packs", 0)], results=[Jsonb(SPLIT)]), "live"),
    Act("extend_leases", _report("extend_leases", HELD, lease=2 * DELAY), "live"),
    Act("release_tasks", _report("release_tasks", HELD[::-1], delay=4 * DELAY), "live"),
    Act("cancel_run", lambda session: call(session, "cancel_run", run_id=MAIN, reason="enough")),
    Act("retry_run", lambda session: call(session, "retry_run", run_id=MAIN), "failed"),
    Act(
        "delete_flow_and_data",
        lambda session: call(session, "delete_flow_and_data", p_flow_slug=FLOW),
    ),
    Act(
        "prune_data_older_than",
        lambda session: rows(session, f"select pgflow.prune_data_older_than({RETENTION})"),
        skips=True,
    ),
    Act(
        "requeue_stalled_tasks", lambda session: call(session, "requeue_stalled_tasks"), skips=True
    ),
    Act("resend_lost_messages", lambda session: call(session, "resend_lost_messages"), skips=True),
    Act(
        "define_flow",
        lambda session: version(
            session, FLOW, [*STEPS, {"slug": "more"}], max_attempts=2, base_delay=DELAY
        ),
    ),
    Act(
        "add_step",
        lambda session: call(
            session, "add_step", flow_slug=FLOW, step_slug="extra", deps_slugs=["one"]
        ),
    ),
    Act("register_worker", _register),
    Act(
        "mark_worker_stopped",
        lambda session: call(session, "mark_worker_stopped", worker_id=WORKER),
    ),
    Act("report_progress", _progress, "live"),
    Act("worker_heartbeat", lambda session: call(session, "worker_heartbeat", worker_id=WORKER)),
]
"""All functions that write; next_due reads only."""

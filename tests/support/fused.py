"""Calls of complete_and_claim, and runs to call it for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.sql import Connection, Row, call, define, jsonb, start
from tests.support.tasks import arrays, claim_one

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping, Sequence


def complete_and_claim(
    connection: Connection,
    done: Sequence[Row],
    output: object = "done",
    *,
    by: uuid.UUID,
    queues: Sequence[str] = ("f",),
    qty: int = 10,
    **more: Any,
) -> list[Row]:
    """Complete tasks, all with one output, and return the rows that come back."""
    named = {"worker_id": by, "queue_names": list(queues), "qty": qty, **more}
    outputs = [jsonb(output)] * len(done)
    return call(connection, "complete_and_claim", **arrays(done), outputs=outputs, **named)


def first_task(connection: Connection, steps: Mapping[str, object], **options: object) -> Row:
    """Start a run of a flow whose first step is its only root, and claim that."""
    define(connection, "f", steps, base_delay=0, **options)
    start(connection, "f", {"n": 1})
    return claim_one(connection, "f")


def source_of_a_map(connection: Connection, **step: object) -> Row:
    """Start `source -> items (map)` and claim the source."""
    return first_task(
        connection, {"source": [], "items": {"deps": ["source"], "step_type": "map", **step}}
    )

"""Judges the schema and the work: functions, rights, workers, queues, invariants."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from pgflow._doctor.findings import Finding, Severity, error, info, warning
from pgflow._sources import SOURCES
from pgflow.errors import PgflowError
from pgflow.schema import verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pgflow._doctor.readings import Reader, Row

WAITING: Final = 60.0
WAITING_LONG: Final = 600.0
"""Seconds for which the oldest due message has waited: a warning, an error."""
SHOWN: Final = 10
"""Findings of one invariant that are listed, and silent workers."""
INIT_AGAIN: Final = "update pgflow.schema_migrations set checksum = '' where version = 0; then: pgflow init --dsn <address>"


def check_schema(reader: Reader) -> Iterator[Finding]:
    """Check that the schema is the one of this code, whole and closed; say so alone if it is not the one."""
    try:
        verify(reader.connection)
    except PgflowError as mismatch:
        yield error("schema", mismatch.message, mend=mismatch.hint or "")
        return
    yield from judge_functions(reader.functions(), _bodies())
    for row in reader.public_relations():
        mend = f"revoke all on {row['name']} from public;"
        yield error("public", "anybody may read or write it: PUBLIC has rights", row["name"], mend)
    for row in reader.invalid_indexes():
        mend = f"reindex index concurrently {row['name']};"
        yield error("index", "the index is invalid, so it guards nothing", row["name"], mend)


def _bodies() -> dict[str, str]:
    """Return the bodies of our functions as PostgreSQL keeps them."""
    found = {}
    for source in SOURCES.functions:
        body = re.search(r"^as (\$\w*\$)(\n.*?)^\1;?$", source.text, re.MULTILINE | re.DOTALL)
        assert body, source.name
        found[source.name] = body[2]
    return found


def judge_functions(rows: Sequence[Row], bodies: Mapping[str, str]) -> Iterator[Finding]:
    """Judge installed functions by the bodies that they should have."""
    for row in rows:
        name, signature = row["name"], row["signature"]
        if name in bodies and row["body"] != bodies[name]:
            yield error(
                "altered_function", "the function is not as it was installed", name, INIT_AGAIN
            )
        if not row["pins_path"]:
            mend = f"alter function {signature} set search_path = '';"
            yield error("search_path", "the function does not pin its search_path", name, mend)
        if row["is_public"]:
            mend = f"revoke all on function {signature} from public;"
            yield error("public", "anybody may call the function", name, mend)
    for missing in sorted(set(bodies) - {row["name"] for row in rows}):
        yield error("altered_function", "the function is gone", missing, INIT_AGAIN)


def check_handlers(reader: Reader) -> Iterator[Finding]:
    """Look for steps of live runs that no living worker can run."""
    yield from judge_handlers(reader.live_steps(), reader.live_workers())


def judge_handlers(steps: Sequence[Row], workers: Sequence[Row]) -> Iterator[Finding]:
    """Judge steps that have work to do by what the living workers say they can run."""
    for step in steps:
        if any(_can_run(worker, step) for worker in workers):
            continue
        name = f"{step['flow_slug']}.{step['step_slug']}"
        serving = [worker for worker in workers if step["queue_name"] in worker["queues"]]
        reason = "no living worker serves its queue"
        if serving:
            reason = "no worker of its queue has a handler for it as it was when its run started"
        what = f"{step['runs']} live runs wait at {name} for {step['age']:.0f} s: {reason}"
        mend = f"Start a worker with the flow {step['flow_slug']}: pgflow worker module:flow"
        if step["handler"] is not None:
            mend = (
                f"Start a worker with the handler {step['handler']}: pgflow worker module:handlers"
            )
        if step["queue_name"] != step["flow_slug"]:
            mend += f" --queue {step['queue_name']}"
        yield error("unserved_step", what, name, mend)


def _can_run(worker: Row, step: Row) -> bool:
    if step["queue_name"] not in worker["queues"]:
        return False
    if worker["registered"] is not None:
        return step["handler"] in worker["registered"]
    name = f"{step['flow_slug']}.{step['step_slug']}"
    if worker["handlers"] is not None:
        key = f"{name}({step['step_type']}:{','.join(step['deps'])})"
        return name in worker["handlers"] or key in worker["handlers"]
    # Workers of older releases and of other languages do not say what they can run.
    return worker["flows"] is None or step["flow_slug"] in worker["flows"]


def check_queues(reader: Reader) -> Iterator[Finding]:
    """Look for queues whose messages wait."""
    yield from judge_queues(reader.queues())


def judge_queues(rows: Sequence[Row]) -> Iterator[Finding]:
    """Judge queues by the age of their oldest due message."""
    for row in rows:
        age = row["oldest_age_seconds"] or 0
        if age < WAITING:
            continue
        what = (
            f"{row['visible']:,} messages are due, the oldest for {age:.0f} s;"
            f" {row['workers']} living workers serve the queue"
        )
        make = error if age > WAITING_LONG and row["workers"] == 0 else warning
        mend = "Start more workers, or raise their --concurrency."
        yield make("waiting_queue", what, row["queue_name"], mend)


def check_workers(reader: Reader) -> Iterator[Finding]:
    """Look for workers that fell silent."""
    rows = reader.dead_workers()
    for row in rows[:SHOWN]:
        what = (
            f"worker {row['worker_id']} ({row['function_name']}) is silent for {row['silent']:.0f} s;"
            " its tasks are granted anew when their leases end"
        )
        mend = "Look at its log and start it again, best under a supervisor: pgflow worker."
        yield warning(
            "dead_worker", what, f"{row['hostname'] or 'unknown host'}, pid {row['pid']}", mend
        )
    if len(rows) > SHOWN:
        yield warning("dead_worker", f"{len(rows) - SHOWN} more workers fell silent within a day")


def check_invariants(reader: Reader) -> Iterator[Finding]:
    """Look for what must never be so."""
    yield from judge_invariants(reader.invariants())


def judge_invariants(rows: Sequence[Row]) -> Iterator[Finding]:
    """Turn violated invariants into findings, the first of each kind."""
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        kinds[row["invariant"]].append(row)
    for name, found in kinds.items():
        for row in found[:SHOWN]:
            place = ("run_id", "step_slug", "task_index", "queue_name", "msg_id")
            where = ", ".join(f"{key} {row[key]}" for key in place if row[key] is not None)
            yield Finding(
                name, Severity(row["severity"]), row["detail"], where, row["mend"], row["safe"]
            )
        if len(found) > SHOWN:
            more = f"{len(found) - SHOWN} more of these in pgflow.invariant_violations"
            yield info(name, more)

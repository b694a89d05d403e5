"""Our SQL alone: two bare connections that claim and complete, with no worker's logic between."""

from __future__ import annotations

import json
import threading
import time
from typing import Any
from uuid import uuid4

import psycopg

from benchmarks.checks import WrongResult, check_attempts, check_fan
from benchmarks.flows import collect, fan, item, produce
from benchmarks.stage import observing

BATCH = 100
CONNECTIONS = 2
PAUSE = 0.002
POLL = 0.01
PATIENCE = 60.0

CLAIM = """select run_id, step_slug, task_index, attempt, input::text, flow_input::text
  from pgflow.claim_tasks('bench_fan', %s::uuid, %s)"""
COMPLETE = """select outcome from pgflow.complete_tasks(
    %s::uuid[], %s::text[], %s::int[], %s::int[], %s::text[]::jsonb[])"""


def measure_sql(dsn: str, items: int, repetitions: int) -> float:
    """Return the tasks a second, the median of some maps."""
    with observing(dsn) as connection:
        definition = json.dumps(fan.definition())
        connection.execute("select pgflow.define_flow('bench_fan', %s)", [definition])
    rates = []
    for size in (BATCH, *[items] * repetitions):
        seconds = _run_map(dsn, size)
        rates.append(size / seconds)
    return sorted(rates[1:])[repetitions // 2]


def _run_map(dsn: str, items: int) -> float:
    ended = threading.Event()
    threads = [threading.Thread(target=_work, args=(dsn, ended)) for _ in range(CONNECTIONS)]
    with observing(dsn) as connection:
        begin = time.monotonic()
        start = "select run_id from pgflow.start_flow('bench_fan', %s)"
        run_id: Any = connection.execute(start, [json.dumps(items)]).fetchall()[0][0]
        try:
            for thread in threads:
                thread.start()
            end = "select output from pgflow.runs where run_id = %s and status = 'completed'"
            while not (found := connection.execute(end, [run_id]).fetchall()):
                if time.monotonic() - begin > PATIENCE:
                    raise WrongResult(f"run {run_id} does not end")
                time.sleep(POLL)
            seconds = time.monotonic() - begin
        finally:
            ended.set()
            for thread in threads:
                thread.join()
    check_fan(found[0][0], items)
    check_attempts(dsn, fan.slug, items + 2, run_id)
    return seconds


def _work(dsn: str, ended: threading.Event) -> None:
    worker_id = str(uuid4())
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=1) as connection:
        connection.execute(
            "select pgflow.register_worker(%s::uuid, array['bench_fan'], 'limit')", [worker_id]
        )
        while not ended.is_set():
            tasks = connection.execute(CLAIM, [worker_id, BATCH]).fetchall()
            if not tasks:
                time.sleep(PAUSE)
                continue
            run_ids, slugs, indexes, attempts, inputs, flow_inputs = map(
                list, zip(*tasks, strict=True)
            )
            outputs = list(map(_output, slugs, inputs, flow_inputs))
            connection.execute(COMPLETE, [run_ids, slugs, indexes, attempts, outputs])


def _output(slug: str, task_input: str, flow_input: str | None) -> str:
    match slug:
        case "item":
            # As cheap as can be: what is measured is the SQL.
            return task_input if int(task_input) > 0 else json.dumps(item(int(task_input)))
        case "produce":
            return json.dumps(produce(int(flow_input or 0)))
        case _:
            return json.dumps(collect(json.loads(task_input)["item"]))

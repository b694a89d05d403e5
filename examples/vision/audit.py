"""The proof: what the run says is compared with the files, the model and the database."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from .imaging import decode, find_digit
from .model import ask, open_model, scaled

if TYPE_CHECKING:
    from uuid import UUID

    from .flow import Summary
    from .scenario import Prepared

GOOD = 0.9
"""The least accuracy to expect of this model on images that it has not seen."""
TOLERANCE = 1e-6

PREDICTIONS = "select image, label, confidence from vision_example.predictions where run_id = %s"
LOADS = "select pid from vision_example.model_loads"
FAILURES = """
select step_slug, input #>> '{}' as input, error_message, attempts_count
from pgflow.failed_tasks where run_id = %s
"""
# Whose model it was, as the process itself said, and as the engine knows it, must agree.
INFERRED = """
select worker.pid, count(*) as images
from pgflow.task_attempts as attempt
join pgflow.worker_summary as worker using (worker_id)
join pgflow.step_tasks as task using (run_id, step_slug, task_index)
where run_id = %s and step_slug = 'infer' and (task.output ->> 'pid')::int = worker.pid
group by worker.pid
"""
PASSED = """
select step_slug, sum(octet_length(output::text))::int as bytes
from pgflow.step_tasks where run_id = %s group by step_slug
"""


def audit(dsn: str, run_id: UUID, prepared: Prepared, summary: Summary) -> dict[str, Any]:
    """Return the facts of a run, with all claims about it and whether they hold."""
    with psycopg.connect(dsn) as connection, connection.cursor(row_factory=dict_row) as cursor:
        predictions = cursor.execute(PREDICTIONS, (run_id,)).fetchall()
        failures = cursor.execute(FAILURES, (run_id,)).fetchall()
        inferred = {
            row["pid"]: row["images"] for row in cursor.execute(INFERRED, (run_id,)).fetchall()
        }
        passed = cursor.execute(PASSED, (run_id,)).fetchall()
        loads = Counter(row["pid"] for row in cursor.execute(LOADS).fetchall())
    stored = {row["image"]: row for row in predictions}
    direct = call_directly(prepared)
    right = sum(row["label"] == prepared.labels[image] for image, row in stored.items())
    accuracy = right / len(stored)
    failed = [
        {"image": Path(row["input"]).name, "step": row["step_slug"], "reason": row["error_message"]}
        for row in failures
    ]
    (corrupt,) = set(prepared.labels) - set(direct)
    return {
        "run_id": str(run_id),
        "images": len(prepared.labels),
        "stored": summary.stored,
        "needs_review": summary.needs_review,
        "failed": failed,
        "accuracy": round(accuracy, 4),
        "trained_on": prepared.trained_on,
        "workers": [
            {"pid": pid, "images": inferred[pid], "model_loads": loads[pid]}
            for pid in sorted(inferred)
        ],
        "bytes_passed": {row["step_slug"]: row["bytes"] for row in passed},
        "bytes_as_base64": sum(
            (path.stat().st_size + 2) // 3 * 4 for path in Path(prepared.batch.images).iterdir()
        ),
        "checks": {
            "the corrupt image failed alone, with its reason": len(failed) == 1
            and failed[0]["image"] == corrupt
            and "truncated" in failed[0]["reason"],
            "it was not tried twice": [row["attempts_count"] for row in failures] == [1],
            "every other image has one stored result": set(stored) == set(direct)
            and len(predictions) == summary.stored,
            "each result equals a direct call of the model": all(
                row["label"] == direct[image][0]
                and abs(row["confidence"] - direct[image][1]) < TOLERANCE
                for image, row in stored.items()
            ),
            "each worker process loaded the model once": set(loads) == set(inferred)
            and set(loads.values()) == {1},
            "both worker processes took part": len(inferred) == 2,  # noqa: PLR2004 - scenario.PROCESSES
            "no image of the data set is in training and in the batch": prepared.shared == 0,
            "the ONNX file answers as scikit-learn does": prepared.same_as_scikit_learn == 1,
            f"at least {GOOD:.0%} of the labels are right": accuracy >= GOOD,
            "every result has its annotated image": {
                path.name for path in Path(prepared.batch.annotated).iterdir()
            }
            == set(stored),
        },
    }


def call_directly(prepared: Prepared) -> dict[str, tuple[int, float]]:
    """Ask the model about each image that can be decoded, without any flow."""
    session, found = open_model(prepared.batch.model), {}
    for path in Path(prepared.batch.images).iterdir():
        try:
            _, pixels = find_digit(decode(path.read_bytes()))
        except ValueError:
            continue
        answer = ask(session, scaled([pixels]))[0]
        found[path.name] = int(answer.argmax()), float(answer.max())
    return found

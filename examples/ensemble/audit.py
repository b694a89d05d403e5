"""The proof: the votes are counted again from direct calls of the models, and compared with the right labels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg

from .models import DECIMALS, NAMES, ask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pgflow.errors import RunFailed

    from .flow import Answer
    from .scenario import Prepared

BINS = (0.0, 0.5, 0.7, 0.9, 1.0)
"""Borders of the confidence in the calibration table."""

ATTEMPTS = """
select step_slug, attempt, outcome, coalesce(error, '')
from pgflow.task_attempts where run_id = %s and step_slug = any(%s)
"""
SPANS = """
select (output ->> 'began')::float8, (output ->> 'ended')::float8 from pgflow.step_tasks
where run_id = %s and step_slug = any(%s) and output is not null
"""
STATUSES = "select step_slug, status from pgflow.step_summary where run_id = %s"
PIDS = """
select distinct (output ->> 'pid')::int from pgflow.step_tasks
where run_id = %s and step_slug = any(%s) and output is not null
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that has ended: with an answer, or with an error."""

    run_id: str
    answer: Answer | None
    failure: RunFailed | None


def audit(dsn: str, prepared: Prepared, runs: Sequence[Ended]) -> dict[str, Any]:
    """Return the facts of the three runs, with all claims about them and whether they hold."""
    whole, without, refused = runs
    right = np.asarray(prepared.labels)
    direct = {
        name: ask(Path(prepared.sample.models, f"{name}.onnx"), prepared.sample.images)
        for name in NAMES
    }
    single = {name: _accuracy(answers.argmax(axis=1), right) for name, answers in direct.items()}
    voted, voted_without = _labels(whole), _labels(without)
    accuracy, accuracy_without = _accuracy(voted, right), _accuracy(voted_without, right)
    calibration = _calibration(whole, right)
    remaining = without.answer.models if without.answer else []
    statuses, attempts, pids, spans = _recorded(dsn, runs)
    crashed = [attempt for attempt in attempts[1] if attempt[0] == "random_forest"]
    refusal = refused.failure.error or "" if refused.failure else ""
    unanimous = _shares(whole) == 1
    return {
        "runs": [ended.run_id for ended in runs],
        "trained_on": prepared.trained_on,
        "held_out": len(right),
        "accuracy": single,
        "mean_accuracy": round(fmean(single.values()), 4),
        "ensemble": accuracy,
        "ensemble_without_one": accuracy_without,
        "notes": [ended.answer.note if ended.answer else None for ended in runs],
        "refusal": refusal,
        "crash": crashed[-1][3] if crashed else None,
        "calibration": calibration,
        "checks": {
            "each vote is what direct calls of the models give": _same(whole, direct, NAMES)
            and _same(without, direct, remaining),
            "the vote is not below the mean of the single models": accuracy
            >= fmean(single.values()),
            "nor is the vote of the remaining two": len(remaining) == 2  # noqa: PLR2004
            and accuracy_without >= fmean(single[name] for name in remaining),
            "models worked side by side": side_by_side(spans),
            "each of them in a process that is not the worker's": os.getpid() not in pids
            and bool(pids),
            "the model that crashed was killed by SIGSEGV, and tried again": [
                (attempt[1], "SIGSEGV" in attempt[3]) for attempt in sorted(crashed)
            ]
            == [(1, True), (2, True)],
            "it was skipped, and the answer says so": statuses[1]["random_forest"] == "skipped"
            and without.answer is not None
            and without.answer.missing == ["random_forest"]
            and "2 of 3" in without.answer.note,
            "with two failed the run fails for want of a quorum": refused.failure is not None
            and refused.failure.step == "aggregate"
            and "no quorum: 1 of 3" in refusal
            and statuses[2]["logistic_regression"] == "completed",
            "unanimous votes are right more often than others": _accuracy(
                voted[unanimous], right[unanimous]
            )
            > _accuracy(voted[~unanimous], right[~unanimous]),
            "more confidence means more accuracy": _rises([row["accuracy"] for row in calibration]),
        },
    }


def _recorded(
    dsn: str, runs: Sequence[Ended]
) -> tuple[list[dict[str, str]], list[list[tuple[Any, ...]]], set[int], list[tuple[float, float]]]:
    """Read the statuses of the steps and the models' attempts, by run; the models' processes; when the first run's worked."""
    with psycopg.connect(dsn) as connection:
        statuses = [
            {slug: str(status) for slug, status in connection.execute(STATUSES, (run.run_id,))}
            for run in runs
        ]
        attempts = [
            connection.execute(ATTEMPTS, (run.run_id, list(NAMES))).fetchall() for run in runs
        ]
        pids = {
            pid for run in runs for (pid,) in connection.execute(PIDS, (run.run_id, list(NAMES)))
        }
        spans = connection.execute(SPANS, (runs[0].run_id, list(NAMES))).fetchall()
    return statuses, attempts, pids, spans


def side_by_side(spans: Sequence[tuple[float, float]]) -> bool:
    """Tell whether at least two of some spans of time have a moment in common."""
    return any(max(a[0], b[0]) < min(a[1], b[1]) for a, b in combinations(spans, 2))


def _labels(run: Ended) -> NDArray[np.int64]:
    return np.asarray(run.answer.labels if run.answer else [], dtype=np.int64)


def _shares(run: Ended) -> NDArray[np.float64]:
    return np.asarray([each.share for each in run.answer.confidence] if run.answer else [])


def _accuracy(labels: NDArray[np.int64], right: NDArray[np.int64]) -> float:
    return round(float((labels == right).mean()), 4)


def _same(run: Ended, direct: dict[str, NDArray[np.float64]], names: Sequence[str]) -> bool:
    """Count the votes again, in another way than the flow does."""
    stacked = np.stack([direct[name].round(DECIMALS) for name in names])
    counts = np.zeros(stacked.shape[1:])
    for answers in stacked:
        counts[np.arange(len(answers)), answers.argmax(axis=1)] += 1
    mean = stacked.mean(axis=0)
    # A whole vote outweighs any probability; only labels that got votes can win.
    expected = np.where(counts > 0, counts + mean / 2, 0).argmax(axis=1)
    return run.answer is not None and bool((_labels(run) == expected).all())


def _calibration(run: Ended, right: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Tell how often the answer is right, by how sure it is."""
    confidence = run.answer.confidence if run.answer else []
    sure = np.asarray([each.probability for each in confidence])
    hit, rows = _labels(run) == right, []
    for low, high in pairwise(BINS):
        inside = (sure > low) & (sure <= high)
        if inside.any():
            rows.append(
                {
                    "from": low,
                    "to": high,
                    "images": int(inside.sum()),
                    "confidence": round(float(sure[inside].mean()), 4),
                    "accuracy": round(float(hit[inside].mean()), 4),
                }
            )
    return rows


def _rises(values: Sequence[float]) -> bool:
    return list(values) == sorted(values)

"""The whole scenario: all three models, then one that crashes, then two that fail."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pgflow import execute
from pgflow.errors import RunFailed

from . import models
from .audit import Ended, audit
from .chart import draw
from .flow import Sample, answer, ensemble

if TYPE_CHECKING:
    from pathlib import Path

CRASHES = "random_forest"
BROKEN = "nearest_neighbours"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the set-up made."""

    sample: Sample
    labels: list[int]
    """The right label of each held-out image; the flow never sees them."""
    trained_on: int
    broken: str
    """A folder like that of the sample, where one model's file is cut off in the middle."""


def prepare(out: Path, seed: int) -> Prepared:
    """Split the data set in two halves; train on one, hold the other out."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - the set-up only

    out = out.resolve()  # the models' processes are told whole paths
    folder, broken = out / "models", out / "models-one-broken"
    shutil.rmtree(broken, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    digits, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    train, held_out = np.array_split(order, 2)
    models.train(digits[train].astype(np.float32), labels[train], folder)
    shutil.copytree(folder, broken)
    whole = (broken / f"{BROKEN}.onnx").read_bytes()
    (broken / f"{BROKEN}.onnx").write_bytes(whole[: len(whole) // 2])
    sample = Sample(digits[held_out].astype(int).tolist(), str(folder))
    return Prepared(sample, labels[held_out].tolist(), len(train), str(broken))


def run(dsn: str, out: Path, *, seed: int, live: bool) -> dict[str, Any]:
    """Do all of it; return the facts, `checks` among them."""
    if live:
        print("Training three models.", flush=True)
    prepared = prepare(out, seed)
    sample = prepared.sample
    ended = [
        _run(dsn, live, "all three", sample),
        _run(dsn, live, f"{CRASHES} crashes", Sample(sample.images, sample.models, [CRASHES])),
        _run(
            dsn,
            live,
            f"{CRASHES} crashes, {BROKEN} is broken",
            Sample(sample.images, prepared.broken, [CRASHES]),
        ),
    ]
    facts = audit(dsn, prepared, ended)
    facts["picture"] = str(draw(out, facts))
    return facts


def _run(dsn: str, live: bool, what: str, sample: Sample) -> Ended:
    if live:
        print(f"\n{what}", flush=True)
    try:
        result = execute(ensemble, sample, dsn=dsn, live=live)
    except RunFailed as failure:
        return Ended(str(failure.run_id), None, failure)
    return Ended(str(result.run_id), result[answer], None)

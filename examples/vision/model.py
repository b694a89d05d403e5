"""The model: trained and exported to ONNX by the set-up, loaded once in each worker process."""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import psycopg
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Pixels = NDArray[np.float32]

EPOCHS = 40

_loading = Lock()


def probabilities(path: str, pixels: Sequence[int], dsn: str) -> list[float]:
    """Return a probability for each digit, by the model that this process has loaded."""
    with _loading:
        # Sync handlers run in threads; without the lock two of them would load it at the same time.
        model = _load(path, dsn)
    return [float(each) for each in ask(model, scaled([pixels]))[0]]


@cache
def _load(path: str, dsn: str) -> "InferenceSession":
    """Load the model, and leave a row that says so."""
    model = open_model(path)
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into vision_example.model_loads (pid) values (%s)", (os.getpid(),)
        )
    return model


def open_model(path: str) -> "InferenceSession":
    """Open an ONNX file; one thread, for the tasks are what runs in parallel."""
    import onnxruntime  # noqa: PLC0415 - workers only

    options = onnxruntime.SessionOptions()  # pyright: ignore[reportAttributeAccessIssue] - from C
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def ask(model: "InferenceSession", images: Pixels) -> NDArray[np.float64]:
    """Return the probabilities for each of some images."""
    (answer,) = model.run(["probabilities"], {"X": images})
    return np.asarray(answer, dtype=np.float64)


def scaled(images: Sequence[Sequence[int]]) -> Pixels:
    """Return pixels from 0 to 255 as the model takes them."""
    return np.asarray(images, dtype=np.float32) / np.float32(255)


def train(images: Pixels, labels: NDArray[np.int64], target: Path) -> float:
    """Train a small network, write it as ONNX; return the share of images on which both say the same."""
    from skl2onnx import to_onnx  # noqa: PLC0415 - the set-up only
    from sklearn.neural_network import MLPClassifier  # noqa: PLC0415

    network = MLPClassifier((64,), learning_rate_init=0.005, random_state=0)
    for _ in range(EPOCHS):
        network.partial_fit(images, labels, classes=range(10))
    exported = cast("Any", to_onnx(network, images[:1], options={"zipmap": False}))
    target.write_bytes(exported.SerializeToString())
    same = ask(open_model(str(target)), images).argmax(axis=1) == network.predict(images)
    return float(same.mean())

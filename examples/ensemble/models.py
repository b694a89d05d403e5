"""The models: three methods of scikit-learn, trained and exported to ONNX by the set-up, asked by the steps."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .flow import Sample

NAMES = ("logistic_regression", "random_forest", "nearest_neighbours")
DECIMALS = 6


def predict(name: str, sample: Sample) -> tuple[list[list[float]], int, float, float]:
    """Return the model's probabilities for each image, the id of the process that it ran in, and from when to when."""
    began = time.monotonic()
    if name in sample.crash:
        os.kill(os.getpid(), signal.SIGSEGV)  # as a fault in native code would
    answers = ask(Path(sample.models, f"{name}.onnx"), sample.images)
    rounded = [[round(float(each), DECIMALS) for each in answer] for answer in answers]
    return rounded, os.getpid(), began, time.monotonic()


def ask(path: Path, images: list[list[int]]) -> NDArray[np.float64]:
    """Return the probabilities that the model in an ONNX file gives."""
    import numpy as np  # noqa: PLC0415 - the model's own process
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()  # pyright: ignore[reportAttributeAccessIssue] - from C
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], {"X": np.asarray(images, dtype=np.float32)})
    return np.asarray(found, dtype=np.float64)


def train(images: NDArray[np.float32], labels: NDArray[np.int64], folder: Path) -> None:
    """Train the three, and write each as an ONNX file."""
    from skl2onnx import to_onnx  # noqa: PLC0415 - the set-up only
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.neighbors import KNeighborsClassifier  # noqa: PLC0415

    methods = (
        LogisticRegression(C=0.01, max_iter=1000),
        RandomForestClassifier(60, random_state=0),
        KNeighborsClassifier(5, weights="distance"),
    )
    for name, method in zip(NAMES, methods, strict=True):
        method.fit(images, labels)
        exported = cast("Any", to_onnx(method, images[:1], options={"zipmap": False}))
        (folder / f"{name}.onnx").write_bytes(exported.SerializeToString())

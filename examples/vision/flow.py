"""The flow: upload, then decode, infer and post-process each image on its own, then store all results at once.

An image is passed by its path: 100 PNG files as base64 would be copied into the output of `upload` and into the input
of every task. Its digit is passed by value, for it is 64 small numbers after `preprocess`.
"""

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pgflow import Flow, at_most, current_task

from .imaging import CorruptImage, annotate, decode, find_digit
from .model import probabilities

REVIEW_BELOW = 0.6
"""A prediction with less confidence is for a person to look at."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The run's input: paths that every worker can read."""

    images: str
    model: str
    annotated: str


@dataclass(frozen=True, slots=True)
class Digit:
    """What was found in an image: where, and its 8 x 8 pixels from 0 to 255, row by row."""

    path: str
    box: tuple[int, int, int, int]
    pixels: list[int]


@dataclass(frozen=True, slots=True)
class Scores:
    """What the model says: a probability for each digit from 0 to 9."""

    digit: Digit
    probabilities: list[float]
    pid: int
    """The worker process whose model it was."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The result for one image."""

    image: str
    label: int
    confidence: float
    second: int
    """The next best label."""
    needs_review: bool
    pid: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The run's result."""

    stored: int
    needs_review: int
    failed: list[str]
    """Images that could not be decoded."""


vision = Flow[Batch]("vision", max_attempts=3, base_delay=1, timeout=60)


@vision.step()
def upload(batch: Batch) -> list[str]:
    """Register the images; the rows commit together with this step."""
    task, paths = current_task(), sorted(Path(batch.images).glob("*.png"))
    with task.transaction() as connection:
        connection.cursor().executemany(
            "insert into vision_example.images (run_id, image, size, sha256) values (%s, %s, %s, %s)",
            [
                (task.run_id, path.name, path.stat().st_size, sha256(path.read_bytes()).digest())
                for path in paths
            ],
        )
    return [str(path) for path in paths]


@vision.map(over=upload, failure_policy=at_most(percent=1), non_retryable=(CorruptImage,))
def preprocess(path: str) -> Digit:
    """Decode an image and find its digit; a corrupt one fails at once, the others go on."""
    box, pixels = find_digit(decode(Path(path).read_bytes()))
    return Digit(path, box, pixels)


@vision.map(over=preprocess)
def infer(digit: Digit | None) -> Scores | None:
    """Ask the model; None stands where an image failed."""
    if digit is None:
        return None
    task = current_task()
    model = Batch(**task.run_input).model
    return Scores(digit, probabilities(model, digit.pixels, task.database.dsn), os.getpid())


@vision.map(over=infer)
def postprocess(scores: Scores | None) -> Prediction | None:
    """Choose the label, and write the image with its box and label."""
    if scores is None:
        return None
    second, label = sorted(range(10), key=scores.probabilities.__getitem__)[-2:]
    confidence = scores.probabilities[label]
    image = Path(scores.digit.path)
    review = confidence < REVIEW_BELOW
    marked = annotate(image.read_bytes(), scores.digit.box, f"{label}  {confidence:.0%}", review)
    Path(Batch(**current_task().run_input).annotated, image.name).write_bytes(marked)
    return Prediction(image.name, label, confidence, second, review, scores.pid)


@vision.step(depends_on=(upload, postprocess))
def store(paths: list[str], predictions: list[Prediction | None]) -> Summary:
    """Store all predictions in one transaction, which also completes this step."""
    task, known = current_task(), [each for each in predictions if each is not None]
    with task.transaction() as connection:
        connection.cursor().executemany(
            "insert into vision_example.predictions (run_id, image, label, confidence, needs_review)"
            " values (%s, %s, %s, %s, %s)"
            # A retry of what failed comes by here again.
            " on conflict (run_id, image) do update set (label, confidence, needs_review)"
            " = (excluded.label, excluded.confidence, excluded.needs_review)",
            [
                (task.run_id, each.image, each.label, each.confidence, each.needs_review)
                for each in known
            ],
        )
    return Summary(
        stored=len(known),
        needs_review=sum(each.needs_review for each in known),
        failed=[
            Path(path).name for path, each in zip(paths, predictions, strict=True) if each is None
        ],
    )

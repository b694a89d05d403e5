"""The flow: three models look at the same images, side by side; aggregate, vote, score the confidence, answer.

Each model works outside the worker, in a process of its own, so not even a crash of its native code touches the worker. A model that has
failed for good is skipped, and arrives in `aggregate` as None: there the quorum is counted.
"""

from collections import Counter
from dataclasses import dataclass, field
from statistics import fmean

from pgflow import Flow, NonRetryable

from .models import predict

QUORUM = 2
"""Models that must have answered."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The run's input: images of 8 x 8 pixels from 0 to 16, row by row, and the folder of the ONNX files."""

    images: list[list[int]]
    models: str
    crash: list[str] = field(default_factory=list)
    """Models whose process dies of a segmentation fault: the injected failure."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one model says: for each image a probability for each digit."""

    model: str
    probabilities: list[list[float]]
    pid: int
    began: float
    ended: float
    """By the machine's monotonic clock, which all its processes share."""


@dataclass(frozen=True, slots=True)
class Ballots:
    """What all models say, image by image."""

    models: list[str]
    missing: list[str]
    votes: list[list[int]]
    """For each image the label that each model prefers."""
    mean: list[list[float]]
    """For each image the mean probability of each label."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """How sure the ensemble is of one label."""

    share: float
    """Share of the votes."""
    probability: float
    """Mean of the probabilities that the models give it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The run's result."""

    models: list[str]
    missing: list[str]
    note: str
    labels: list[int]
    confidence: list[Confidence]


ensemble = Flow[Sample]("ensemble", max_attempts=2, base_delay=0, timeout=60)


@ensemble.step(isolation="process", when_exhausted="skip")
def logistic_regression(sample: Sample) -> Opinion:
    """Ask the linear model."""
    return Opinion("logistic_regression", *predict("logistic_regression", sample))


@ensemble.step(isolation="process", when_exhausted="skip")
def random_forest(sample: Sample) -> Opinion:
    """Ask the forest."""
    return Opinion("random_forest", *predict("random_forest", sample))


@ensemble.step(isolation="process", when_exhausted="skip")
def nearest_neighbours(sample: Sample) -> Opinion:
    """Ask the neighbours."""
    return Opinion("nearest_neighbours", *predict("nearest_neighbours", sample))


@ensemble.step(depends_on=(logistic_regression, random_forest, nearest_neighbours))
def aggregate(
    linear: Opinion | None, forest: Opinion | None, neighbours: Opinion | None
) -> Ballots:
    """Put the opinions together, image by image; refuse to go on without a quorum."""
    asked = {
        "logistic_regression": linear,
        "random_forest": forest,
        "nearest_neighbours": neighbours,
    }
    opinions = [opinion for opinion in asked.values() if opinion is not None]
    missing = [name for name, opinion in asked.items() if opinion is None]
    if len(opinions) < QUORUM:
        raise NonRetryable(
            f"no quorum: {len(opinions)} of {len(asked)} models answered, {QUORUM} must;"
            f" missing: {', '.join(missing)}"
        )
    by_image = list(zip(*(opinion.probabilities for opinion in opinions), strict=True))
    return Ballots(
        [opinion.model for opinion in opinions],
        missing,
        votes=[[each.index(max(each)) for each in image] for image in by_image],
        mean=[[fmean(label) for label in zip(*image, strict=True)] for image in by_image],
    )


@ensemble.step(depends_on=(aggregate,))
def vote(ballots: Ballots) -> list[int]:
    """Choose the label with the most votes; of equals the one with the higher mean probability."""
    return [
        max(Counter(votes).items(), key=lambda counted: (counted[1], mean[counted[0]]))[0]
        for votes, mean in zip(ballots.votes, ballots.mean, strict=True)
    ]


@ensemble.step(depends_on=(aggregate, vote))
def score_confidence(ballots: Ballots, labels: list[int]) -> list[Confidence]:
    """Say how sure each label is."""
    return [
        Confidence(votes.count(label) / len(votes), mean[label])
        for votes, mean, label in zip(ballots.votes, ballots.mean, labels, strict=True)
    ]


@ensemble.step(depends_on=(aggregate, vote, score_confidence))
def answer(ballots: Ballots, labels: list[int], confidence: list[Confidence]) -> Answer:
    """Return the labels, and who has voted."""
    note = f"{len(ballots.models)} of {len(ballots.models) + len(ballots.missing)} models voted"
    if ballots.missing:
        note += f"; missing: {', '.join(ballots.missing)}"
    return Answer(ballots.models, ballots.missing, note, labels, confidence)

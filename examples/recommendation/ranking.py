"""What is decided about candidates: how much a play counts, how good a track is, which ten go together."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

WEIGHTS = {"similar": 0.55, "taste": 0.35, "popular": 0.10}
HALF_LIFE = 180.0
"""Days after which a play counts half."""
PER_GENRE = 3
NOVELTY = 0.3
"""What a track loses for being like one that is chosen already, as a share of the best score."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A track, and what speaks for it."""

    track_id: int
    title: str
    genre: str
    popular: float
    """Plays of everybody, as a logarithm."""
    taste: float
    """Cosine of the angle to the listener's taste."""
    similar: float
    """Share of the similar listeners who play it."""


@dataclass(frozen=True, slots=True)
class Recommended:
    """A track with its score, and the parts that it is the sum of."""

    track_id: int
    title: str
    genre: str
    score: float
    parts: dict[str, float]


def weights(plays: Iterable[tuple[int, float]]) -> dict[int, float]:
    """Return how much each track counts, from (track, age in days) of each play; the tenth play adds less than the first."""
    sums: defaultdict[int, float] = defaultdict(float)
    for track, age in plays:
        sums[track] += 0.5 ** (age / HALF_LIFE)
    return {track: math.log1p(weight) for track, weight in sums.items()}


def rank(candidates: Sequence[Candidate]) -> list[Recommended]:
    """Score by the weighted sum of what speaks for a track, each brought to 0 to 1; the best first."""
    scaled = {name: _scaled([getattr(each, name) for each in candidates]) for name in WEIGHTS}
    scored = []
    for place, each in enumerate(candidates):
        parts = {name: weight * scaled[name][place] for name, weight in WEIGHTS.items()}
        score = sum(parts.values())
        scored.append(Recommended(each.track_id, each.title, each.genre, score, parts))
    return sorted(scored, key=lambda each: (-each.score, each.track_id))


def diversify(
    ranked: Sequence[Recommended], vectors: Mapping[int, Sequence[float]], count: int
) -> list[Recommended]:
    """Choose by maximal marginal relevance, with a limit for each genre; return the best first."""
    chosen: list[Recommended] = []
    genres: Counter[str] = Counter()
    likeness = {each.track_id: 0.0 for each in ranked}
    while len(chosen) < count:
        free = [
            each for each in ranked if each.track_id in likeness and genres[each.genre] < PER_GENRE
        ]
        if not free:
            break
        best = max(free, key=lambda each: each.score - NOVELTY * likeness[each.track_id])
        chosen.append(best)
        genres[best.genre] += 1
        del likeness[best.track_id]
        for track, most in likeness.items():
            likeness[track] = max(most, cosine(vectors[track], vectors[best.track_id]))
    return sorted(chosen, key=lambda each: -each.score)


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the cosine of the angle between two vectors."""
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / (math.hypot(*one) * math.hypot(*other))


def _scaled(values: Sequence[float]) -> list[float]:
    low, high = min(values, default=0.0), max(values, default=0.0)
    return [(value - low) / (high - low) if high > low else 0.0 for value in values]

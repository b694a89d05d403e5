"""The set-up's data: tracks in genres, listeners with latent tastes, and the vectors that a factorisation finds.

Everybody plays what is close to a taste that nobody sees. The factorisation sees the plays only; who signs up is
not among them. A part of what the newcomers like is held out, and tells how good the recommendations are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pgvector import Vector

from .store import INDEXES, SIZE, TABLES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .store import Connection

    Floats = NDArray[np.float64]

GENRES = (
    *("Ambient", "Blues", "Classical", "Disco", "Electro", "Folk"),
    *("Funk", "Hip-Hop", "Jazz", "Metal", "Reggae", "Soul"),
)
FIRST = """
    Amber Blue Bright Broken Clear Copper Crystal Dark Distant Early Electric Empty Endless Fading
    Golden Green Heavy Hidden Hollow Last Late Little Lonely Lost Northern Old Open Pale Paper Quiet
    Rising Rolling Secret Silent Silver Slow Small Soft Velvet Wild
"""
SECOND = """
    Avenue Bridge City Clouds Coast Echo Eyes Fields Fire Garden Harbour Heart Hills Home Horizon
    Lights Machine Mirror Moon Morning Mountain Night Ocean Rain Rhythm River Road Room Season
    Shadows Sky Snow Station Stone Street Summer Train Valley Water Wind
"""
TRACKS, LISTENERS, LISTENED = 1500, 4000, 40
LATENT = 16
FOCUS = 6.0
"""How closely listeners keep to their taste."""
WARM, COLD = 30, 30
"""Who signs up: so many with a history to import, and so many without."""
PICKS, LIKED, HELD_OUT = 5, 60, 30
MAIN = 1_000_000
"""The user id of the one with 10,000 plays; the others follow."""
MAIN_LIKED, MAIN_HELD_OUT, MAIN_PLAYS, PLAYS = 160, 40, 10_000, 300


@dataclass(frozen=True, slots=True)
class World:
    """Who signs up, and what they will like."""

    warm: list[int]
    cold: list[int]
    known: dict[int, list[int]]
    """Tracks that the flow may know about."""
    held_out: dict[int, set[int]]
    """Tracks that it may not; the answer to compare with."""


def build(connection: Connection, seed: int) -> World:
    """Make everything, and write it into tables of its own."""
    chance = np.random.default_rng(seed)
    centres = chance.normal(size=(len(GENRES), LATENT))
    genre = chance.integers(0, len(GENRES), TRACKS)
    tracks = _unit(centres[genre] + 0.6 * chance.normal(size=(TRACKS, LATENT)))
    fame = np.log(chance.pareto(1.5, TRACKS) + 0.2)
    connection.execute(TABLES)
    listens = _plays(chance, _tastes(chance, centres, LISTENERS), tracks, fame, LISTENED)
    titles = [f"{first} {second}" for first in FIRST.split() for second in SECOND.split()]
    names = [
        (titles[place], GENRES[genre[track]])
        for track, place in enumerate(chance.permutation(TRACKS))
    ]
    _write_catalogue(connection, names, listens)
    newcomers = _tastes(chance, centres, 1 + WARM + COLD)
    liked = _plays(chance, newcomers, tracks, fame, MAIN_LIKED)
    world = World([], [], {}, {})
    for place, tracks_liked in enumerate(liked):
        _sign_up(connection, chance, world, place, tracks_liked.tolist())
    connection.execute(INDEXES)
    return world


def factorise(listens: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return a vector for each track and for each listener, from who has played what.

    A truncated singular value decomposition; what everybody plays says little about a taste, so it weighs less.
    """
    from sklearn.decomposition import TruncatedSVD  # noqa: PLC0415 - the set-up only

    played = np.zeros((len(listens), TRACKS))
    np.put_along_axis(played, listens, 1, axis=1)
    rarity = np.log(len(listens) / (1 + played.sum(axis=0)))
    decomposition = TruncatedSVD(SIZE, random_state=0)
    tastes = np.asarray(decomposition.fit_transform(played * rarity))
    # A taste is the sum of these vectors over what is played: so it is for newcomers, too.
    return rarity[:, None] * np.transpose(np.asarray(decomposition.components_)), tastes


def _tastes(chance: np.random.Generator, centres: Floats, count: int) -> Floats:
    """Mix the genres: few of them for each listener, and something of their own."""
    mix = chance.dirichlet(np.full(len(GENRES), 0.15), count)
    return _unit(mix @ centres + 0.35 * chance.normal(size=(count, LATENT)))


def _plays(
    chance: np.random.Generator, tastes: Floats, tracks: Floats, fame: Floats, count: int
) -> NDArray[np.int64]:
    """Draw what each listener plays, without repeats (by Gumbel's trick), the most likely first."""
    appeal = FOCUS * tastes @ tracks.T + 0.7 * fame
    return np.argsort(-(appeal + chance.gumbel(size=appeal.shape)), axis=1)[:, :count]


def _sign_up(
    connection: Connection, chance: np.random.Generator, world: World, place: int, liked: list[int]
) -> None:
    user_id, is_main, is_warm = MAIN + place, place == 0, place <= WARM
    if not is_main:
        liked = liked[:LIKED]
    picks = liked[:PICKS]
    rest = chance.permutation(liked[PICKS:]).tolist()
    held_out = MAIN_HELD_OUT if is_main else HELD_OUT
    world.held_out[user_id] = set(rest[:held_out])
    played = [*picks, *rest[held_out:]]
    world.known[user_id] = played if is_warm else picks
    (world.warm if is_warm else world.cold).append(user_id)
    connection.execute(
        "insert into recommendation.sign_ups values (%s, %s, %s)",
        (user_id, f"Listener {place + 1}", picks),
    )
    if is_warm:
        often = chance.zipf(1.6, len(played)).clip(max=60).astype(float)
        count = MAIN_PLAYS if is_main else PLAYS
        plays = [*played, *chance.choice(played, count - len(played), p=often / often.sum())]
        ages = chance.exponential(300, count)
        with connection.cursor().copy("copy recommendation.history from stdin") as copy:
            for track, age in zip(plays, ages, strict=True):
                copy.write_row((user_id, int(track), float(age)))


def _write_catalogue(
    connection: Connection, names: list[tuple[str, str]], listens: NDArray[np.int64]
) -> None:
    vectors, tastes = factorise(listens)
    plays = np.bincount(listens.ravel(), minlength=TRACKS)
    cursor = connection.cursor()
    with cursor.copy("copy recommendation.tracks from stdin") as copy:
        for track, (title, genre) in enumerate(names):
            copy.write_row((track, title, genre, int(plays[track]), Vector(vectors[track])))
    with cursor.copy("copy recommendation.listeners from stdin") as copy:
        for user, taste in enumerate(tastes):
            copy.write_row((user, Vector(taste)))
    with cursor.copy("copy recommendation.listens from stdin") as copy:
        for user, played in enumerate(listens.tolist()):
            for track in played:
                copy.write_row((user, track))


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

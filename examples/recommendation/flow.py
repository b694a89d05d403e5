"""The flow: profile, then history and similar listeners side by side, then aggregate, rank, diversify, store ten."""

from dataclasses import dataclass
from typing import Any

import psycopg

from pgflow import Flow, current_task

from . import ranking, store
from .ranking import Candidate, Recommended

NEIGHBOURS = 50
NEAREST = 3 * NEIGHBOURS
"""Tracks that a search proposes; no more than store.EFFORT."""
TOP = 10


@dataclass(frozen=True, slots=True)
class SignUp:
    """The run's input."""

    user_id: int
    lose_connection: bool = False
    """Have the first search for similar listeners lose its connection: the injected failure."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Who signed up, and a taste made of the few tracks that were picked on the way."""

    user_id: int
    name: str
    picks: list[int]
    taste: list[float]
    has_history: bool


@dataclass(frozen=True, slots=True)
class History:
    """What the imported plays say."""

    plays: int
    known: list[int]
    """Tracks that have been played: no recommendations."""
    taste: list[float]
    nearest: list[int]
    """Tracks that are close to that taste."""


recommendation = Flow[SignUp]("recommendation", max_attempts=3, base_delay=1, timeout=30)


def _connect() -> psycopg.Connection[tuple[Any, ...]]:
    """Open a connection to the worker's database, wherever it has the address from."""
    return store.connect(current_task().database.dsn)


@recommendation.step()
def fetch_profile(sign_up: SignUp) -> Profile:
    """Read the profile."""
    with _connect() as connection:
        name, picks, has_history = store.profile(connection, sign_up.user_id)
        taste = store.taste_of(connection, dict.fromkeys(picks, 1.0))
    return Profile(sign_up.user_id, name, picks, taste, has_history)


@recommendation.step(depends_on=(fetch_profile,), if_={"fetch_profile": {"has_history": True}})
def read_history(profile: Profile) -> History:
    """Read all imported plays; skipped for somebody who has none (a cold start)."""
    with _connect() as connection:
        plays = store.history(connection, profile.user_id)
        taste = store.taste_of(connection, ranking.weights(plays))
        nearest = store.nearest_tracks(connection, taste, NEAREST)
    known = sorted({track for track, _ in plays})
    return History(len(plays), known, taste, nearest)


@recommendation.step(depends_on=(fetch_profile,))
def find_similar_users(profile: Profile) -> dict[str, float]:
    """Search the nearest listeners by vector; return the tracks that they play, with their share."""
    task = current_task()
    with _connect() as connection:
        if SignUp(**task.run_input).lose_connection and task.attempt == 1:
            connection.execute("select pg_terminate_backend(pg_backend_pid())")
        if not profile.taste:  # nothing was picked: nobody is more alike than others
            return {}
        neighbours = store.nearest_listeners(connection, profile.taste, NEIGHBOURS)
        return store.tracks_of(connection, neighbours)


@recommendation.step(depends_on=(fetch_profile, read_history, find_similar_users))
def aggregate(
    profile: Profile, history: History | None, similar: dict[str, float]
) -> list[Candidate]:
    """Put both sources together, without what is known already; who has neither gets what is popular."""
    known = {*profile.picks, *(history.known if history else [])}
    found = {int(track) for track in similar} | set(history.nearest if history else [])
    taste = history.taste if history else profile.taste
    with _connect() as connection:
        ids = sorted(found - known) or store.popular_tracks(connection, sorted(known), NEAREST)
        return [
            Candidate(*track, similar=similar.get(str(track.track_id), 0.0))
            for track in store.tracks(connection, ids, taste)
        ]


@recommendation.step(depends_on=(aggregate,))
def rank(candidates: list[Candidate]) -> list[Recommended]:
    """Score the candidates, the best first."""
    return ranking.rank(candidates)


@recommendation.step(depends_on=(rank,))
def diversify(ranked: list[Recommended]) -> list[Recommended]:
    """Choose ten that differ: no more than three of a genre, and no near copies."""
    with _connect() as connection:
        vectors = store.vectors(connection, [each.track_id for each in ranked])
    return ranking.diversify(ranked, vectors, TOP)


@recommendation.step(depends_on=(fetch_profile, diversify))
def top_10(profile: Profile, chosen: list[Recommended]) -> list[Recommended]:
    """Store the ten, in the transaction that also completes this step."""
    task = current_task()
    with task.transaction() as connection:
        connection.cursor().executemany(
            "insert into recommendation.shown (run_id, position, user_id, track_id, score)"
            " values (%s, %s, %s, %s, %s)",
            [
                (task.run_id, position, profile.user_id, each.track_id, each.score)
                for position, each in enumerate(chosen, start=1)
            ],
        )
    return chosen

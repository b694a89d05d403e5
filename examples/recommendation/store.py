"""The data in PostgreSQL: tracks and listeners with their vectors, and every query of the flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Connection = psycopg.Connection[tuple[Any, ...]]

SIZE = 32
"""Dimensions of the vectors."""
EFFORT = 200
"""Of the index search: how many entries it keeps in view, and the most that it returns; more find more, and take longer."""

TABLES = """
drop schema if exists recommendation cascade;
create schema recommendation;
create table recommendation.tracks (
  track_id int primary key, title text not null, genre text not null, plays int not null,
  -- What the track adds to the taste of who plays it.
  embedding vector(32) not null
);
create table recommendation.listeners (user_id int primary key, embedding vector(32) not null);
create table recommendation.listens (user_id int, track_id int, primary key (user_id, track_id));
create table recommendation.sign_ups (user_id int primary key, name text not null, picks int[] not null);
create table recommendation.history (
  user_id int not null, track_id int not null, age_days real not null
);
create table recommendation.shown (
  run_id uuid, position int, user_id int not null, track_id int not null, score float not null,
  primary key (run_id, position)
);
"""
INDEXES = """
create index listeners_nearest on recommendation.listeners using hnsw (embedding vector_cosine_ops);
create index tracks_nearest on recommendation.tracks using hnsw (embedding vector_cosine_ops);
create index history_of_user on recommendation.history (user_id);
analyze recommendation.tracks, recommendation.listeners, recommendation.listens, recommendation.history;
"""
NEAREST_LISTENERS = """
select user_id from recommendation.listeners order by embedding <=> %s limit %s
"""


class Track(NamedTuple):
    """A track as a listener's taste sees it; see ranking.Candidate."""

    track_id: int
    title: str
    genre: str
    popular: float
    taste: float


def connect(dsn: str) -> Connection:
    """Open a connection that knows vectors."""
    connection = psycopg.connect(dsn, autocommit=True)
    register_vector(connection)
    connection.execute("select set_config('hnsw.ef_search', %s, false)", (str(EFFORT),))
    return connection


def profile(connection: Connection, user_id: int) -> tuple[str, list[int], bool]:
    """Return the name, the picked tracks, and whether there is a history."""
    query = """
        select name, picks, exists (select from recommendation.history as h where h.user_id = s.user_id)
        from recommendation.sign_ups as s where user_id = %s
    """
    row = connection.execute(query, (user_id,)).fetchone()
    if row is None:
        raise LookupError(f"nobody has signed up as {user_id}")
    name, picks, has_history = row
    return name, picks, has_history


def history(connection: Connection, user_id: int) -> list[tuple[int, float]]:
    """Return the track and the age in days of each play."""
    query = "select track_id, age_days from recommendation.history where user_id = %s"
    return [(track, age) for track, age in connection.execute(query, (user_id,))]


def taste_of(connection: Connection, weights: Mapping[int, float]) -> list[float]:
    """Return the weighted sum of what the tracks add to a taste; nothing says nothing of it."""
    added = vectors(connection, list(weights))
    weighted = [[weights[track] * value for value in vector] for track, vector in added.items()]
    return [sum(values) for values in zip(*weighted, strict=True)]


def vectors(connection: Connection, tracks: Sequence[int]) -> dict[int, list[float]]:
    """Return the vectors of some tracks."""
    query = """
        select track_id, embedding::real[] from recommendation.tracks where track_id = any(%s)
    """
    return dict(connection.execute(query, (list(tracks),)).fetchall())


def nearest_tracks(connection: Connection, taste: list[float], count: int) -> list[int]:
    """Return the tracks whose vectors are closest to a taste."""
    query = "select track_id from recommendation.tracks order by embedding <=> %s limit %s"
    return [track for (track,) in connection.execute(query, (Vector(taste), count))]


def popular_tracks(connection: Connection, known: Sequence[int], count: int) -> list[int]:
    """Return the tracks that are played most, but for those that are known."""
    query = """
        select track_id from recommendation.tracks where not track_id = any(%s)
        order by plays desc, track_id limit %s
    """
    return [track for (track,) in connection.execute(query, (list(known), count))]


def nearest_listeners(connection: Connection, taste: list[float], count: int) -> list[int]:
    """Return the listeners whose vectors are closest to a taste, the closest first."""
    return [user for (user,) in connection.execute(NEAREST_LISTENERS, (Vector(taste), count))]


def tracks_of(connection: Connection, users: Sequence[int]) -> dict[str, float]:
    """Return the tracks of some listeners, with the share of them who play it."""
    query = """
        select track_id, count(*)::float / %s from recommendation.listens
        where user_id = any(%s) group by track_id
    """
    rows = connection.execute(query, (len(users), list(users)))
    return {str(track): share for track, share in rows}


def tracks(connection: Connection, ids: Sequence[int], taste: list[float]) -> list[Track]:
    """Return some tracks as a taste sees them; without one, all are as close."""
    query = """
        select track_id, title, genre, ln(1 + plays), coalesce(1 - (embedding <=> %s::vector), 0)
        from recommendation.tracks where track_id = any(%s)
    """
    rows = connection.execute(query, (Vector(taste) if taste else None, list(ids)))
    return [Track(*row) for row in rows]

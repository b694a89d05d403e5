"""The proof: the search against brute force, the ten against what was held out, and what the engine has recorded."""

from __future__ import annotations

from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from pgvector import Vector

from . import ranking
from .data import MAIN, MAIN_PLAYS
from .flow import NEAREST, NEIGHBOURS, TOP
from .store import NEAREST_LISTENERS, connect, nearest_listeners, nearest_tracks, vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .data import World
    from .store import Connection

QUERIES = 200
RECALL = 0.95
"""The least share of the true neighbours that the index has to find."""

ATTEMPTS = """
select step_slug, attempt, outcome, coalesce(error, ''), started_at, ended_at
from pgflow.task_attempts where run_id = %s
"""
SHOWN = """
select run_id::text, user_id, array_agg(track_id order by position)
from recommendation.shown where run_id = any(%s) group by run_id, user_id
"""
OUTPUT = """
select task.output from pgflow.step_tasks as task where run_id = %s and step_slug = %s
"""
SKIPPED = """
select count(*) from pgflow.step_summary
where run_id = any(%s) and step_slug = 'read_history' and status = 'skipped'
"""
OVERLAPS = """
select count(distinct one.run_id)
from pgflow.task_attempts as one join pgflow.task_attempts as other using (run_id)
where run_id = any(%s) and one.step_slug = 'read_history' and other.step_slug = 'find_similar_users'
  and one.started_at < other.ended_at and other.started_at < one.ended_at
"""


def audit(dsn: str, watched: str, others: list[str], world: World) -> dict[str, Any]:
    """Return the facts, with all claims about them and whether they hold."""
    runs = [watched, *others]
    with connect(dsn) as connection:
        shown = {user: tracks for _, user, tracks in connection.execute(SHOWN, (runs,))}
        attempts = connection.execute(ATTEMPTS, (watched,)).fetchall()
        overlaps = _one(connection, OVERLAPS, (runs,))
        overlaps_watched = _one(connection, OVERLAPS, ([watched],))
        skipped = _one(connection, SKIPPED, (runs,))
        history = _one(connection, OUTPUT, (watched, "read_history"))
        ten = _one(connection, OUTPUT, (watched, "top_10"))
        before = {
            user: _best_ranked(connection, run)
            for run, user, _ in connection.execute(SHOWN, (runs,))
        }
        listeners: dict[int, list[float]] = dict(
            connection.execute(
                "select user_id, embedding::real[] from recommendation.listeners order by user_id"
            ).fetchall()
        )
        queries = _between(listeners)
        recall = _recall(connection, listeners, queries, nearest_listeners, NEIGHBOURS)
        index_used = _uses_index(connection, queries[0])
        popular = [
            track
            for (track,) in connection.execute(
                "select track_id from recommendation.tracks order by plays desc, track_id"
            )
        ]
        tracks: dict[int, str] = dict(
            connection.execute("select track_id, genre from recommendation.tracks").fetchall()
        )
        space = vectors(connection, list(tracks))
        track_recall = _recall(connection, space, queries, nearest_tracks, NEAREST)
    baseline = {user: _baseline(popular, world.known[user]) for user in shown}
    quality = {
        name: {
            "hit_rate": _hit_rate(shown, world, users),
            "popularity_hit_rate": _hit_rate(baseline, world, users),
            "precision": _precision(shown, world, users),
            "popularity_precision": _precision(baseline, world, users),
        }
        for name, users in (("with history", world.warm), ("cold start", world.cold))
    }
    diversity = {user: _diversity(space, tens) for user, tens in shown.items()}
    undiversified = {user: _diversity(space, tens) for user, tens in before.items()}
    most = max(
        [tracks[each] for each in tens].count(genre)
        for tens in shown.values()
        for genre in set(tracks.values())
    )
    search = sorted(attempt for attempt in attempts if attempt[0] == "find_similar_users")
    return {
        "run_id": watched,
        "runs": len(runs),
        "history_items": history["plays"],
        "top_10": ten,
        "quality": quality,
        "recall": round(recall, 4),
        "track_recall": round(track_recall, 4),
        "recall_queries": QUERIES,
        "neighbours": NEIGHBOURS,
        "diversity": round(fmean(diversity.values()), 4),
        "diversity_before": round(fmean(undiversified.values()), 4),
        "most_of_a_genre": most,
        "cold_starts": skipped,
        "overlapping_branches": overlaps,
        "lost_connection": search[0][3].strip().splitlines()[0],
        "checks": {
            f"{MAIN_PLAYS:,} plays of history were read": history["plays"] == MAIN_PLAYS,
            "history and similar listeners were begun together": overlaps_watched == 1,
            "the search that lost its connection was tried again, and only it": [
                (attempt, "terminating connection" in error) for _, attempt, _, error, *_ in search
            ]
            == [(1, True), (2, False)]
            and all(attempt[1] == 1 for attempt in attempts if attempt[0] != "find_similar_users"),
            "the index was used": index_used,
            f"it finds at least {RECALL:.0%} of the {NEIGHBOURS} nearest": recall >= RECALL,
            f"and of the {NEAREST} nearest tracks": track_recall >= RECALL,
            "everybody was shown ten tracks, none that they know": set(shown)
            == {*world.warm, *world.cold}
            and all(
                len(set(tens)) == TOP and not set(tens) & set(world.known[user])
                for user, tens in shown.items()
            ),
            f"at most {ranking.PER_GENRE} of a genre": most <= ranking.PER_GENRE,
            "the ten differ more than the ten best would": fmean(diversity.values())
            > fmean(undiversified.values())
            and diversity[MAIN] > undiversified[MAIN],
            "no history is no obstacle: the step is skipped": skipped == len(world.cold),
            **{
                f"{name}: better than what is popular": each["precision"]
                > each["popularity_precision"]
                and each["hit_rate"] >= each["popularity_hit_rate"]
                for name, each in quality.items()
            },
        },
    }


def _one(connection: Connection, query: str, parameters: tuple[Any, ...]) -> Any:
    row = connection.execute(query.encode(), parameters).fetchone()
    return None if row is None else row[0]


def _best_ranked(connection: Connection, run: str) -> list[int]:
    """Return the ten that the ranking alone would show."""
    return [each["track_id"] for each in _one(connection, OUTPUT, (run, "rank"))[:TOP]]


def _between(listeners: Mapping[int, Sequence[float]]) -> list[list[float]]:
    """Return tastes that are not in the table: each between those of two listeners."""
    unit = _unit(listeners)
    tastes: list[list[float]] = ((unit[:QUERIES] + unit[QUERIES : 2 * QUERIES]) / 2).tolist()
    return tastes


def _recall(
    connection: Connection,
    entries: Mapping[int, Sequence[float]],
    queries: Sequence[list[float]],
    search: Callable[[Connection, list[float], int], list[int]],
    count: int,
) -> float:
    """Compare a search of the flow with brute force; return the share of the nearest that it finds."""
    ids, unit = list(entries), _unit(entries)
    found = []
    for query in queries:
        exact = {ids[place] for place in np.argsort(-(unit @ np.asarray(query)))[:count]}
        found.append(len(exact & set(search(connection, query, count))) / count)
    return fmean(found)


def _unit(entries: Mapping[int, Sequence[float]]) -> Any:
    matrix = np.asarray([*entries.values()])
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def _uses_index(connection: Connection, query: list[float]) -> bool:
    plan = connection.execute(
        b"explain " + NEAREST_LISTENERS.encode(), (Vector(query), NEIGHBOURS)
    ).fetchall()
    return "listeners_nearest" in str(plan)


def _baseline(popular: Sequence[int], known: Sequence[int]) -> list[int]:
    return [track for track in popular if track not in set(known)][:TOP]


def _hit_rate(tens: Mapping[int, Sequence[int]], world: World, users: Sequence[int]) -> float:
    """Share of the listeners who like at least one of their ten."""
    return round(fmean(bool(world.held_out[user] & set(tens[user])) for user in users), 4)


def _precision(tens: Mapping[int, Sequence[int]], world: World, users: Sequence[int]) -> float:
    """Share of the tracks that are liked."""
    return round(fmean(len(world.held_out[user] & set(tens[user])) / TOP for user in users), 4)


def _diversity(space: Mapping[int, Sequence[float]], tracks: Sequence[int]) -> float:
    """Mean of 1 - cosine over all pairs of a list."""
    return fmean(1 - ranking.cosine(space[a], space[b]) for a, b in combinations(tracks, 2))

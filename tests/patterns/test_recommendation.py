"""The recommendation pattern: two branches side by side, ten tracks that fit and differ."""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
import psycopg
import pytest

from examples.recommendation import data, flow, ranking, store
from examples.recommendation.ranking import Candidate, Recommended
from examples.recommendation.scenario import recommend
from pgflow import Client, Database, Run, execute_async
from tests.support.patterns import ROOT, run_pattern

if TYPE_CHECKING:
    from pathlib import Path

WATCHED = 1_000_000


@pytest.mark.slow
def test_ten_tracks_for_everybody_who_signs_up(database_url: str, tmp_path: Path) -> None:
    facts = run_pattern("recommendation", database_url, tmp_path)
    assert all(facts["checks"].values()), facts["checks"]
    assert facts["runs"] == 61
    assert facts["history_items"] == 10_000
    assert facts["recall"] >= 0.95
    for each in facts["quality"].values():
        assert each["precision"] > each["popularity_precision"]
    assert facts["track_recall"] >= 0.95
    with store.connect(database_url) as connection:
        assert_the_branches_overlapped(connection, facts["run_id"])
        assert_the_ten_differ(connection)
        assert_nobody_is_shown_what_they_know(connection)
        assert_the_index_finds_what_is_near(connection)
    assert ET.parse(tmp_path / "picture.svg").getroot().tag.endswith("svg")


def assert_the_branches_overlapped(connection: psycopg.Connection[Any], run: str) -> None:
    attempts = connection.execute(
        "select step_slug, attempt, started_at, ended_at, error from pgflow.task_attempts"
        " where run_id = %s order by step_slug, attempt",
        (run,),
    ).fetchall()
    (history,) = [each for each in attempts if each[0] == "read_history"]
    lost, again = [each for each in attempts if each[0] == "find_similar_users"]
    assert lost[2] < history[3]
    assert history[2] < lost[3]
    assert "terminating connection due to administrator command" in lost[4]
    assert again[4] is None
    assert again[2] > lost[3]
    (merged,) = [each for each in attempts if each[0] == "aggregate"]
    assert merged[2] >= max(history[3], again[3])


def assert_the_ten_differ(connection: psycopg.Connection[Any]) -> None:
    shown = connection.execute(
        "select run_id, genre from recommendation.shown join recommendation.tracks using (track_id)"
    ).fetchall()
    assert len(shown) == 610
    assert max(Counter(shown).values()) == 3, "the limit is reached, and not passed"


def assert_nobody_is_shown_what_they_know(connection: psycopg.Connection[Any]) -> None:
    query = """
        select count(*) from recommendation.shown as shown
        where exists (
          select from recommendation.history as played
          where (played.user_id, played.track_id) = (shown.user_id, shown.track_id)
        ) or track_id = any(
          (select picks from recommendation.sign_ups as s where s.user_id = shown.user_id)::int[]
        )
    """
    assert connection.execute(query).fetchone() == (0,)
    plays = connection.execute(
        "select count(*) from recommendation.history where user_id = %s", (WATCHED,)
    )
    assert plays.fetchone() == (10_000,)


def assert_the_index_finds_what_is_near(connection: psycopg.Connection[Any]) -> None:
    """Compare it with the server's own sequential scan; an effort below the limit returns fewer than were asked for."""
    tastes = [
        np.asarray(taste) + 0.1
        for (taste,) in connection.execute(
            "select embedding::real[] from recommendation.listeners order by user_id limit 40"
        )
    ]
    shares = []
    for taste in tastes:
        connection.execute("set enable_indexscan = off")
        exact = store.nearest_listeners(connection, taste.tolist(), flow.NEIGHBOURS)
        connection.execute("set enable_indexscan = on")
        found = store.nearest_listeners(connection, taste.tolist(), flow.NEIGHBOURS)
        shares.append(len(set(exact) & set(found)) / flow.NEIGHBOURS)
    assert np.mean(shares) >= 0.95
    assert store.EFFORT >= flow.NEAREST > flow.NEIGHBOURS
    connection.execute("set hnsw.ef_search = 10")
    assert len(store.nearest_listeners(connection, tastes[0].tolist(), flow.NEIGHBOURS)) == 10


@pytest.mark.parametrize("picks", [[], [3]])
async def test_who_has_nothing_gets_what_is_popular(
    picks: list[int], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGFLOW_DSN", "host=/nowhere")  # handlers find the database by their task
    with psycopg.connect(database_url) as connection:
        connection.execute("create extension vector")
        connection.execute(store.TABLES)
        connection.execute(
            "insert into recommendation.tracks"
            " select n, 'Track ' || n, 'Genre ' || n % 6, 100 - n,"
            " array_fill(1 + n, array[32])::vector from generate_series(1, 30) as n"
        )
        connection.execute("insert into recommendation.sign_ups values (1, 'Ada', %s)", (picks,))
    result = await execute_async(flow.recommendation, flow.SignUp(1), dsn=database_url, timeout=60)
    ten = {each.track_id for each in result[flow.top_10]}
    assert ten == {*range(1, 11)} - {*picks} | ({11} if picks else set())


async def test_an_interruption_leaves_no_run(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def wait(_run: Run) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Run, "wait", wait)
    world = data.World(warm=[], cold=[], known={}, held_out={})
    async with Database.connect(database_url) as database:
        recommending = asyncio.create_task(recommend(Client(database), world, live=False))
        await begun.wait()
        recommending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await recommending
    with psycopg.connect(database_url) as connection:
        left = connection.execute("select status from pgflow.runs").fetchall()
    assert left == [("cancelled",)]


def candidate(track_id: int, *, genre: str = "Jazz", similar: float = 0.0) -> Candidate:
    return Candidate(track_id, f"Track {track_id}", genre, 1.0, 0.5, similar)


def recommended(track_id: int, genre: str, score: float) -> Recommended:
    return Recommended(track_id, f"Track {track_id}", genre, score, {})


def test_a_play_counts_half_after_half_a_year_and_the_tenth_less_than_the_first() -> None:
    found = ranking.weights([(1, 0.0), (2, 180.0), *[(3, 0.0)] * 10])
    assert found[1] == pytest.approx(math.log(2))
    assert found[2] == pytest.approx(math.log(1.5))
    assert found[1] < found[3] < 10 * found[1]


def test_the_rank_is_the_weighted_sum_of_what_tells_tracks_apart() -> None:
    ranked = ranking.rank([candidate(1), candidate(2, similar=1.0), candidate(3, similar=0.5)])
    assert [each.track_id for each in ranked] == [2, 3, 1]
    assert [each.score for each in ranked] == pytest.approx([0.55, 0.275, 0.0])
    assert all(each.score == pytest.approx(sum(each.parts.values())) for each in ranked)
    assert ranking.rank([]) == []


def test_no_more_than_three_of_a_genre_are_chosen() -> None:
    ranked = [recommended(n, "Jazz" if n < 8 else "Folk", 1 - n / 20) for n in range(12)]
    vectors = {n: [math.cos(n), math.sin(n)] for n in range(12)}
    chosen = ranking.diversify(ranked, vectors, 6)
    assert Counter(each.genre for each in chosen) == {"Jazz": 3, "Folk": 3}
    assert len(ranking.diversify(ranked, vectors, 10)) == 6, "there are no more"


def test_a_near_copy_waits_for_its_turn() -> None:
    ranked = [
        recommended(1, "Jazz", 0.9),
        recommended(2, "Jazz", 0.85),
        recommended(3, "Folk", 0.7),
    ]
    vectors = {1: [1.0, 0.0], 2: [1.0, 0.01], 3: [0.0, 1.0]}
    assert [each.track_id for each in ranking.diversify(ranked, vectors, 2)] == [1, 3]


def test_the_page_shows_what_runs() -> None:
    page = (ROOT / "docs" / "patterns" / "recommendation.md").read_text()
    assert f"```mermaid\n{flow.recommendation.mermaid().strip()}\n```" in page
    excerpts = re.findall(r"an excerpt of (\S+) -->\n```python\n(.*?)```", page, re.DOTALL)
    assert len(excerpts) == page.count("an excerpt of")
    for module, excerpt in excerpts:
        assert excerpt in (ROOT / module).read_text(), module

"""The ensemble pattern: three models vote, one crashes, two fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import psycopg
import pytest

from examples.ensemble import flow
from examples.ensemble.audit import side_by_side
from examples.ensemble.flow import Ballots, Confidence, Opinion
from pgflow import NonRetryable
from tests.support.patterns import ROOT, run_pattern

if TYPE_CHECKING:
    from pathlib import Path

MODELS = ["logistic_regression", "random_forest", "nearest_neighbours"]


@pytest.mark.slow
def test_the_vote_goes_on_with_two_and_stops_with_one(database_url: str, tmp_path: Path) -> None:
    facts = run_pattern("ensemble", database_url, tmp_path)
    assert all(facts["checks"].values()), facts["checks"]
    mean = sum(facts["accuracy"].values()) / 3
    assert 0.9 < mean <= facts["ensemble"] <= 1
    with psycopg.connect(database_url) as connection:
        assert_all_three_voted(connection, facts["runs"][0], facts["held_out"])
        assert_one_was_skipped(connection, facts["runs"][1])
        assert_there_was_no_quorum(connection, facts["runs"][2])
    root = ET.parse(tmp_path / "picture.svg").getroot()
    assert root.tag.endswith("svg")


def outputs(connection: psycopg.Connection[Any], run: str) -> dict[str, Any]:
    rows = connection.execute(
        "select step_slug, output from pgflow.step_tasks where run_id = %s and status = 'completed'",
        (run,),
    )
    return dict(rows.fetchall())


def assert_all_three_voted(connection: psycopg.Connection[Any], run: str, held_out: int) -> None:
    found = outputs(connection, run)
    assert len({found[name]["pid"] for name in MODELS}) >= 2, "at least two processes worked"
    answer = found["answer"]
    assert answer["models"] == MODELS
    assert answer["missing"] == []
    assert len(answer["labels"]) == held_out
    chosen = [[row.index(max(row)) for row in found[name]["probabilities"]] for name in MODELS]
    disputed = 0
    for place, label in enumerate(answer["labels"]):
        votes = [labels[place] for labels in chosen]
        disputed += len(set(votes)) > 1
        assert votes.count(label) == max(votes.count(each) for each in votes)
        share = answer["confidence"][place]["share"]
        assert share == pytest.approx(votes.count(label) / 3)
    assert 0 < disputed < held_out / 4


def assert_one_was_skipped(connection: psycopg.Connection[Any], run: str) -> None:
    attempts = connection.execute(
        "select attempt, error from pgflow.task_attempts"
        " where run_id = %s and step_slug = 'random_forest' order by attempt",
        (run,),
    ).fetchall()
    assert [attempt for attempt, _ in attempts] == [1, 2]
    assert all("killed by SIGSEGV" in error for _, error in attempts)
    statuses = dict(
        connection.execute(
            "select step_slug, status from pgflow.step_summary where run_id = %s", (run,)
        ).fetchall()
    )
    assert statuses.pop("random_forest") == "skipped"
    assert set(statuses.values()) == {"completed"}
    answer = outputs(connection, run)["answer"]
    assert answer["missing"] == ["random_forest"]
    assert answer["note"] == "2 of 3 models voted; missing: random_forest"
    assert {each["share"] for each in answer["confidence"]} == {0.5, 1.0}


def assert_there_was_no_quorum(connection: psycopg.Connection[Any], run: str) -> None:
    summary = connection.execute(
        "select status, error_message from pgflow.run_summary where run_id = %s", (run,)
    ).fetchone()
    assert summary is not None
    status, error = summary
    assert status == "failed"
    assert "no quorum: 1 of 3 models answered, 2 must" in error
    assert "missing: random_forest, nearest_neighbours" in error
    assert set(outputs(connection, run)) == {"logistic_regression"}
    broken = connection.execute(
        "select error from pgflow.task_attempts"
        " where run_id = %s and step_slug = 'nearest_neighbours' order by attempt",
        (run,),
    ).fetchall()
    assert len(broken) == 2
    assert all("nearest_neighbours.onnx" in error for (error,) in broken), "the file is named"


def opinion(model: str, *probabilities: list[float]) -> Opinion:
    return Opinion(model, list(probabilities), 1, 0.0, 1.0)


def test_the_majority_wins_and_of_equals_the_more_probable_one() -> None:
    ballots = flow.aggregate(
        opinion("logistic_regression", [0.6, 0.4, 0.0], [0.9, 0.1, 0.0], [0.5, 0.2, 0.3]),
        opinion("random_forest", [0.6, 0.4, 0.0], [0.0, 1.0, 0.0], [0.2, 0.5, 0.3]),
        opinion("nearest_neighbours", [0.0, 1.0, 0.0], [0.2, 0.1, 0.7], [0.1, 0.3, 0.6]),
    )
    assert ballots.votes == [[0, 0, 1], [0, 1, 2], [0, 1, 2]]
    # Two votes of three beat a higher mean probability; between one vote each the mean decides.
    labels = flow.vote(ballots)
    assert labels == [0, 1, 2]
    confidence = flow.score_confidence(ballots, labels)
    assert [each.share for each in confidence] == pytest.approx([2 / 3, 1 / 3, 1 / 3])
    assert [each.probability for each in confidence] == pytest.approx([0.4, 0.4, 0.4])


def test_two_are_a_quorum() -> None:
    one = opinion("logistic_regression", [0.1, 0.9])
    other = opinion("nearest_neighbours", [0.6, 0.4])
    ballots = flow.aggregate(one, None, other)
    assert ballots.missing == ["random_forest"]
    assert flow.vote(ballots) == [1]
    answer = flow.answer(ballots, [1], [Confidence(0.5, 0.65)])
    assert answer.note == "2 of 3 models voted; missing: random_forest"


@pytest.mark.parametrize("answered", [0, 1])
def test_fewer_are_refused(answered: int) -> None:
    opinions = [opinion("logistic_regression", [1.0])] * answered + [None] * (3 - answered)
    with pytest.raises(NonRetryable, match=f"no quorum: {answered} of 3"):
        flow.aggregate(*opinions)


def test_models_that_wait_for_each_other_do_not_work_side_by_side() -> None:
    assert not side_by_side([(1.0, 2.0), (2.0, 3.0), (4.0, 5.0)])
    assert side_by_side([(1.0, 2.0), (4.0, 5.0), (1.5, 1.6)])


def test_all_who_voted_are_named() -> None:
    ballots = Ballots(MODELS, [], [[1, 1, 1]], [[0.0, 1.0]])
    assert flow.answer(ballots, [1], [Confidence(1.0, 1.0)]).note == "3 of 3 models voted"


def test_the_page_shows_the_flow_as_it_is() -> None:
    page = (ROOT / "docs" / "patterns" / "ensemble.md").read_text()
    assert f"```mermaid\n{flow.ensemble.mermaid().strip()}\n```" in page

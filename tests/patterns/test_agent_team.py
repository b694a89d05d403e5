"""Agents together: run as a user runs it; who did what is read from the database, the facts from the tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from openai import InternalServerError

from examples.agent_team import flow, model, suppliers
from examples.agent_team.__main__ import CRITERIA, QUESTION
from examples.agent_team.loopback import serving
from examples.agent_team.messages import Assignment
from examples.agent_team.model_rules import reply
from pgflow.execute import execute_async
from tests.support.patterns import ROOT, endpoint, run_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

QUEUES = {
    "define": "lead",
    "plan_research": "research",
    "research": "research",
    "analyze": "analysis",
    "plan_checks": "validation",
    "validate": "validation",
    "consolidate": "lead",
    "decide": "lead",
}


def rows(dsn: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode(), values).fetchall()


@pytest.fixture
def suppliers_url(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give a database with the suppliers, and a model that answers."""
    suppliers.set_up(database_url)
    # The handlers read the worker's database, whatever the environment says.
    monkeypatch.setenv("PGFLOW_DSN", "host=/nowhere")
    with serving("model_server") as model:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{model}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        monkeypatch.setenv("PGFLOW_MODEL", "stand-in")
        yield database_url


def assignment(supplier: str, question: str = QUESTION) -> Assignment:
    return Assignment(supplier=supplier, question=question.format(supplier), criteria=CRITERIA)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_dissent_changes_the_decision_and_a_killed_worker_nothing(
    database_url: str, tmp_path: Path
) -> None:
    document = run_pattern("agent_team", database_url, tmp_path, timeout=200)

    assert set(document["checks"].values()) == {True}
    alder, birch = document["cases"]
    assert alder["decision"]["recommendation"] == "renew"
    assert birch["decision"]["recommendation"] == "do not renew"
    for case in (alder, birch):
        said = [finding["supports"] for finding in case["dossier"]["findings"]]
        assert [*said, case["dossier"]["analysis"]["recommendation"]] == ["renew"] * 5
    assert alder["decision"]["dissent"] == []

    # The validator's figures are those of the table.
    ((on_time, defective),) = rows(
        database_url,
        "select round(avg((delivered_on <= promised_on)::int), 4), round(sum(defective)::numeric / sum(pieces), 4)"
        " from agent_team_example.deliveries where supplier = 'Birch'",
    )
    verdicts = {verdict["metric"]: verdict for verdict in birch["dossier"]["verdicts"]}
    assert verdicts["on_time_share"]["measured"] == pytest.approx(float(on_time))
    assert verdicts["defect_share"]["measured"] == pytest.approx(float(defective))
    assert [verdict["holds"] for verdict in verdicts.values()] == [False, False, True]
    assert birch["decision"]["dissent"] == [verdicts[name]["reason"] for name in verdicts][:2]

    # Every attempt was made by a worker of its step's queue, and the queues are worked by separate processes.
    made = rows(
        database_url,
        """
        select attempt.run_id::text, attempt.step_slug, attempt.task_index, attempt.outcome, worker.queue_names, worker.pid
        from pgflow.task_attempts as attempt join pgflow.worker_summary as worker using (worker_id)
        order by attempt.started_at
        """,
    )
    assert all(queues == [QUEUES[step]] for _, step, _, _, queues, _ in made)
    processes = {
        queue: {pid for *_, queues, pid in made if queues == [queue]} for queue in QUEUES.values()
    }
    assert sum(map(len, processes.values())) == len(set.union(*processes.values()))

    # One attempt was lost, another process made the next; everything else was done once.
    lost = [row for row in made if row[3] != "completed"]
    assert [(row[0], row[1], row[3]) for row in lost] == [(alder["run_id"], "research", "lost")]
    again = [row for row in made if row[:3] == lost[0][:3]]
    assert len(again) == 2
    assert again[0][5] != again[1][5]
    others = [row[:3] for row in made if row[:3] != lost[0][:3]]
    assert len(others) == len(set(others)) == 2 * (6 + 4 + 3) - 1

    # Each task that asks the model has one answer on its account, and tokens for it.
    ((calls, answers),) = rows(
        database_url,
        "select count(*), count(distinct answer_id) from agent_team_example.model_calls where prompt_tokens > 0",
    )
    assert calls == answers == 2 * (4 + 4 + 3)
    assert (tmp_path / "picture.svg").stat().st_size > 10_000


@pytest.mark.slow
async def test_the_same_supplier_is_renewed_once_the_facts_are_as_claimed(
    suppliers_url: str,
) -> None:
    """Nothing but the deliveries changes between the two runs."""
    before = await execute_async(flow.team, assignment("Birch"), dsn=suppliers_url, timeout=100)
    with psycopg.connect(suppliers_url) as connection:
        connection.execute(
            "update agent_team_example.deliveries set defective = pieces * 0.009,"
            " delivered_on = promised_on + (id % 40 = 0)::int where supplier = 'Birch'"
        )
    after = await execute_async(flow.team, assignment("Birch"), dsn=suppliers_url, timeout=100)

    assert before[flow.decide].recommendation == "do not renew"
    assert after[flow.decide].recommendation == "renew"
    assert before[flow.decide].reasons == after[flow.decide].reasons
    assert (len(before[flow.decide].dissent), after[flow.decide].dissent) == (2, [])


@pytest.mark.slow
async def test_the_question_decides_how_far_research_fans_out(suppliers_url: str) -> None:
    narrow = assignment("Alder", "Should we renew the contract with {}, seen from its prices?")

    result = await execute_async(flow.team, narrow, dsn=suppliers_url, timeout=100)

    found = rows(
        suppliers_url,
        "select input ->> 'source' from pgflow.step_tasks where step_slug = 'research' order by task_index",
    )
    assert found == [("prices",)]
    assert result[flow.decide].recommendation == "renew"


async def test_an_attempt_asks_the_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client has no retries of its own: they would be on no account."""
    with endpoint(monkeypatch, 503) as asked:
        async with model.connected() as client:
            with pytest.raises(InternalServerError):
                await client.chat.completions.create(model="any", messages=[])
    assert len(asked) == 1


def test_the_stand_in_finds_what_the_facts_say() -> None:
    material = {
        "Assignment": assignment("Alder").model_dump(mode="json"),
        "SubTask": {"source": "notes", "question": "?"},
        "facts": [{"written_on": "2025-01-01", "note": "Dirty plant, angry people."}],
    }
    assert reply("Finding", material)["supports"] == "do not renew"
    material["facts"] = [{"written_on": "2025-01-01", "note": "Clean plant, good people."}]
    assert reply("Finding", material)["supports"] == "renew"
    material["facts"] = [{"certificate": "ISO 9001", "valid_until": "2026-01-31"}]
    assert reply("Finding", material)["supports"] == "do not renew"


def test_the_page_has_the_flow() -> None:
    page = Path(ROOT / "docs" / "patterns" / "agent_team.md").read_text()
    assert f"```mermaid\n{flow.team.mermaid().strip()}\n```" in page

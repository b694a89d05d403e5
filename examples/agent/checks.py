"""Gathers what the database and the servers know of the runs, and compares it with what the agent says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
from psycopg.rows import dict_row

from .facts import ONE_ROUND, TWO_ROUNDS, expected
from .grounding import figures

if TYPE_CHECKING:
    from uuid import UUID

    from .messages import Answer

Row = dict[str, Any]
ACCOUNT = Path(__file__).parent / "token_account.sql"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question, and what became of it."""

    question: str
    run_id: UUID
    answer: Answer


@dataclass(frozen=True, slots=True)
class Evidence:
    """What others than the agent know of its runs."""

    attempts: list[Row]
    calls: list[Row]
    """The rows of agent_example.model_calls."""
    account: list[Row]
    """The rows of token_account.sql."""
    requests: list[Row]
    """What the services were asked."""
    billed: list[Row] | None
    """What the stand-in counted; unknown of another model."""


def gather(dsn: str, runs: list[UUID], services: str, stand_in: str | None) -> Evidence:
    """Ask the database and the servers."""
    with psycopg.connect(dsn) as connection, connection.cursor(row_factory=dict_row) as cursor:
        attempts = cursor.execute(
            """
            select run_id, step_slug, task_index, attempt, outcome, error from pgflow.task_attempts
            where run_id = any (%s) order by started_at
            """,
            (runs,),
        ).fetchall()
        calls = cursor.execute(
            "select * from agent_example.model_calls where run_id = any (%s) order by recorded_at",
            (runs,),
        ).fetchall()
        account = cursor.execute(ACCOUNT.read_bytes(), {"runs": runs}).fetchall()
    requests = httpx.get(f"{services}/requests").raise_for_status().json()
    billed = httpx.get(f"{stand_in}/account").raise_for_status().json() if stand_in else None
    return Evidence(attempts, calls, account, requests, billed)


def check(exchanges: list[Exchange], evidence: Evidence) -> dict[str, bool]:
    """Return each claim, and whether it holds."""
    claims = {
        "every figure of an answer stands in the output that it cites": not any(
            exchange.answer.doubts for exchange in exchanges
        ),
        "the answers have the figures that plain Python finds in the same data": all(
            expected()[exchange.question] <= set(figures(exchange.answer.text))
            for exchange in exchanges
            if exchange.question in expected()
        ),
        "a call without an answer was made again, with the same key, and no other call": _repeated_alone(
            evidence
        ),
        "every answer of the model is in the ledger, with its attempt": _recorded(evidence),
    }
    questions = {exchange.question: exchange.run_id for exchange in exchanges}
    if {TWO_ROUNDS, ONE_ROUND} <= questions.keys():
        second = {
            row["run_id"] for row in evidence.attempts if row["step_slug"] == "call_tool_again"
        }
        claims["one call hung"] = sum(not row["answered"] for row in evidence.requests) == 1
        claims["the second round ran for the question that needed it, and for no other"] = (
            second == {questions[TWO_ROUNDS]}
        )
    return claims


def task(row: Row) -> tuple[UUID, str, int]:
    """Return which task a row is about."""
    return row["run_id"], row["step_slug"], row["task_index"]


def _repeated_alone(evidence: Evidence) -> bool:
    asked = Counter(row["key"] for row in evidence.requests)
    hung = Counter(row["key"] for row in evidence.requests if not row["answered"])
    tools = [row for row in evidence.attempts if row["step_slug"].startswith("call_tool")]
    tried = Counter(map(task, tools))
    return (
        all(asked[key] == 1 + hung[key] for key in asked)
        and sum(tried.values()) - len(tried) == sum(hung.values())
        and all(row["outcome"] == "completed" or "gave no answer" in row["error"] for row in tools)
    )


def _recorded(evidence: Evidence) -> bool:
    attempts = {(*task(row), row["attempt"]) for row in evidence.attempts}
    recorded = {
        row["answer_id"]: (row["prompt_tokens"], row["completion_tokens"]) for row in evidence.calls
    }
    known = all((*task(row), row["attempt"]) in attempts for row in evidence.calls)
    if evidence.billed is None:
        return known and bool(recorded)
    return known and recorded == {
        row["id"]: (row["prompt_tokens"], row["completion_tokens"]) for row in evidence.billed
    }

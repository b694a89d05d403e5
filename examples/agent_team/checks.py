"""Gathers who did what, and compares what the team says with what is known without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
from psycopg.rows import dict_row

from .suppliers import FLATTERING, HONEST, deliveries

if TYPE_CHECKING:
    from uuid import UUID

    from .messages import Assignment, Decision, Dossier
    from .workers import Victim

Row = dict[str, Any]
ROLES = ("research", "analysis", "validation")


@dataclass(frozen=True, slots=True)
class Case:
    """An assignment, and what became of it."""

    assignment: Assignment
    run_id: UUID
    dossier: Dossier
    decision: Decision


@dataclass(frozen=True, slots=True)
class Evidence:
    """What others than the team know of its runs."""

    attempts: list[Row]
    """With the queue of the step, and the worker's queues and process."""
    calls: list[Row]
    """The rows of agent_team_example.model_calls."""
    billed: list[Row] | None
    """What the stand-in counted; unknown of another model."""


def gather(dsn: str, runs: list[UUID], stand_in: str | None) -> Evidence:
    """Ask the database and the model's server."""
    with psycopg.connect(dsn) as connection, connection.cursor(row_factory=dict_row) as cursor:
        attempts = cursor.execute(
            """
            select
              attempt.run_id, attempt.step_slug, attempt.task_index, attempt.attempt, attempt.outcome,
              attempt.worker_id, step.queue_name as queue, worker.queue_names as worker_queues, worker.pid
            from pgflow.task_attempts as attempt
            join pgflow.step_summary as step using (run_id, step_slug)
            join pgflow.worker_summary as worker using (worker_id)
            where attempt.run_id = any (%s)
            order by attempt.started_at
            """,
            (runs,),
        ).fetchall()
        calls = cursor.execute(
            "select * from agent_team_example.model_calls where run_id = any (%s)", (runs,)
        ).fetchall()
    billed = httpx.get(f"{stand_in}/account").raise_for_status().json() if stand_in else None
    return Evidence(attempts, calls, billed)


def check(cases: list[Case], evidence: Evidence, victim: Victim) -> dict[str, bool]:
    """Return each claim, and whether it holds."""
    first = cases[0].run_id
    lost_task = (first, "research", victim.task_index)
    again = [row for row in evidence.attempts if task(row) == lost_task]
    others = [row for row in evidence.attempts if task(row) != lost_task]
    served = {queue for row in evidence.attempts for queue in row["worker_queues"]}
    by_supplier = {case.assignment.supplier: case for case in cases}
    honest, flattering = by_supplier[HONEST], by_supplier[FLATTERING]
    return {
        "each step was performed by workers of its own queue only": served > set(ROLES)
        and all(row["worker_queues"] == [row["queue"]] for row in evidence.attempts),
        "the killed worker's sub-task was taken over by another worker": [
            row["outcome"] for row in again
        ]
        == ["lost", "completed"]
        and again[0]["worker_id"] == victim.worker_id != again[1]["worker_id"],
        "nothing else was repeated": len({task(row) for row in others}) == len(others)
        and {row["outcome"] for row in others} == {"completed"},
        "the consolidation has every finding and verdict, in order": all(
            complete(case, evidence) for case in cases
        ),
        "the validator measured what plain Python finds in the same deliveries": all(
            {verdict.metric: verdict.measured for verdict in case.dossier.verdicts}
            == measured(case.assignment.supplier)
            for case in cases
        ),
        "research and analysis say the same of both suppliers": votes(honest)
        == votes(flattering)
        == {"renew"},
        "the validator agrees on one supplier, which is renewed": not honest.decision.dissent
        and honest.decision.recommendation == "renew",
        "the validator dissents on the other, which is not renewed": bool(
            flattering.decision.dissent
        )
        and flattering.decision.recommendation == "do not renew",
        "each task paid the model once, the one of the killed worker too": _paid_once(evidence),
    }


def task(row: Row) -> tuple[UUID, str, int]:
    """Return which task a row is about."""
    return row["run_id"], row["step_slug"], row["task_index"]


def votes(case: Case) -> set[str]:
    """Return what research and analysis recommend."""
    return {
        *(finding.supports for finding in case.dossier.findings),
        case.dossier.analysis.recommendation,
    }


def complete(case: Case, evidence: Evidence) -> bool:
    """Tell whether the dossier has one entry for each task of the maps, in the order of the criteria."""
    tasks = {task(row) for row in evidence.attempts if row["run_id"] == case.run_id}
    steps = [step for _, step, _ in tasks]
    dossier = case.dossier
    return (
        len(dossier.findings) == steps.count("research") > 1
        and len(dossier.verdicts) == steps.count("validate") > 1
        and [verdict.metric for verdict in dossier.verdicts]
        == [criterion.metric for criterion in case.assignment.criteria]
    )


def measured(supplier: str) -> dict[str, float]:
    """Work the metrics out of the deliveries in plain Python."""
    own = [delivery for delivery in deliveries() if delivery.supplier == supplier]
    prices = [delivery.unit_price for delivery in own]
    on_time = sum(delivery.delivered_on <= delivery.promised_on for delivery in own)
    defective, pieces = sum(d.defective for d in own), sum(d.pieces for d in own)
    return {
        "on_time_share": round(on_time / len(own), 4),
        "defect_share": round(defective / pieces, 4),
        "price_rise": round(float(max(prices) / min(prices)) - 1, 4),
    }


def _paid_once(evidence: Evidence) -> bool:
    recorded = {row["answer_id"]: row["prompt_tokens"] for row in evidence.calls}
    once = len(recorded) == len(evidence.calls) == len({task(row) for row in evidence.calls})
    if evidence.billed is None:
        return once
    asked_twice = [row for row in evidence.billed if row["requests"] > 1]
    return (
        once
        and recorded == {row["id"]: row["prompt_tokens"] for row in evidence.billed}
        and len(asked_twice) == 1
    )

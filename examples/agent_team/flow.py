"""The team as a flow: three roles work side by side, each in workers that serve its queue and no other.

             +-> plan_research -> research (a map) --+
define ------+-> analyze ----------------------------+-> consolidate -> decide
             +-> plan_checks -> validate (a map) ----+
"""

from __future__ import annotations

from pgflow import Flow, current_task

from .facts import SOURCES, claims, consult, measure
from .messages import (
    Analysis,
    Assignment,
    Brief,
    Check,
    CheckPlan,
    Decision,
    Dossier,
    Finding,
    ResearchPlan,
    SubTask,
    Verdict,
)
from .model import ask

team = Flow[Assignment]("agent_team", max_attempts=3, base_delay=1, timeout=60)


@team.step(queue="lead")
async def define(assignment: Assignment) -> Brief:
    """Define the task: the question, where research may look, what the supplier says of itself."""
    return Brief(assignment=assignment, sources=SOURCES, claims=await claims(assignment.supplier))


@team.step(depends_on=(define,), queue="research")
async def plan_research(brief: Brief) -> list[SubTask]:
    """Have the model divide the question; its list is what the next step fans out over."""
    subtasks = (await ask("researcher", ResearchPlan, brief)).subtasks
    if unknown := {subtask.source for subtask in subtasks} - {source.name for source in SOURCES}:
        raise ValueError(f"the model invented sources: {', '.join(unknown)}")
    return subtasks


@team.map(over=plan_research, queue="research")
async def research(subtask: SubTask) -> Finding:
    """Look into one source, and have the model say what it means."""
    assignment = _assignment()
    facts = await consult(subtask.source, assignment.supplier)
    return await ask("researcher", Finding, assignment, subtask, facts=facts)


@team.step(depends_on=(define,), queue="analysis")
async def analyze(brief: Brief) -> Analysis:
    """Have the model weigh what the supplier says of itself against the criteria."""
    return await ask("analyst", Analysis, brief)


@team.step(depends_on=(define,), queue="validation")
async def plan_checks(brief: Brief) -> list[Check]:
    """Have the model choose the claims that are to be checked."""
    return (await ask("validator", CheckPlan, brief)).checks


@team.map(over=plan_checks, queue="validation")
async def validate(check: Check) -> Verdict:
    """Measure what was claimed in the records of goods-in, and have the model judge."""
    assignment = _assignment()
    measured = await measure(check.metric, assignment.supplier)
    return await ask("validator", Verdict, assignment, check, measured=measured)


@team.step(depends_on=(research, analyze, validate), queue="lead")
def consolidate(findings: list[Finding], analysis: Analysis, verdicts: list[Verdict]) -> Dossier:
    """Put everything together, in the order in which it was asked for."""
    return Dossier(
        assignment=_assignment(), findings=findings, analysis=analysis, verdicts=verdicts
    )


@team.step(depends_on=(consolidate,), queue="lead")
async def decide(dossier: Dossier) -> Decision:
    """Have the model decide; it is told that a dissent of the validator outweighs the others."""
    return await ask("chair", Decision, dossier)


def _assignment() -> Assignment:
    return Assignment.model_validate(current_task().run_input)

"""What the members of the team hand to each other. What a model answers is a `Reply`, and its schema goes with the question."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Metric = Literal["on_time_share", "defect_share", "price_rise"]
Recommendation = Literal["renew", "do not renew"]


class Criterion(BaseModel):
    """What a supplier must reach."""

    metric: Metric
    bound: Literal["at least", "at most"]
    limit: float

    def met_by(self, value: float) -> bool:
        """Tell whether a value is good enough."""
        return value >= self.limit if self.bound == "at least" else value <= self.limit


class Assignment(BaseModel):
    """The run's input: the question for the team."""

    supplier: str
    question: str
    criteria: list[Criterion]


class Source(BaseModel):
    """A place where research may look."""

    name: str
    about: str


class Brief(BaseModel):
    """What every role starts from."""

    assignment: Assignment
    sources: list[Source]
    claims: dict[Metric, float]
    """What the supplier says of itself."""


class Reply(BaseModel):
    """An answer of a model: no other fields than these, and all of them."""

    model_config = ConfigDict(extra="forbid")


class SubTask(Reply):
    """One thing to look into."""

    source: str
    question: str


class ResearchPlan(Reply):
    """How research is divided."""

    subtasks: list[SubTask]


class Finding(Reply):
    """What a sub-task found."""

    source: str
    statement: str
    supports: Recommendation


class Analysis(Reply):
    """What the supplier's own figures say."""

    recommendation: Recommendation
    reasons: list[str]


class Check(Reply):
    """A claim that goods-in can confirm."""

    metric: Metric
    claimed: float


class CheckPlan(Reply):
    """Which claims are checked."""

    checks: list[Check]


class Verdict(Reply):
    """What became of a check."""

    metric: Metric
    claimed: float
    measured: float
    holds: bool
    reason: str


class Dossier(BaseModel):
    """All that the team found, in the order in which it was asked for."""

    assignment: Assignment
    findings: list[Finding]
    analysis: Analysis
    verdicts: list[Verdict]


class Decision(Reply):
    """The run's output."""

    recommendation: Recommendation
    reasons: list[str]
    dissent: list[str]
    """What the validator objects to."""

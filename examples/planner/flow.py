"""The planning itself, as a flow: ask a model, check its plan, have it mended from the reasons, store it, begin it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID  # noqa: TC003 - a step returns one

from pgflow import Flow, FlowBuilder, NonRetryable, Plan, current_task

from . import model
from .work import handlers

ROUNDS = 3
"""How often a model may mend its plan before the goal is given up."""


@dataclass
class Goal:
    """What somebody wants, and where the model is that plans it."""

    text: str
    model_url: str
    desk_url: str
    """Where news of started work is sent."""
    model: str = "stand-in"


@dataclass
class Review:
    """What is wrong with a plan: where, which kind, why, and what to write instead."""

    sound: bool
    problems: list[dict[str, Any]]


@dataclass
class Mended:
    """A plan that is right at last."""

    answer: str
    rounds: int
    reviews: list[Review] = field(default_factory=list)
    """Those of the rounds that were not enough."""


@dataclass
class Stored:
    """Where a plan is now."""

    slug: str
    version: int


AN_ANSWER = 60
"""Seconds that a step has for each answer of the model."""

planning = Flow[Goal]("planning", max_attempts=3, timeout=AN_ANSWER)


@planning.step()
async def ask(goal: Goal) -> str:
    """Have the model write a plan; it is told the goal, the registered handlers and the schema of a plan."""
    return await model.draft(goal.model_url, goal.model, goal.text, handlers)


@planning.step(depends_on=(ask,))
def check(answer: str) -> Review:
    """Find all that is wrong with it at once."""
    problems = Plan.check(answer, handlers)
    return Review(not problems, [problem.as_dict() for problem in problems])


@planning.step(
    depends_on=(ask, check), if_not={"check": {"sound": True}}, timeout=ROUNDS * AN_ANSWER
)
async def mend(answer: str, review: Review) -> Mended:
    """Send the reasons back to the model until its plan is right."""
    goal = Goal(**current_task().run_input)
    reviews: list[Review] = []
    for round_number in range(1, ROUNDS + 1):
        answer = await model.revise(
            goal.model_url, goal.model, goal.text, handlers, answer, review.problems
        )
        review = check(answer)
        if review.sound:
            return Mended(answer, round_number, reviews)
        reviews.append(review)
    raise NonRetryable(f"no sound plan in {ROUNDS} rounds: {review.problems}")


@planning.step(depends_on=(ask, mend))
async def store(answer: str, mended: Mended | None) -> Stored:
    """Store the plan for workers that know nothing but the handlers."""
    plan = Plan.read(answer if mended is None else mended.answer, handlers)
    version = await FlowBuilder(current_task().database).define_plan(plan, handlers)
    return Stored(plan.slug, version)


@planning.step(depends_on=(store,))
async def begin(stored: Stored) -> UUID:
    """Start a run of it, once, however often this step is tried.

    Of this version: slugs are the model's choice, and another goal's plan may have got the same one meanwhile.
    """
    task = current_task()
    async with task.transaction() as connection:
        return await task.database.start_flow(
            stored.slug,
            json.dumps(task.run_input),
            version=stored.version,
            connection=connection,
        )

"""Plans: flows as data that name registered handlers, for models and others who must not bring code.

`Handlers` says what a plan may name and what a model is told about it, `Plan.read` checks what comes back, with all
problems at once; `FlowBuilder.define_plan` stores it, and `Worker(db, handlers)` performs it.
"""

from __future__ import annotations

from pgflow._plan.model import Plan, PlanStep
from pgflow._plan.problems import PlanProblem
from pgflow._plan.registry import PLAN_LIMITS, PLAN_QUEUE, Handlers, RegisteredHandler
from pgflow.errors import PlanInvalid

__all__ = [
    "PLAN_LIMITS",
    "PLAN_QUEUE",
    "Handlers",
    "Plan",
    "PlanInvalid",
    "PlanProblem",
    "PlanStep",
    "RegisteredHandler",
]

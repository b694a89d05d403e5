"""Trials: tasks that have lost their worker are performed in ever smaller company, at last alone.

The death of a worker does not tell which of its tasks caused it. What was lost once runs beside anything else, so that an
ordinary death costs no throughput; what was lost again is tried in small groups, while nothing else is in hand. The
server is told of the company beforehand (`share_tasks`), so that only a task that was alone is blamed (ADR 19).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pgflow.handlers import Execution

_COMPANY = {2: 16, 3: 4}
"""How many tasks lost so often share the process; `_grant_tasks.sql` forgives as many losses in company."""


class Trial:
    """A group of suspects that a worker performs while it holds nothing else."""

    def __init__(self, group: Iterable[Execution]) -> None:
        self.waiting = dict.fromkeys(group)
        """Those that the performer has not got yet."""
        self.has_begun = False


def suspects_among(executions: Sequence[Execution], concurrency: int) -> list[Execution]:
    """Return those that must be performed by themselves, as one group; none if all may run beside others."""
    losses = max((execution.task.losses for execution in executions), default=0)
    if losses == 0 or (losses == 1 and concurrency > 1):
        return []
    size = 1 if losses == 1 else min(_COMPANY.get(losses, 1), concurrency)
    return [execution for execution in executions if execution.task.losses == losses][:size]

"""What a worker of registered handlers can do: it learns from the database which handler a step of a run names.

Each run is pinned to a version of its plan, and the version says it. So plans may come, change and go while a worker
runs, and it needs to know none of them beforehand.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from pgflow._bound import bind
from pgflow._learning import keep, patiently, unknown
from pgflow._logs import first_line
from pgflow.codec import decode_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from pgflow._definitions import PlanOfRun
    from pgflow._plan.registry import Handlers
    from pgflow.database import Database
    from pgflow.handlers import Handler
    from pgflow.records import GrantedTask

MOST_RUNS = 10_000
MOST_PLANS = 1_000
"""How many a worker keeps in mind; more than one claim can bring."""

_log = logging.getLogger("pgflow.worker")


class Plans:
    """The plans of runs that a worker has had tasks of; every method belongs to its event loop."""

    def __init__(self, database: Database, handlers: Handlers) -> None:
        self._database = database
        self._registry = handlers
        self._runs: OrderedDict[UUID, PlanOfRun] = OrderedDict()
        self._plans: OrderedDict[PlanOfRun, dict[str, Handler]] = OrderedDict()

    @property
    def names(self) -> list[str]:
        """The registered handlers."""
        return [handler.name for handler in self._registry]

    def handler_of(self, task: GrantedTask) -> Handler | None:
        """Return what performs a task that `learn` has seen; None if its handler is not registered here."""
        plan = self._runs.get(task.run_id)
        return None if plan is None else self._plans.get(plan, {}).get(task.step_slug)

    async def learn(self, granted: Sequence[GrantedTask], until: float) -> None:
        """Read the plans of runs that are new here; raises nothing, and what stays unknown is handed back."""
        run_ids = {task.run_id for task in granted}
        await patiently(lambda: self._read(run_ids), until, "the plans of granted tasks")
        for task in granted:
            if self.handler_of(task) is None:
                _log.warning(
                    "%s.%s names no handler of this worker (%s); its task goes back",
                    *(task.flow_slug, task.step_slug, ", ".join(self.names)),
                )

    async def _read(self, run_ids: set[UUID]) -> None:
        if new := unknown(self._runs, run_ids):
            for run_id, plan in await self._database.plans_of_runs(new):
                keep(self._runs, run_id, plan, MOST_RUNS)
        plans = {self._runs[run_id] for run_id in run_ids if run_id in self._runs}
        for plan in unknown(self._plans, plans):
            raw = await self._database.plan_of_version(plan.flow_slug, plan.shape_hash)
            keep(self._plans, plan, self._bound(plan, decode_json(raw or b"null")), MOST_PLANS)

    def _bound(self, plan: PlanOfRun, definition: Any) -> dict[str, Handler]:
        try:
            return bind(plan.flow_slug, definition, self._registry, plan.redact)
        except Exception as error:  # noqa: BLE001 - anybody may have stored anything as a definition
            _log.warning(
                "flow %s is no plan that can be run: %s", plan.flow_slug, first_line(error)
            )
            return {}

"""The run that `pgflow dev --run` starts after each reload, in the place of the last one."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pgflow.client import Client
from pgflow.errors import RunNotFound, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgflow._run import Run
    from pgflow.database import Database


@dataclass(slots=True)
class Rerun:
    """Knows the latest run that it has started."""

    database: Database
    target: str
    read_input: Callable[[], Any]
    _last: Run | None = field(default=None, init=False)

    async def start(self, flows: Sequence[str]) -> None:
        """Start a run of the one flow, and cancel the last one if it is in progress."""
        flow = self._choose(flows)
        value = self.read_input()
        if self._last is not None:
            with suppress(RunNotFound):  # deleted, so it does not go on
                if not (await self._last.status()).is_final:
                    reason = "the code has changed, and pgflow dev starts another run"
                    await self._last.cancel(reason)
        self._last = await Client(self.database).start(flow, value)

    def _choose(self, flows: Sequence[str]) -> str:
        if len(flows) == 1:
            return flows[0]
        if not flows:
            raise UsageError(
                f"--run is for a flow, and {self.target} are handlers, which plans name",
                hint="Start a plan by its slug: pgflow run PLAN --no-worker",
            )
        raise UsageError(
            f"--run is for one flow, and there are {len(flows)}: {', '.join(flows)}",
            hint=f"Name it: pgflow dev {self.target.partition(':')[0]}:{flows[0]} --run",
        )

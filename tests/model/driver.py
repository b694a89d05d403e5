"""One schedule: a transaction in which the model and the database do the same, step by step.

After each step both are compared in everything that is stored. Definitions and runs are here; what workers do, and what
goes wrong, in the classes that go on from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import psycopg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.model.compare import RETRIED, assert_equal, assert_invariants, assert_legal
from tests.model.database import QUEUES, Engine
from tests.model.definitions import Definition
from tests.model.reports import Refused, Report
from tests.model.strategies import definitions, input_for, options, steps
from tests.model.world import World

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from tests.model.definitions import Step
    from tests.model.grants import Place

T = TypeVar("T")
FLOWS = ("alpha", "beta")
WORKERS = tuple(f"00000000-0000-0000-0000-0000000a000{number}" for number in range(3))
REFUSALS = {"P0001", "55000", "23503", "22023"}
flows = st.sampled_from(FLOWS)
workers = st.sampled_from(WORKERS)
picks = st.lists(st.integers(0, 15), min_size=1, max_size=3, unique=True)
small = st.integers(0, 15)
keys = st.sampled_from((None, None, "monday", "tuesday"))


class Driver(RuleBasedStateMachine):
    """Does the same on both sides; `connection` and `counts` are set by the test."""

    connection: ClassVar[psycopg.Connection[Any]]
    counts: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.model = World()
        self.engine = Engine(self.connection)
        self.grants: list[Report] = []
        self.last: Callable[[], object] | None = None
        self.before: dict[str, Any] | None = None
        self.retried: set[str] = set()
        """Runs retried since the last picture: they may have failed again in the same call, as a type violation does."""
        self.started = self.orphans = 0

    def teardown(self) -> None:
        self.connection.rollback()
        self.counts["schedules"] += 1

    def both(self, name: str, ours: Callable[[], T], theirs: Callable[[], T]) -> T | None:
        """Do the same on both sides and compare the answers; None if it is refused by both."""
        self.counts[name] += 1
        try:
            wanted = ours()
        except Refused:
            with pytest.raises(psycopg.Error) as caught, self.connection.transaction():
                theirs()
            assert caught.value.sqlstate in REFUSALS, caught.value
            self.counts["refused"] += 1
            return None
        found = theirs()
        assert found == wanted, f"{name}: the database says {found}, the model {wanted}"
        return found

    @invariant()
    def is_as_the_model_says(self) -> None:
        picture = self.engine.picture()
        assert_equal(picture, self.model)
        assert_invariants(picture)
        assert_legal(self.before, picture, self.retried)
        self.before = picture
        self.retried = set()
        self.counts["steps"] += 1

    # Definitions

    @initialize(definition=definitions(), choice=small)
    def begin(self, definition: Definition, choice: int) -> None:
        for worker in WORKERS:
            self._see(worker)
        self.define("alpha", definition)
        self._start("alpha", [choice, choice + 1], [None, None], None)

    def define(self, flow: str, definition: Definition) -> None:
        self.both(
            "define",
            lambda: self.model.define(flow, definition),
            lambda: self.engine.define(flow, definition),
        )

    @rule(flow=flows, kind=st.sampled_from(("shape", "options", "step")), data=st.data())
    def redefine(self, flow: str, kind: str, data: st.DataObject) -> None:
        """Define another shape, change the options of the present one, or add a step to it."""
        present = self._flow_steps(flow)
        if kind == "shape" or not present:
            self.define(flow, data.draw(definitions()))
        elif kind == "options":
            self.define(flow, Definition(data.draw(options), present))
        else:
            step = data.draw(steps(f"s{len(present)}", [one.slug for one in present]))
            self.both(
                "add_step",
                lambda: self.model.add_step(flow, step),
                lambda: self.engine.add_step(flow, step),
            )

    def _flow_steps(self, flow: str) -> tuple[Step, ...]:
        return self.model.flows[flow].current.steps if flow in self.model.flows else ()

    # Runs

    @rule(
        flow=flows,
        choices=st.lists(small, min_size=1, max_size=3),
        key=keys,
        version=st.sampled_from((None, None, None, 1, 2)),
    )
    def start(self, flow: str, choices: list[int], key: str | None, version: int | None) -> None:
        """Start one run or several; of several the second may have the key of the first."""
        again = [key if choices[0] % 2 else None, None][: len(choices) - 1]
        self._start(flow, choices, [key, *again], version)

    def _start(
        self, flow: str, choices: list[int], keys: list[str | None], version: int | None
    ) -> None:
        known = self.model.flows.get(flow)
        if known is None or not (version is None or version in known.versions):
            return
        plan = known.plan(version)
        inputs = [input_for(plan, choice) for choice in choices]
        first = self.started
        self.started += len(inputs)
        ids = [f"00000000-0000-0000-0000-{number:012d}" for number in range(first, self.started)]
        arguments = (flow, inputs, keys, ids, version)
        self.both(
            "start" if len(inputs) == 1 else "start_many",
            lambda: self.model.start(*arguments),
            lambda: self.engine.start(*arguments),
        )

    @rule(pick=small, seconds=st.sampled_from((None, 0, 500, 3000)))
    def cancel_or_prune(self, pick: int, seconds: int | None) -> None:
        runs = list(self.model.runs)
        if seconds is not None or not runs:
            age = seconds or 0
            self.both("prune", lambda: self.model.prune(age), lambda: self.engine.prune(age))
            return
        run, reason = runs[pick % len(runs)], "enough" if pick % 2 else None
        self.both(
            "cancel",
            lambda: self.model.cancel(run, reason),
            lambda: self.engine.cancel(run, reason),
        )

    @precondition(lambda self: self.model.runs)
    @rule(pick=small, step=small)
    def retry(self, pick: int, step: int) -> None:
        """Retry a run, one that has failed if there is any, as a whole or from one of its steps on."""
        runs = list(self.model.runs.values())
        failed = [
            run
            for run in runs
            if run.status in RETRIED and any(s.failed for s in run.steps.values())
        ] + [run for run in runs if run.status == "failed"]
        if not failed and pick > 1:
            return
        run = (failed or runs)[pick % len(failed or runs)]
        slug = None if step % 2 else list(run.steps)[step % len(run.steps)]
        refused = self.counts["refused"]
        self.both(
            "retry",
            lambda: self.model.retry(run.id, slug),
            lambda: self.engine.retry(run.id, slug),
        )
        if self.counts["refused"] == refused:
            self.retried.add(run.id)

    # What there is

    def _keep_busy(self, choice: int) -> None:
        """Start runs where workers would find nothing to do."""
        if not any(self.model.due(queue) for queue in QUEUES):
            flow = sorted(self.model.flows)[choice % len(self.model.flows)]
            self._start(flow, [choice, choice + 1], [None, None], None)

    def _see(self, worker: str) -> None:
        if worker not in self.model.workers:
            self.model.workers[worker] = self.model.now
            self.engine.register(worker)

    def _with_message(self) -> list[Place]:
        return [place for place in self.model.places() if place.task.due is not None]

    def _started(self) -> list[Place]:
        return [place for place in self.model.places() if place.task.status == "started"]

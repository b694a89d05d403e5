"""The chaos checker's teeth: a truthful world passes, and each planted lie is found by the check that it is for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos import checker, handlers, plan
from tests.chaos.facts import Journal, Run, StepState, Tables
from tests.chaos.flows import BY_SLUG, batched, chain, doomed, fan, ledger
from tests.chaos.journal import fingerprint

if TYPE_CHECKING:
    from pathlib import Path

    from pgflow import Flow
    from tests.chaos.facts import Violation
    from tests.support.sql import Connection

FOREVER = 1e18


class World:
    """Journal and tables as a fault-free hunt would leave them."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.tables = Tables()
        self._clock = 0.0
        self.perform(fan, "fan", {"seed": 1, "count": 3, "mark": "m"})
        self.perform(chain, "chain", {"seed": 4, "count": 0, "mark": "n"})
        self.perform(ledger, "ledger", [5, 6])
        self.perform(batched, "batched", [1, 2, 3])
        self.perform(doomed, "doomed", {"seed": 1, "count": 0, "mark": "o"}, status="failed")
        self.perform(chain, "cancelled", {"seed": 9, "count": 0, "mark": "p"}, status="cancelled")
        self.write("cancel", run="cancelled", answer="cancelled")

    def write(self, event: str, **fields: Any) -> dict[str, Any]:
        self._clock += 1.0
        line = {"event": event, "pid": 1, "at": self._clock, "sent": self._clock - 0.5, **fields}
        self.lines.append(line)
        return line

    def perform(self, flow: Flow[Any], run: str, given: Any, status: str = "completed") -> None:
        """Let a run of a flow come to its end; one that does not complete has no task that did."""
        key = f"key of {run}"
        self.write("started", run=run, flow=flow.slug, key=key, input=given)
        self.write("seen", run=run, status="started")
        outputs: dict[str, Any] = {}
        for step in flow:
            if status != "completed":
                is_fate = status == "failed" and step.slug == "fate"
                self._state(run, step.slug, "failed" if is_fate else "created", None)
                continue
            arguments = [outputs[slug] for slug in step.dependency_slugs] or [given]
            calls = [[item] for item in arguments[0]] if step.step_type == "map" else [arguments]
            made = [self._task(run, step.slug, index, values) for index, values in enumerate(calls)]
            outputs[step.slug] = made if step.step_type == "map" else made[0]
            self._state(run, step.slug, "completed", outputs[step.slug])
        parents = {slug for step in flow for slug in step.dependency_slugs}
        leaves = {slug: value for slug, value in outputs.items() if slug not in parents}
        output = leaves if status == "completed" else None
        self.tables.runs[run] = Run(run, flow.slug, status, given, output, key)
        self.write("seen", run=run, status=status)

    def _state(self, run: str, step: str, status: str, output: Any) -> None:
        kind = BY_SLUG[f"chaos_{run}" if run != "cancelled" else "chaos_chain"][step].step_type
        self.tables.steps[run][step] = StepState(run, step, status, kind, output)
        self.write("step_seen", run=run, step=step, status=status)

    def _task(self, run: str, step: str, index: int, arguments: list[Any]) -> Any:
        task = {"run": run, "step": step, "index": index, "fence": 1}
        key = (run, step, index, 1)
        asked = self._clock
        self.write("granted", tasks=[[*key, None, False]], asked=asked, worker="w")
        self.write("begin", **task, key=f"{run}/{step}/{index}")
        nonce = f"{run}{step}{index}"
        output = handlers.packed(handlers.PURE[step](*map(handlers.values, arguments)), nonce)
        self.write("end", **task, output=fingerprint(output))
        if step in {"book", "close_books"}:
            self.tables.ledger[run, step, index].append((1, nonce))
        else:
            self.write("reported", what="completed", outcome="accepted", tasks=[list(key)])
        self.tables.add_task(run, step, index, "completed", 1, output, None)
        return output

    def found(self) -> list[Violation]:
        return checker.check(Journal(self.lines), self.tables)

    # Ways to spoil it

    def pick(self, event: str, **fields: Any) -> dict[str, Any]:
        return next(
            line
            for line in self.lines
            if line["event"] == event and all(line.get(name) == fields[name] for name in fields)
        )

    def change(self, run: str, step: str, index: int, **fields: Any) -> None:
        items = self.tables.items[run][step]
        items[index] = items[index]._replace(**fields)

    def change_run(self, run: str, **fields: Any) -> None:
        self.tables.runs[run] = self.tables.runs[run]._replace(**fields)

    def change_step(self, run: str, step: str, **fields: Any) -> None:
        steps = self.tables.steps[run]
        steps[step] = steps[step]._replace(**fields)


Lie = Callable[[World], object]


def drop(event: str, **fields: Any) -> Lie:
    return lambda world: world.lines.remove(world.pick(event, **fields))


def swap_items(world: World) -> None:
    items = world.tables.items["fan"]["square"]
    items[0], items[1] = items[1], items[0]
    ends = [world.pick("end", run="fan", step="square", index=index) for index in (0, 1)]
    ends[0]["output"], ends[1]["output"] = ends[1]["output"], ends[0]["output"]


def wrong_value(world: World) -> None:
    """Make everything consistent but for the value itself."""
    output = {"v": 1, "n": "x"}
    world.change("chain", "link_four", 0, output=output)
    world.change_step("chain", "link_four", output=output)
    world.change_run("chain", output={"link_four": output})
    world.pick("end", run="chain", step="link_four")["output"] = fingerprint(output)


def grant_again(world: World) -> None:
    line = world.pick("granted", tasks=[["fan", "total", 0, 1, None, False]])
    world.lines.append({**line, "at": line["at"] + 0.1, "worker": "another"})


def grant_late(world: World) -> None:
    line = world.pick("granted", tasks=[["fan", "total", 0, 1, None, False]])
    line["asked"] = world.pick("seen", run="fan", status="completed")["at"] + 0.5


def accept_stale(world: World) -> None:
    world.write(
        "reported", what="completed", outcome="accepted", tasks=[["chain", "link_one", 0, 2]]
    )


def accept_twice(world: World) -> None:
    world.write("reported", what="failed", outcome="accepted", tasks=[["chain", "link_one", 0, 1]])


def early_step(world: World) -> None:
    world.pick("begin", run="fan", step="total")["at"] = 0.5


LIES: dict[str, tuple[str, Lie]] = {
    "a completed task never ran": ("effect", drop("end", run="fan", step="square", index=1)),
    "an output of another attempt": (
        "output",
        lambda world: world.change("ledger", "book", 0, output={"v": 15, "n": "another"}),
    ),
    "items in the wrong order": ("output", swap_items),
    "a wrong value": ("output", wrong_value),
    "a missing item": ("output", lambda world: world.tables.items["fan"]["square"].pop(2)),
    "an item too many": (
        "output",
        lambda world: world.tables.add_task("fan", "square", 3, "queued", 0, None, None),
    ),
    "an aggregate that lacks an item": (
        "output",
        lambda world: world.change_step("fan", "square", output=[]),
    ),
    "a run's output that is not its last steps'": (
        "output",
        lambda world: world.change_run("fan", output={}),
    ),
    "a stale completion accepted": ("acceptance", accept_stale),
    "a task completed and failed": ("acceptance", accept_twice),
    "a completion on record twice": (
        "acceptance",
        lambda world: world.tables.completions["chain", "link_one", 0].extend([1, 1]),
    ),
    "an accepted completion that is gone": (
        "acceptance",
        lambda world: world.change("chain", "link_one", 0, status="queued"),
    ),
    "a fence granted twice": ("grant", grant_again),
    "a fence begun twice": (
        "grant",
        lambda world: world.lines.append(dict(world.pick("begin", run="chain"))),
    ),
    "a fence that went back": ("grant", lambda world: world.change("fan", "total", 0, fence=0)),
    "a grant after the end": ("grant after the end", grant_late),
    "a step before its dependencies": ("order", early_step),
    "a step after dependencies that are not over": (
        "order",
        lambda world: world.change("chain", "link_one", 0, status="queued"),
    ),
    "a write without a completion": (
        "transaction",
        lambda world: world.tables.ledger["ledger", "book", 7].append((1, "x")),
    ),
    "a write twice": (
        "transaction",
        lambda world: world.tables.ledger["ledger", "book", 0].append((1, "ledgerbook0")),
    ),
    "a completion without its write": (
        "transaction",
        lambda world: world.tables.ledger.pop(("ledger", "book", 0)),
    ),
    "a write of another attempt": (
        "transaction",
        lambda world: world.tables.ledger.update({("ledger", "book", 0): [(2, "ledgerbook0")]}),
    ),
    "an acknowledged start that is gone": ("key", lambda world: world.tables.runs.pop("doomed")),
    "a key with two runs": (
        "key",
        lambda world: world.tables.runs.update(
            {"twin": world.tables.runs["chain"]._replace(run_id="twin")}
        ),
    ),
    "a key acknowledged as two runs": (
        "key",
        lambda world: world.write(
            "started", run="twin", flow=chain.slug, key="key of chain", input=None
        ),
    ),
    "a run with another input": ("key", lambda world: world.change_run("chain", input={})),
    "a run that is stuck": ("stuck", lambda world: world.change_run("chain", status="started")),
    "a robust run that failed": ("lost", lambda world: world.change_run("chain", status="failed")),
    "a run that nobody cancelled": ("end", drop("cancel", run="cancelled")),
    "a cancelled run that completed": (
        "end",
        lambda world: world.change_run("cancelled", status="completed"),
    ),
    "a completed run with an open step": (
        "end",
        lambda world: world.change_step("fan", "total", status="started"),
    ),
    "a completed step with an open task": (
        "end",
        lambda world: world.change("fan", "square", 0, status="started"),
    ),
    "a failed run that completes": (
        "transition",
        lambda world: world.change_run("doomed", status="completed"),
    ),
    "a run that goes on after its end": (
        "transition",
        lambda world: world.write("seen", run="chain", status="started"),
    ),
    "a step that goes back": (
        "transition",
        lambda world: world.write("step_seen", run="chain", step="link_one", status="started"),
    ),
    "a key that changes between attempts": (
        "task key",
        lambda world: world.write(
            "begin", run="chain", step="link_one", index=0, fence=2, key="another"
        ),
    ),
    "a key of two tasks": (
        "task key",
        lambda world: world.pick("begin", run="fan", step="total").update(
            {"key": "chain/link_one/0"}
        ),
    ),
}


@pytest.fixture(scope="module")
def truth() -> World:
    return World()


def test_a_truthful_world_passes(truth: World) -> None:
    assert truth.found() == []
    assert {run.flow for run in truth.tables.runs.values()} <= set(BY_SLUG)


@pytest.mark.parametrize("lie", LIES)
def test_a_planted_lie_is_found(truth: World, lie: str) -> None:
    world = copy.deepcopy(truth)
    invariant, plant = LIES[lie]
    plant(world)
    assert invariant in {violation.invariant for violation in world.found()}


@pytest.mark.parametrize(("holder", "found"), [(1, []), (2, ["effect"])])
def test_only_who_held_the_task_goes_on_under_the_next_fence(holder: int, found: list[str]) -> None:
    """A worker that finds the lease of its own task over goes on with it; another one has to perform it."""
    world = World()
    asked = world.pick("end", run="fan", step="total")["at"] + 0.1
    again = [["fan", "total", 0, 2, None, False]]
    world.lines.append(
        {"event": "granted", "pid": holder, "at": asked + 0.1, "asked": asked, "tasks": again}
        | {"worker": str(holder)}
    )
    world.pick("reported", tasks=[["fan", "total", 0, 1]])["tasks"] = [["fan", "total", 0, 2]]
    world.change("fan", "total", 0, fence=2)
    assert [one.invariant for one in world.found() if one.invariant == "effect"] == found


def test_a_retry_excuses_what_only_it_may_do(truth: World) -> None:
    world = copy.deepcopy(truth)
    world.change_run("doomed", status="completed")
    assert "transition" in {violation.invariant for violation in world.found()}
    sent = world.pick("seen", run="doomed", status="failed")["at"] + 0.1
    world.write("retry", run="doomed", sent=sent, answered=FOREVER, answer="in doubt")
    assert "transition" not in {violation.invariant for violation in world.found()}


def test_each_check_finds_something() -> None:
    truth = World()
    for one in checker.CHECKS:
        found = 0
        for _, plant in LIES.values():
            world = copy.deepcopy(truth)
            plant(world)
            found += bool(list(one(Journal(world.lines), world.tables)))
        assert found, one.__name__


def test_findings_of_the_database_are_violations(connection: Connection) -> None:
    from tests.support.sql import define, start

    define(connection, "f", {"a": []})
    start(connection, "f")
    assert checker.of_database(connection) == []
    connection.execute("update pgflow.runs set remaining_steps = 7")
    assert "remaining_steps" in {one.invariant for one in checker.of_database(connection)}


def test_the_servers_log_is_read_for_what_must_not_be(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert checker.of_log(log) == []
    log.write_text(
        "2026 [1] 57P01 FATAL:  terminating connection\n2026 [1] 00000 LOG:  all is well\n"
    )
    assert checker.of_log(log) == []
    for found in (log, tmp_path / "log.old"):
        found.write_text("2026 [1] 40P01 ERROR:  deadlock detected\n")
        assert [one.invariant for one in checker.of_log(log)] == ["server log"]
        found.write_text("")


def test_the_same_seed_plans_the_same_acts() -> None:
    def first(seed: int) -> list[plan.Act]:
        return [act for act, _ in zip(plan.acts(seed, 0.3), range(200), strict=False)]

    assert first(1) == first(1)
    assert first(1) != first(2)
    assert {act.deed for act in first(1)} == set(plan.Deed)

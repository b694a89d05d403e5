"""Handlers and Plan: what is registered, what a model is told, what is stored."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator  # noqa: TC003 - handlers' annotations
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, TypeAdapter

from pgflow import Flow, UsageError
from pgflow._bound import bind
from pgflow._plan.schemas import Missing, at_path, described, fits, is_array, schema_of
from pgflow.plan import Handlers, Plan, PlanStep
from pgflow.worker import load_work
from tests.support import plan_handlers
from tests.support.plan_handlers import handlers, plan_of

if TYPE_CHECKING:
    from pathlib import Path


# What a model is told


def test_the_catalogue_has_names_words_parameters_and_outputs() -> None:
    entry = next(one for one in handlers.catalogue() if one["name"] == "double")
    sale = {
        "type": "object",
        "properties": {"month": {"type": "string"}, "total": {"type": "number"}},
        "required": ["month", "total"],
        "description": "What was sold in a month.",
    }
    assert entry == {
        "name": "double",
        "description": "Multiply the total of one sale.",
        "parameters": {
            "type": "object",
            "properties": {"sale": sale, "factor": {"type": "number"}},
            "required": ["sale"],
            "additionalProperties": False,
        },
        "output": sale,
    }
    assert json.loads(json.dumps(handlers.catalogue())) == handlers.catalogue()


def test_the_schema_of_a_plan_is_small_and_names_the_handlers() -> None:
    schema = handlers.plan_schema()
    text = json.dumps(schema)
    assert len(text) < 2500
    assert "$ref" not in text
    assert "null" not in text.replace("they are null", "")
    step = schema["properties"]["steps"]["items"]
    assert step["properties"]["handler"]["enum"] == sorted(one.name for one in handlers)
    assert step["required"] == ["slug", "handler"]
    assert all("description" in step["properties"][name] for name in ("inputs", "over", "params"))
    assert set(step["properties"]) == set(PlanStep.model_fields)


# Registering


def test_a_registered_function_stays_an_ordinary_function() -> None:
    assert plan_handlers.square(3) == 9
    assert handlers["square"].function is plan_handlers.square
    assert "square" in handlers
    assert len(handlers) == len(list(handlers))


def test_names_descriptions_and_options() -> None:
    registry = Handlers(queue="research")

    @registry.register("look_up", description="Look a word up.", queue="web", timeout=5)
    def function(word: str) -> str:
        return word

    assert registry["look_up"].description == "Look a word up."
    assert registry.queues == ["research", "web"]
    plan = Plan.read(
        {"slug": "p", "steps": [{"slug": "a", "handler": "look_up", "params": {"word": "x"}}]},
        registry,
    )
    (step,) = plan.definition(registry)["steps"]
    assert (step["queue"], step["timeout"]) == ("web", 5)
    with pytest.raises(
        UsageError, match="no handler 'lookup' is registered - did you mean 'look_up'"
    ):
        registry["lookup"]


def unusable() -> dict[str, Any]:
    def positional(a: int, /) -> None: ...

    def starred(*a: int) -> None: ...

    def double_starred(**a: int) -> None: ...

    def generator() -> Iterator[int]:
        yield 1

    def holds_bytes(a: bytes) -> None: ...

    def no_json(a: Flow[Any]) -> None: ...

    def unknown(a: Unknown) -> None: ...  # type: ignore[name-defined] # noqa: F821 - it must be unknown

    return {
        "positional": (positional, "no name that a plan could bind"),
        "starred": (starred, "no name that a plan could bind"),
        "double_starred": (double_starred, "no name that a plan could bind"),
        "generator": (generator, "generator"),
        "holds_bytes": (holds_bytes, "parameter 'a' is annotated with bytes, which holds bytes"),
        "no_json": (no_json, "parameter 'a' is annotated with .*cannot pass through JSON"),
        "unknown": (unknown, "unknown at run time"),
        "nothing": (7, "a handler is a function"),
        "lambda": (lambda: 1, "cannot be its name"),
    }


@pytest.mark.parametrize("name", unusable())
def test_what_no_plan_could_call_is_refused(name: str) -> None:
    function, message = unusable()[name]
    with pytest.raises(UsageError, match=message):
        Handlers().register()(function)


def test_names_are_taken_once_and_options_are_checked() -> None:
    registry = Handlers()
    registry.register("a")(lambda: 1)
    with pytest.raises(UsageError, match="taken"):
        registry.register("a")(lambda: 2)
    with pytest.raises(UsageError, match="timeout must be from 1"):
        registry.register("b", timeout=0)(lambda: 2)
    with pytest.raises(UsageError, match="parentheses"):
        registry.register(lambda: 2)  # type: ignore[arg-type] # the mistake that it is about
    with pytest.raises(UsageError, match="queue"):
        Handlers(queue="a b")


def test_annotations_of_nested_names_are_found() -> None:
    registry = Handlers()

    @dataclass
    class Local:
        size: int

    @registry.register()
    def use(value: Local) -> Local:
        return value

    assert registry["use"].output_schema["properties"] == {"size": {"type": "integer"}}


# Storing


def test_a_definition_is_in_order_and_carries_the_bindings() -> None:
    plan = plan_of(
        "p",
        {"slug": "sums", "handler": "summarize", "inputs": {"rows": "fetch"}, "timeout": 7},
        {"slug": "fetch", "handler": "sales", "params": {"year": 2025}},
    )
    definition = plan.definition(handlers)
    assert definition["steps"] == [
        {
            "slug": "fetch",
            "step_type": "single",
            "depends_on": [],
            "queue": "plans",
            "handler": {"name": "sales", "params": {"year": 2025}},
            "max_attempts": 2,
        },
        {
            "slug": "sums",
            "step_type": "single",
            "depends_on": ["fetch"],
            "queue": "plans",
            "handler": {"name": "summarize", "inputs": {"rows": "fetch"}},
            "timeout": 7,
        },
    ]
    again = Plan.from_definition("p", definition)
    assert [one.slug for one in again.steps] == ["fetch", "sums"]
    assert again.steps[0].params == {"year": 2025}
    assert again.definition(handlers) == definition


# Binding


def call(step: dict[str, Any], values: Any) -> Any:
    definition = plan_of("p", *step.pop("before", []), step).definition(handlers)
    return bind("p", definition, handlers, ())[step["slug"]].function(values)


def test_arguments_become_what_the_handler_declares() -> None:
    step = {"slug": "s", "handler": "summarize", "inputs": {"rows": "run.rows"}}
    found = call(step, {"rows": [{"month": "a", "total": 2}, {"month": "b", "total": 3}]})
    assert (found.count, found.total) == (2, 5.0)
    step = {"slug": "s", "handler": "square", "over": "run", "inputs": {"number": "item.n.1"}}
    assert call(step, {"item": {"n": [1, 5]}, "index": 0}) == 25


def test_streams_are_what_they_are_declared_as() -> None:
    registry = Handlers()

    @registry.register()
    def count(rows: Iterator[int]) -> int:
        return sum(1 for _ in rows)

    @registry.register()
    async def walk(rows: AsyncIterator[int]) -> list[int]:
        return [row async for row in rows]

    steps = [
        {"slug": name, "handler": name, "inputs": {"rows": "run"}} for name in ("count", "walk")
    ]
    definition = Plan.read({"slug": "p", "steps": steps}, registry).definition(registry)
    found = bind("p", definition, registry, ())
    assert found["count"].function([1, 2, 3]) == 3
    assert (found["count"].kind, found["walk"].kind) == ("thread", "async")


def test_only_steps_that_need_the_runs_input_read_it() -> None:
    steps = [
        {"slug": "a", "handler": "whatever", "inputs": {"value": "run"}},
        {"slug": "b", "handler": "whatever", "inputs": {"value": "a"}},
        {"slug": "c", "handler": "whatever", "inputs": {"value": "run"}, "depends_on": ["b"]},
    ]
    found = bind("p", plan_of("p", *steps).definition(handlers), handlers, ())
    assert {slug: one.reads_run_input for slug, one in found.items()} == {
        "a": False, "b": False, "c": True,
    }  # fmt: skip


# Schemas


class Node(BaseModel):
    """Contains itself."""

    name: str
    below: list[Node] = []


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (int, float, True),
        (float, int, False),
        (str, int, False),
        (int, str, False),
        (Decimal, float, True),
        (list[int], list[float], True),
        (list[str], list[int], False),
        (list[int], int, False),
        (int | None, int, True),
        (None, int, False),
        (dict[str, int], dict[str, str], True),
        (Node, dict[str, Any], True),
        (Node, Node, True),
        (Any, int, True),
        (int, Any, True),
        (bool, int, False),
        (tuple[int, str], list[int], True),
    ],
)
def test_outputs_fit_parameters(source: Any, target: Any, *, expected: bool) -> None:
    offered = schema_of(TypeAdapter(source), "serialization")
    wanted = schema_of(TypeAdapter(target), "validation")
    assert fits(offered, wanted) is expected


def test_paths_lead_into_schemas_as_far_as_they_are_known() -> None:
    schema = schema_of(TypeAdapter(list[Node]), "serialization")
    assert at_path(schema, ("0", "name")) == {"type": "string"}
    assert at_path(schema, ("0", "nam")) == Missing("nam", ["name", "below"])
    assert at_path(schema, ("name",)) == Missing("name", [])
    assert at_path({}, ("a", "b")) == {}
    assert is_array(schema) is True
    assert is_array({}) is None
    assert described(schema) == "array of object (name, below)"


# Targets


def test_a_workers_target_may_be_handlers(tmp_path: Path) -> None:
    assert load_work(["tests.support.plan_handlers:handlers"]) is handlers
    with pytest.raises(UsageError, match="workers of their own"):
        load_work(["tests.support.plan_handlers:handlers", "tests.support.feature_flows"])
    with pytest.raises(UsageError, match="'handers' does not exist"):
        load_work(["tests.support.plan_handlers:handers"])

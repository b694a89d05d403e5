"""builder.py: flows as data, in the database."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pgflow import (
    Client,
    Database,
    DefinitionError,
    FlowBuilder,
    FlowNotFound,
    Limits,
    RunFailed,
    UsageError,
    execute_dynamic,
)
from tests.support.runs import work


async def test_a_flow_is_stored_with_its_steps_in_order(db: Database) -> None:
    builder = FlowBuilder(db)
    await builder.create_flow("ai", timeout=120)
    await builder.add_step("ai", "fetch")
    await builder.add_step("ai", "analyze", ["fetch"], step_type="map", timeout=300)
    await builder.add_step(
        "ai", "summarize", ["analyze", "fetch"], if_not={"fetch": []}, when_unmet="skip-cascade"
    )
    stored = await builder.get_flow("ai")
    assert (stored.flow.opt_timeout, stored.flow.opt_max_attempts, stored.flow.opt_base_delay) == (
        120,
        3,
        1,
    )
    assert [
        (step.step_slug, step.step_type, step.deps, step.opt_timeout) for step in stored.steps
    ] == [
        ("fetch", "single", [], None),
        ("analyze", "map", ["fetch"], 300),
        ("summarize", "single", ["analyze", "fetch"], None),
    ]
    pattern = stored.steps[2].forbidden_input_pattern
    assert pattern is not None
    assert (pattern.parse(), stored.steps[2].when_unmet) == ({"fetch": []}, "skip-cascade")
    assert [flow.flow_slug for flow in await builder.list_flows()] == ["ai"]


async def test_every_option_reaches_the_database(db: Database) -> None:
    builder = FlowBuilder(db)
    await builder.create_flow(
        "f", max_attempts=5, base_delay=2, timeout=9, max_delay=60, jitter=0.5
    )
    options: dict[str, Any] = {
        "max_attempts": 7,
        "base_delay": 3,
        "timeout": 11,
        "start_delay": 13,
        "max_delay": 17,
        "jitter": 0.25,
        "queue": "gpu",
        "initial_tasks": 4,
        "max_failed_tasks": 2,
        "max_failed_percent": 12.5,
    }
    await builder.add_step("f", "a", step_type="map", **options)
    stored = await builder.get_flow("f")
    (step,) = stored.steps
    assert {name: getattr(step, f"opt_{name}") for name in options} == options
    flow = stored.flow
    assert (flow.opt_max_attempts, flow.opt_base_delay, flow.opt_timeout, flow.opt_max_delay, flow.opt_jitter) == (
        5, 2, 9, 60, 0.5,
    )  # fmt: skip


async def test_creating_and_adding_again_changes_nothing(db: Database) -> None:
    builder = FlowBuilder(db)
    for timeout in (10, 20):
        await builder.create_flow("f", timeout=timeout)
        await builder.add_step("f", "a", timeout=timeout)
    stored = await builder.get_flow("f")
    assert (stored.flow.opt_timeout, [step.opt_timeout for step in stored.steps]) == (10, [10])


BAD_SLUGS = ["", "1st", "run", "with space", "ünï", "a;drop", "line\n", "x" * 129]


async def test_bad_slugs_are_refused_by_name(db: Database) -> None:
    builder = FlowBuilder(db)
    for slug in BAD_SLUGS:
        with pytest.raises(DefinitionError, match="slug must be letters"):
            await builder.create_flow(slug)
    assert await builder.list_flows() == []
    await builder.create_flow("f")
    for slug in BAD_SLUGS:
        with pytest.raises(DefinitionError, match="slug must be letters"):
            await builder.add_step("f", slug)
    assert (await builder.get_flow("f")).steps == ()


BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"max_attempts": -1}, "max_attempts must not be negative"),
    ({"base_delay": -1}, "base_delay must not be negative"),
    ({"timeout": 0}, "timeout must be positive"),
    ({"start_delay": -1}, "start_delay must not be negative"),
    ({"jitter": 2}, "jitter must be between 0 and 1"),
    ({"step_type": "loop"}, "step_type must be single or map"),
    ({"when_unmet": "never"}, "when_unmet must be"),
    ({"when_exhausted": "never"}, "when_exhausted must be"),
    ({"if_": [1]}, "if_ must be an object"),
    ({"queue": "no queue"}, "queue must be"),
    ({"initial_tasks": 0}, "initial_tasks must be positive"),
    ({"max_failed_percent": 101}, "max_failed_percent must be between"),
    ({"timeout": "soon"}, "invalid input syntax"),
    ({"timeout": 10**12}, "out of range"),
]


async def test_bad_options_are_refused_in_words(db: Database) -> None:
    builder = FlowBuilder(db)
    await builder.create_flow("f")
    for options, problem in BAD_OPTIONS:
        with pytest.raises(DefinitionError, match=problem) as caught:
            await builder.add_step("f", "a", **options)
        assert caught.value.flow == "f"
        assert "step 'a'" in caught.value.problems[0]
    assert (await builder.get_flow("f")).steps == ()


async def test_bad_options_of_a_flow_are_refused(db: Database) -> None:
    options: list[dict[str, Any]] = [
        {"timeout": 0},
        {"max_attempts": -1},
        {"jitter": -0.1},
        {"max_delay": -1},
    ]
    for option in options:
        with pytest.raises(DefinitionError, match=f"{next(iter(option))} must"):
            await FlowBuilder(db).create_flow("f", **option)
    assert await db.flow_slugs() == []


async def test_wrong_dependencies_are_named(db: Database) -> None:
    builder = FlowBuilder(db)
    await builder.create_flow("f")
    await builder.add_step("f", "fetch_data")
    await builder.add_step("f", "b")
    with pytest.raises(DefinitionError, match="'fetch_dta' - did you mean 'fetch_data'"):
        await builder.add_step("f", "c", ["b", "fetch_dta"])
    with pytest.raises(DefinitionError, match="depends on itself"):
        await builder.add_step("f", "c", ["b", "c"])
    with pytest.raises(DefinitionError, match="depends twice on b"):
        await builder.add_step("f", "c", ["b", "b"])
    with pytest.raises(DefinitionError, match="at most one dependency"):
        await builder.add_step("f", "c", ["b", "fetch_data"], step_type="map")
    with pytest.raises(UsageError, match=r"\['b'\]"):
        await builder.add_step("f", "c", "b")
    assert [step.step_slug for step in (await builder.get_flow("f")).steps] == ["fetch_data", "b"]


async def test_an_unknown_flow_is_named_with_the_closest(db: Database) -> None:
    builder = FlowBuilder(db)
    await builder.create_flow("ai_analysis")
    for call in (
        builder.add_step("ai_analisis", "a"),
        builder.get_flow("ai_analisis"),
        builder.delete_flow("ai_analisis"),
    ):
        with pytest.raises(FlowNotFound, match="did you mean 'ai_analysis'"):
            await call


async def test_a_flow_with_live_runs_is_deleted_only_when_asked_to_cancel_them(
    db: Database,
) -> None:
    builder = FlowBuilder(db)
    await builder.create_flow("f")
    await builder.add_step("f", "a")
    run = await Client(db).start("f", {})
    with pytest.raises(UsageError, match=f"1 run lives, such as {run.id}"):
        await builder.delete_flow("f")
    assert await run.status() == "started"
    await builder.delete_flow("f", cancel=True)
    assert await builder.list_flows() == []
    assert await db.run(run.id) is None


async def test_a_flow_whose_runs_have_ended_is_deleted_with_them(db: Database) -> None:
    builder = FlowBuilder(db)
    await builder.create_flow("f")
    await builder.add_step("f", "a")
    await Client(db).start("f", {})
    await work(db, "f", {"a": lambda _: 1})
    await builder.delete_flow("f")
    assert await Client(db).list() == []
    assert await db.queues() == []


async def test_no_run_slips_in_while_a_flow_is_being_deleted(db: Database) -> None:
    builder = FlowBuilder(db)
    for _ in range(10):
        await builder.create_flow("f")
        await builder.add_step("f", "a")
        deleted, started = await asyncio.gather(
            builder.delete_flow("f"), Client(db).start("f", {}), return_exceptions=True
        )
        if deleted is None:
            assert isinstance(started, FlowNotFound)
        else:
            assert isinstance(deleted, UsageError)
            assert not isinstance(started, BaseException)
            await builder.delete_flow("f", cancel=True)


# Limits for strangers, and whole definitions


TIGHT = Limits(
    max_steps=2, max_dependencies=1, max_items=3, max_attempts=5, max_timeout=10, max_delay=10, max_tasks=9,
    max_pattern_depth=2, max_pattern_bytes=30, max_definition_bytes=2000, max_redact_paths=1,
)  # fmt: skip


async def test_tight_limits_hold_for_flows_and_steps(db: Database) -> None:
    builder = FlowBuilder(db, limits=TIGHT)
    with pytest.raises(DefinitionError) as caught:
        await builder.create_flow(
            "ai", max_attempts=6, timeout=11, base_delay=11, redact=["a", "b"], max_items=4
        )
    assert sorted(caught.value.problems) == [
        "base_delay must be at most 10, not 11",
        "max_attempts must be at most 5, not 6",
        "max_delay must be at most 10, not 3600",
        "max_items must be at most 3, not 4",
        "redact has 2 paths, at most 1 are possible",
        "timeout must be at most 10, not 11",
    ]
    assert await builder.list_flows() == []
    created = await builder.create_flow("ai", timeout=10, max_delay=10, redact=["a"])
    assert (created.opt_max_items, created.redact) == (3, ["a"])
    with pytest.raises(DefinitionError) as caught:
        await builder.add_step(
            "ai", "m", step_type="map", initial_tasks=10, start_delay=11, if_={"a": {"b": {"c": 1}}}
        )
    assert caught.value.problems == [
        "step 'm': start_delay must be at most 10, not 11",
        "step 'm': initial_tasks must be at most 9, not 10",
        "step 'm': required_input_pattern is nested deeper than 2 levels",
    ]
    await builder.add_step("ai", "a")
    await builder.add_step("ai", "b", ["a"])
    await builder.add_step("ai", "b", ["a"])  # again changes nothing, so it is no third step
    with pytest.raises(
        DefinitionError, match="step 'c': the flow has 2 steps, more are not possible"
    ):
        await builder.add_step("ai", "c")
    with pytest.raises(DefinitionError, match="it has 2 dependencies, at most 1 are possible"):
        await builder.add_step("ai", "b", ["a", "c"])


async def test_a_whole_definition_is_stored_and_runs(db: Database) -> None:
    builder = FlowBuilder(db)
    definition: dict[str, Any] = {
        "options": {"timeout": 120, "redact": ["*.token"], "max_items": 10},
        "steps": [
            {"slug": "fetch"},
            {"slug": "each", "step_type": "map", "depends_on": ["fetch"]},
        ],
    }
    assert await builder.define_flow("ai", definition) == 1
    assert await builder.define_flow("ai", definition) == 1
    stored = await builder.get_flow("ai")
    assert (stored.flow.opt_timeout, stored.flow.redact, stored.flow.opt_max_items) == (
        120,
        ["*.token"],
        10,
    )
    handlers: dict[str, Any] = {
        "fetch": lambda n: list(range(n)),
        "each": lambda given: given["item"],
    }
    result = await execute_dynamic("ai", 3, handlers, db, timeout=60)
    assert result.output == {"each": [0, 1, 2]}
    with pytest.raises(RunFailed, match="TOO_MANY_ITEMS"):
        await execute_dynamic("ai", 11, handlers, db, timeout=60)


async def test_a_whole_definition_under_tight_limits(db: Database) -> None:
    builder = FlowBuilder(db, limits=TIGHT)
    assert await builder.define_flow("small", {"steps": [{"slug": "a"}]}) == 1
    assert (await builder.get_flow("small")).flow.opt_max_items == 3
    with pytest.raises(DefinitionError) as caught:
        await builder.define_flow(
            "ai",
            {
                "options": {"max_items": 4, "timeout": 11, "redact": ["a", "b"]},
                "steps": [{"slug": name, "timeout": 11, "note": "x" * 1000} for name in "abc"],
            },
        )
    problems = caught.value.problems
    assert problems[:5] == [
        "timeout must be at most 10, not 11",
        "max_items must be at most 3, not 4",
        *(f"step '{name}': timeout must be at most 10, not 11" for name in "abc"),
    ]
    assert problems[5] == "it has more than 2 steps; split it into several flows"
    assert problems[6].endswith("bytes, at most 2000 are possible")
    assert problems[7] == "redact has 2 paths, at most 1 are possible"
    assert [flow.flow_slug for flow in await builder.list_flows()] == ["small"]


@pytest.mark.parametrize(
    "definition",
    [{}, {"steps": None}, {"steps": 5}, {"steps": [5]}, {"steps": [{}]}, {"steps": [], "options": 5}, {"steps": [{"slug": object()}]}],
)  # fmt: skip
async def test_a_definition_of_another_form_is_refused(db: Database, definition: Any) -> None:
    builder = FlowBuilder(db)
    with pytest.raises(DefinitionError):
        await builder.define_flow("ai", definition)
    assert await builder.list_flows() == []

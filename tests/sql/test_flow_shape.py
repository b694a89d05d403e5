"""pgflow._get_flow_shape, _compare_flow_shapes and _create_flow_from_shape: definitions as JSON."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.support.sql import Connection, define, row, rows, value

UNDEFINED = {"defined": False}


def step(slug: str, **changes: Any) -> dict[str, Any]:
    shape = {
        "slug": slug,
        "stepType": "single",
        "dependencies": [],
        "whenUnmet": "skip",
        "whenExhausted": "fail",
        "requiredInputPattern": UNDEFINED,
        "forbiddenInputPattern": UNDEFINED,
    }
    return shape | changes


def defined(pattern: object) -> dict[str, object]:
    return {"defined": True, "value": pattern}


def get(connection: Connection, flow: str) -> Any:
    return value(connection, "select pgflow._get_flow_shape(p_flow_slug => %s)", flow)


def compare(
    connection: Connection, first: list[dict[str, Any]], second: list[dict[str, Any]]
) -> Any:
    query = "select pgflow._compare_flow_shapes(p_local => %s, p_db => %s)"
    return value(connection, query, Jsonb({"steps": first}), Jsonb({"steps": second}))


def create(connection: Connection, flow: str, shape: dict[str, Any]) -> None:
    row(
        connection,
        "select pgflow._create_flow_from_shape(p_flow_slug => %s, p_shape => %s)",
        flow,
        Jsonb(shape),
    )


# _get_flow_shape


def test_shape_of_a_plain_step(connection: Connection) -> None:
    define(connection, "f", {"a": []})
    assert get(connection, "f") == {"steps": [step("a")]}


def test_shape_of_an_unknown_flow(connection: Connection) -> None:
    assert get(connection, "nowhere") == {"steps": []}


def test_shape_of_a_flow_without_steps(connection: Connection) -> None:
    define(connection, "f", {})
    assert get(connection, "f") == {"steps": []}


def test_shape_lists_steps_by_index(connection: Connection) -> None:
    define(connection, "f", {"z": [], "a": [], "m": []})
    assert [one["slug"] for one in get(connection, "f")["steps"]] == ["z", "a", "m"]


def test_shape_sorts_dependencies(connection: Connection) -> None:
    define(connection, "f", {"z": [], "a": [], "join": ["z", "a"]})
    assert get(connection, "f")["steps"][2]["dependencies"] == ["a", "z"]


def test_shape_tells_types_modes_and_patterns(connection: Connection) -> None:
    details = {
        "step_type": "map",
        "when_unmet": "fail",
        "when_exhausted": "skip-cascade",
        "required_input_pattern": {"k": [1]},
        "forbidden_input_pattern": {},
    }
    define(connection, "f", {"m": details})
    expected = step(
        "m",
        stepType="map",
        whenUnmet="fail",
        whenExhausted="skip-cascade",
        requiredInputPattern=defined({"k": [1]}),
        forbiddenInputPattern=defined({}),
    )
    assert get(connection, "f") == {"steps": [expected]}


def test_shape_leaves_options_out(connection: Connection) -> None:
    options = {"max_attempts": 9, "base_delay": 9, "timeout": 9, "start_delay": 9}
    define(connection, "f", {"a": options}, max_attempts=8, base_delay=8, timeout=8)
    assert get(connection, "f") == {"steps": [step("a")]}


# _compare_flow_shapes


def test_equal_shapes_have_no_difference(connection: Connection) -> None:
    shape = [step("a"), step("b", dependencies=["a"], requiredInputPattern=defined({"k": 1}))]
    assert compare(connection, shape, shape) == []


def test_empty_shapes_have_no_difference(connection: Connection) -> None:
    assert compare(connection, [], []) == []


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (step("first"), step("different"), "slug differs 'first' vs 'different'"),
        (step("a"), step("a", stepType="map"), "type differs 'single' vs 'map'"),
        (
            step("a", dependencies=["alpha"]),
            step("a", dependencies=["beta"]),
            "dependencies differ [alpha] vs [beta]",
        ),
        (
            step("a", dependencies=["z", "b"]),
            step("a", dependencies=[]),
            "dependencies differ [b, z] vs []",
        ),
        (
            step("a", whenUnmet="skip-cascade"),
            step("a"),
            "whenUnmet differs 'skip-cascade' vs 'skip'",
        ),
        (step("a", whenExhausted="skip"), step("a"), "whenExhausted differs 'skip' vs 'fail'"),
        (
            step("a", requiredInputPattern=defined({"k": 1})),
            step("a"),
            """requiredInputPattern differs '{"value": {"k": 1}, "defined": true}' vs '{"defined": false}'""",
        ),
        (
            step("a"),
            step("a", forbiddenInputPattern=defined({})),
            """forbiddenInputPattern differs '{"defined": false}' vs '{"value": {}, "defined": true}'""",
        ),
        (
            step("a", requiredInputPattern=defined({"k": 1})),
            step("a", requiredInputPattern=defined({"k": 2})),
            (
                'requiredInputPattern differs \'{"value": {"k": 1}, "defined": true}\''
                ' vs \'{"value": {"k": 2}, "defined": true}\''
            ),
        ),
    ],
)
def test_a_difference_is_told(
    connection: Connection, first: dict[str, Any], second: dict[str, Any], text: str
) -> None:
    assert compare(connection, [first], [second]) == [f"Step at index 0: {text}"]


def test_dependencies_in_another_order_are_equal(connection: Connection) -> None:
    first, second = step("c", dependencies=["a", "b"]), step("c", dependencies=["b", "a"])
    assert compare(connection, [first], [second]) == []


def test_a_step_missing_in_the_second(connection: Connection) -> None:
    assert compare(connection, [step("a"), step("x")], [step("a")]) == [
        "Step count differs: 2 vs 1",
        "Step at index 1: missing in second shape (first has 'x')",
    ]


def test_a_step_missing_in_the_first(connection: Connection) -> None:
    assert compare(connection, [step("a")], [step("a"), step("x")]) == [
        "Step count differs: 1 vs 2",
        "Step at index 1: missing in first shape (second has 'x')",
    ]


def test_differences_of_one_step_come_in_a_fixed_order(connection: Connection) -> None:
    other = step(
        "b",
        stepType="map",
        dependencies=["p"],
        whenUnmet="fail",
        whenExhausted="skip",
        requiredInputPattern=defined({}),
        forbiddenInputPattern=defined({}),
    )
    words = [
        text.split(": ")[1].split(" differ")[0]
        for text in compare(connection, [step("a")], [other])
    ]
    expected = [
        "slug",
        "type",
        "dependencies",
        "whenUnmet",
        "whenExhausted",
        "requiredInputPattern",
        "forbiddenInputPattern",
    ]
    assert words == expected


def test_differences_come_by_index_after_the_count(connection: Connection) -> None:
    first = [step("a"), step("b"), step("c")]
    second = [step("x"), step("b", stepType="map")]
    assert compare(connection, first, second) == [
        "Step count differs: 3 vs 2",
        "Step at index 0: slug differs 'a' vs 'x'",
        "Step at index 1: type differs 'single' vs 'map'",
        "Step at index 2: missing in second shape (first has 'c')",
    ]


@pytest.mark.parametrize("key", ["slug", "stepType", "whenUnmet", "whenExhausted"])
def test_a_key_missing_on_one_side_is_no_difference(connection: Connection, key: str) -> None:
    partial = {name: one for name, one in step("a").items() if name != key}
    assert compare(connection, [partial], [step("a")]) == []
    assert compare(connection, [step("a")], [partial]) == []


@pytest.mark.parametrize("key", ["requiredInputPattern", "forbiddenInputPattern"])
def test_a_pattern_missing_on_one_side_is_a_difference(connection: Connection, key: str) -> None:
    partial = {name: one for name, one in step("a").items() if name != key}
    for differences in (
        compare(connection, [partial], [step("a")]),
        compare(connection, [step("a")], [partial]),
    ):
        assert len(differences) == 1
        assert differences[0].startswith(f"Step at index 0: {key} differs ")


def test_keys_missing_on_both_sides_are_no_difference(connection: Connection) -> None:
    assert compare(connection, [{"slug": "a"}], [{"slug": "a"}]) == []


def test_options_are_not_compared(connection: Connection) -> None:
    first, second = step("a", options={"maxAttempts": 1}), step("a", options={"maxAttempts": 2})
    assert compare(connection, [first], [second]) == []


# _create_flow_from_shape


def test_creates_what_can_be_read_back(connection: Connection) -> None:
    shape = {
        "steps": [
            step("z"),
            step("a", requiredInputPattern=defined({"k": 1}), whenUnmet="skip-cascade"),
            step(
                "m",
                stepType="map",
                dependencies=["z"],
                forbiddenInputPattern=defined({}),
                whenExhausted="skip",
            ),
            step("join", dependencies=["a", "m"], whenUnmet="fail"),
        ]
    }
    create(connection, "f", shape)
    assert get(connection, "f") == shape


def test_creates_with_the_options_of_the_shape(connection: Connection) -> None:
    options = {"maxAttempts": 7, "baseDelay": 8, "timeout": 9}
    create(
        connection,
        "f",
        {"steps": [step("a", options=options | {"startDelay": 10})], "options": options},
    )
    flow = row(connection, "select * from pgflow.flows")
    assert (flow["opt_max_attempts"], flow["opt_base_delay"], flow["opt_timeout"]) == (7, 8, 9)
    stored = row(connection, "select * from pgflow.steps")
    columns = ("opt_max_attempts", "opt_base_delay", "opt_timeout", "opt_start_delay")
    assert tuple(stored[column] for column in columns) == (7, 8, 9, 10)


def test_absent_options_give_the_flow_its_defaults_and_steps_null(connection: Connection) -> None:
    create(connection, "f", {"steps": [step("a")]})
    flow = row(connection, "select * from pgflow.flows")
    assert (flow["opt_max_attempts"], flow["opt_base_delay"], flow["opt_timeout"]) == (3, 5, 60)
    stored = row(connection, "select * from pgflow.steps")
    columns = ("opt_max_attempts", "opt_base_delay", "opt_timeout", "opt_start_delay")
    assert tuple(stored[column] for column in columns) == (None, None, None, None)


def test_absent_modes_and_patterns_become_defaults(connection: Connection) -> None:
    create(connection, "f", {"steps": [{"slug": "a", "stepType": "single", "dependencies": []}]})
    assert get(connection, "f") == {"steps": [step("a")]}


def test_creates_steps_in_array_order(connection: Connection) -> None:
    create(connection, "f", {"steps": [step("z"), step("b"), step("a")]})
    found = rows(connection, "select step_slug, step_index from pgflow.steps order by step_index")
    assert [tuple(one.values()) for one in found] == [("z", 0), ("b", 1), ("a", 2)]


def test_creates_the_queue(connection: Connection) -> None:
    create(connection, "f", {"steps": []})
    assert value(connection, "select count(*) from pgmq.list_queues() where queue_name = 'f'") == 1

"""The seed's form: a list of (name, function, options)."""

from typing import Any

import pytest

from pgflow.errors import DefinitionError
from pgflow.flow import Flow, MapStep


def handle(given: dict[str, Any]) -> Any:
    return given


def test_the_seeds_campaign() -> None:
    flow = Flow.from_list(
        "email_campaign",
        [
            ("fetch_subscribers", handle, {"depends_on": []}),
            ("send_emails", handle, {"depends_on": ["fetch_subscribers"], "initial_tasks": 1000}),
            ("track_results", handle, {"depends_on": ["send_emails"], "timeout": 9}),
        ],
        max_attempts=4,
    )
    assert flow.definition()["options"]["max_attempts"] == 4
    # The length of the array rules, so the seed's estimate does not arrive.
    assert flow.definition()["steps"] == [
        {"slug": "fetch_subscribers", "step_type": "single", "depends_on": []},
        {"slug": "send_emails", "step_type": "map", "depends_on": ["fetch_subscribers"]},
        {
            "slug": "track_results",
            "step_type": "single",
            "depends_on": ["send_emails"],
            "timeout": 9,
        },
    ]
    assert isinstance(flow["send_emails"], MapStep)
    assert {step.convention for step in flow} == {"mapping"}


def test_a_bare_pair_depends_on_the_entry_before() -> None:
    flow = Flow.from_list("f", [("a", handle), ("b", handle), ("c", handle, {}), ("d", handle)])
    assert [step.dependency_slugs for step in flow] == [(), ("a",), (), ("c",)]


def test_maps_of_the_list() -> None:
    flow = Flow.from_list(
        "f",
        [
            ("shards", handle, {"initial_tasks": 4}),
            ("each", handle, {"depends_on": ["shards"], "step_type": "map"}),
            ("once", handle, {"depends_on": ["each"], "step_type": "single", "initial_tasks": 1}),
            ("items", handle, {"step_type": "map"}),
        ],
    )
    assert [step.step_type for step in flow] == ["map", "map", "single", "map"]
    assert flow["shards"].initial_tasks == 4
    assert flow["each"].over is flow["shards"]
    assert flow["items"].takes_element


def test_dependencies_may_come_later_in_the_list() -> None:
    flow = Flow.from_list("f", [("b", handle, {"depends_on": ["a"]}), ("a", handle, {})])
    assert [step.slug for step in flow] == ["a", "b"]


def test_each_kind_of_problem_is_named_and_all_at_once() -> None:
    def two(a: Any, b: Any) -> None: ...

    flow = Flow.from_list(
        "f",
        [
            ("cycle_a", handle, {"depends_on": ["cycle_b"]}),
            ("cycle_b", handle, {"depends_on": ["cycle_a"]}),
            ("missing", handle, {"depends_on": ["cycle_c"]}),
            ("itself", handle, {"depends_on": ["itself"]}),
            ("twice", handle, {"depends_on": ["missing", "missing"]}),
            ("twice", handle, {}),
            ("many", handle, {"depends_on": ["missing", "itself"], "initial_tasks": 3}),
            ("counted", handle, {"step_type": "single", "initial_tasks": 3}),
            ("typo", handle, {"max_attemps": 3, "step_type": "mp", "depends_on": "missing"}),
            ("arguments", two, {}),
            ("alone",),
            "not a tuple",
            ("options", handle, 5),
        ],
    )
    with pytest.raises(DefinitionError) as caught:
        flow.validate()
    text = "\n".join(caught.value.problems)
    for part in (
        "is in a cycle: cycle_a -> cycle_b -> cycle_a",
        "step 'missing': depends on 'cycle_c', which does not exist - did you mean",
        "step 'itself': depends on itself",
        "step 'twice': depends on 'missing' 2 times",
        "step 'twice': defined 2 times",
        "step 'many': a map takes one array, or none; it was given 2: missing, itself",
        "step 'counted': has no option 'initial_tasks'",
        "step 'typo': has no option 'max_attemps' - did you mean 'max_attempts'?",
        "step 'typo': step_type must be 'single' or 'map', not 'mp'",
        "step 'typo': depends_on must be a list of names, not 'missing'",
        "step 'arguments': its handler takes (a: Any, b: Any) -> None, but must take one mapping",
        "entry 10: must be (name, function)",
        "entry 11: must be (name, function)",
        "step 'options': options must be a mapping, not 5",
    ):
        assert part in text
    assert len(caught.value.problems) == 14

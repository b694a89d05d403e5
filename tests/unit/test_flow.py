"""What a flow is: steps, order, definition, identity across processes."""

import copy
import pickle
import subprocess
import sys
from typing import Any

import pytest

from pgflow.errors import UsageError
from pgflow.flow import Flow, MapStep, Step, at_most

campaign = Flow[dict[str, int]]("campaign", max_attempts=5, timeout=30, description="Sends mail.")


@campaign.step()
async def fetch(campaign: dict[str, int]) -> list[str]:
    """Fetch everybody."""
    return ["ada"] * campaign["count"]


@campaign.map(over=fetch, max_attempts=7, failure_policy=at_most(percent=1))
def send(name: str) -> int:
    return len(name)


@campaign.step(depends_on=(fetch, send), queue="gpu", if_={"fetch": ["ada"]}, when_unmet="fail")
def track(names: list[str], sizes: list[int | None]) -> int:
    return len(names) + len(sizes)


def test_definition_is_what_define_flow_takes() -> None:
    assert campaign.definition() == {
        "options": {
            "max_attempts": 5,
            "base_delay": 1,
            "timeout": 30,
            "max_delay": 3600,
            "jitter": 0.1,
        },
        "steps": [
            {"slug": "fetch", "step_type": "single", "depends_on": []},
            {
                "slug": "send",
                "step_type": "map",
                "depends_on": ["fetch"],
                "max_attempts": 7,
                "max_failed_percent": 1,
            },
            {
                "slug": "track",
                "step_type": "single",
                "depends_on": ["fetch", "send"],
                "queue": "gpu",
                "required_input_pattern": {"fetch": ["ada"]},
                "when_unmet": "fail",
            },
        ],
    }


def test_every_option_reaches_the_definition() -> None:
    flow = Flow[list[int]]("f")
    flow.map(
        name="all_of_them",
        max_attempts=1,
        base_delay=0,
        max_delay=9,
        jitter=1,
        timeout=2,
        start_delay=3,
        if_={"a": 1},
        if_not={"b": 2},
        when_unmet="skip-cascade",
        when_exhausted="skip",
        failure_policy=at_most(5),
        isolation="thread",
        non_retryable=(ValueError,),
    )(abs)
    assert flow.definition()["steps"] == [
        {
            "slug": "all_of_them",
            "step_type": "map",
            "depends_on": [],
            "max_attempts": 1,
            "base_delay": 0,
            "max_delay": 9,
            "jitter": 1,
            "timeout": 2,
            "start_delay": 3,
            "required_input_pattern": {"a": 1},
            "forbidden_input_pattern": {"b": 2},
            "when_unmet": "skip-cascade",
            "when_exhausted": "skip",
            "max_failed_tasks": 5,
        }
    ]
    assert flow["all_of_them"].isolation == "thread"
    assert flow["all_of_them"].non_retryable == (ValueError,)


def test_a_step_is_still_its_function() -> None:
    assert send("ada") == 3
    assert track(["a"], [1, None]) == 3
    assert (fetch.__name__, fetch.__doc__) == ("fetch", "Fetch everybody.")


async def test_an_async_step_is_awaited_as_its_function_is() -> None:
    assert await fetch({"count": 2}) == ["ada", "ada"]


def test_what_a_step_knows() -> None:
    assert isinstance(send, MapStep)
    assert (send.slug, send.step_type, send.handler_key) == (
        "send",
        "map",
        "campaign.send(map:fetch)",
    )
    assert track.handler_key == "campaign.track(single:fetch,send)"
    assert fetch.handler_key == "campaign.fetch(single:)"
    assert track.deps == (fetch, send)
    assert (send.over, track.over) == (fetch, None)
    assert send.failure_policy == at_most(percent=1)
    assert (track.queue, send.queue) == ("gpu", None)
    assert (send.option("max_attempts"), track.option("max_attempts")) == (7, 5)
    assert (send.takes_element, track.takes_element) == (True, False)
    assert send.convention == "positional"


def test_arguments_follow_the_order_of_depends_on() -> None:
    flow = Flow[Any]("f")
    b = flow.step(name="b")(lambda x: x)
    a = flow.step(name="a")(lambda x: x)
    last = flow.step(name="last", depends_on=(b, a))(lambda x, y: (x, y))
    assert last.dependency_slugs == ("b", "a")
    assert last.handler_key == "f.last(single:a,b)"


def test_a_map_without_array_has_a_fixed_number_of_tasks() -> None:
    flow = Flow[int]("f")
    shard = flow.map(name="shard", initial_tasks=4)(lambda x: x)
    assert (shard.initial_tasks, shard.takes_element, shard.over) == (4, False, None)
    assert flow.definition()["steps"][0]["initial_tasks"] == 4


def test_a_root_map_takes_the_items_of_the_input() -> None:
    flow = Flow[list[int]]("f")
    double = flow.map(name="double")(lambda x: 2 * x)
    assert (double.initial_tasks, double.takes_element) == (None, True)


def test_continue_tolerates_every_failure() -> None:
    flow = Flow[list[int]]("f")
    flow.map(name="m", failure_policy="continue")(abs)
    assert flow.definition()["steps"][0]["max_failed_percent"] == 100


def test_none_stands_for_an_absent_option() -> None:
    flow = Flow[Any]("f")
    flow.step(name="a", isolation=None)(abs)
    assert flow["a"].options == {}


def test_steps_come_in_topological_order() -> None:
    flow = Flow[Any]("f")
    flow.step(name="last", depends_on=["middle"])(abs)
    flow.step(name="middle", depends_on=["first"])(abs)
    flow.step(name="other")(abs)
    flow.step(name="first")(abs)
    assert [step.slug for step in flow.steps] == ["other", "first", "middle", "last"]
    assert [step.slug for step in flow] == [entry["slug"] for entry in flow.definition()["steps"]]


def test_a_flow_grows_until_it_is_used_and_after() -> None:
    flow = Flow[Any]("f")
    a = flow.step(name="a")(abs)
    assert len(flow.steps) == 1
    flow.step(name="b", depends_on=(a,))(abs)
    assert [step.slug for step in flow.steps] == ["a", "b"]
    assert len(flow) == 2


def test_a_flow_is_read_like_a_mapping_of_slugs() -> None:
    assert campaign["send"] is send
    assert "send" in campaign
    assert "sendd" not in campaign
    with pytest.raises(UsageError, match="has no step 'sendd' - did you mean 'send'"):
        _ = campaign["sendd"]


def test_input_type_is_what_the_flow_was_given() -> None:
    assert campaign.input_type == dict[str, int]
    assert Flow("f").input_type is Any


def test_bare_decorators_are_explained() -> None:
    for decorator, name in ((campaign.step, "step"), (campaign.map, "map")):
        with pytest.raises(UsageError, match=rf"write @flow\.{name}\(\)"):
            decorator(abs)  # type: ignore[call-overload]


def test_flows_and_steps_pickle_by_reference() -> None:
    assert campaign.reference == f"{__name__}:campaign"
    assert pickle.loads(pickle.dumps((campaign, send))) == (campaign, send)


def test_a_flow_without_a_name_cannot_be_pickled() -> None:
    flow = Flow[Any]("local")
    assert flow.reference is None
    with pytest.raises(UsageError, match="top level"):
        pickle.dumps(flow)


def test_a_step_is_never_copied() -> None:
    assert isinstance(campaign["fetch"], Step)
    assert copy.copy(fetch) is fetch


def shape(**changes: Any) -> str:
    flow = Flow[Any](changes.pop("slug", "f"), max_attempts=changes.pop("attempts", 3))
    a = flow.step(name="a")(abs)
    flow.map(name="b", over=a, **changes)(abs)
    return flow.shape_hash()


def test_shape_hash_ignores_options() -> None:
    same = {shape(), shape(attempts=9), shape(timeout=9), shape(jitter=1), shape(max_delay=1)}
    assert len(same) == 1


def test_shape_hash_sees_structure() -> None:
    hashes = [
        shape(),
        shape(slug="g"),
        shape(queue="gpu"),
        shape(if_={"a": 1}),
        shape(if_={"a": 2}),
        shape(if_not={"a": 1}),
        shape(when_unmet="fail"),
        shape(when_exhausted="skip"),
    ]
    assert len(set(hashes)) == len(hashes)


def test_shape_hash_is_the_same_in_every_process() -> None:
    code = (
        "from pgflow import Flow\n"
        "flow = Flow('f')\n"
        "a = flow.step(name='a')(abs)\n"
        "flow.map(name='b', over=a)(abs)\n"
        "print(flow.shape_hash())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == shape()


def test_one_function_may_be_a_step_of_two_flows() -> None:
    def work(value: int) -> int:
        return value + 1

    work.slug = "its own"  # type: ignore[attr-defined]
    first, second = Flow[int]("first"), Flow[int]("second")
    inner = first.step()(work)
    outer: Any = second.step(name="again")(inner)
    assert (inner.slug, inner.flow, outer.slug, outer.flow) == ("work", first, "again", second)
    assert outer.function is work
    assert (inner(1), outer(1)) == (2, 2)

"""Everything that can be wrong with a flow is told at once, each problem with its step."""

from time import perf_counter
from typing import Any

import pytest

from pgflow.errors import DefinitionError, UsageError
from pgflow.flow import AtMost, Flow, at_most, is_valid_slug


def problems_of(flow: Flow[Any]) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        flow.definition()
    assert caught.value.flow == flow.slug
    return caught.value.problems


def only_problem_of(flow: Flow[Any]) -> str:
    problems = problems_of(flow)
    assert len(problems) == 1, problems
    return problems[0]


def one_step(**options: Any) -> Flow[Any]:
    flow = Flow[Any]("f")
    flow.step(name="a", **options)(abs)
    return flow


def one_map(**options: Any) -> Flow[Any]:
    flow = Flow[Any]("f")
    flow.map(name="a", **options)(abs)
    return flow


def test_nothing_is_checked_before_use() -> None:
    flow = Flow[Any]("not a slug")
    flow.step(depends_on=["nowhere"])(abs)
    assert len(flow) == 1


def test_all_problems_at_once() -> None:
    flow = Flow[Any]("no slug", timeout=0)
    flow.step(name="run", depends_on=["fetsh"])(abs)
    add: Any = flow.step
    add(name="fetch", max_attempts=-1)(lambda: 1)
    flow.step(name="fetch")(abs)
    flow.step(name="x", depends_on=["y"])(abs)
    flow.step(name="y", depends_on=["x"])(abs)
    text = "\n".join(problems_of(flow))
    for part in (
        "'no slug' cannot be the name of a flow",
        "timeout must be from 1 to",
        "step 'run': 'run' is a reserved word",
        "step 'run': depends on 'fetsh', which does not exist - did you mean 'fetch'?",
        "step 'fetch': defined 2 times",
        "step 'fetch': max_attempts must be from 0 to",
        "step 'fetch': its handler takes (), but must take one argument, the run's input",
        "step 'x': is in a cycle: x -> y -> x",
    ):
        assert part in text
    assert len(problems_of(flow)) == 8


def test_no_steps() -> None:
    assert only_problem_of(Flow[Any]("f")) == "it has no steps"


@pytest.mark.parametrize("slug", ["a", "_", "A9_", "a" * 128, "Run", "running"])
def test_good_slugs(slug: str) -> None:
    assert is_valid_slug(slug)


BAD_SLUGS = [
    "", " ", "1a", "a-b", "a b", "a\n", "\na", "a\x00", "é", "\uff41", "a" * 129, "run", "a;drop",
    'a"b', "a.b", "a٣", None, 3, b"a",
]  # fmt: skip


@pytest.mark.parametrize("slug", BAD_SLUGS)
def test_bad_slugs(slug: Any) -> None:
    assert not is_valid_slug(slug)
    flow = Flow[Any](slug)
    flow.step(name=slug if slug is not None else "1")(abs)
    with pytest.raises(DefinitionError) as caught:
        flow.validate()
    assert len(caught.value.problems) == 2


def test_self_duplicate_and_foreign_dependencies() -> None:
    other = Flow[Any]("other")
    theirs = other.step(name="theirs")(abs)
    flow = Flow[Any]("f")
    flow.step(name="a")(abs)
    flow.step(name="b", depends_on=["b"])(abs)
    flow.step(name="c", depends_on=["a", "a"])(max)
    flow.step(name="d", depends_on=(theirs,))(abs)
    assert problems_of(flow) == [
        "step 'b': depends on itself",
        "step 'c': depends on 'a' 2 times",
        "step 'd': depends on 'theirs' of another flow, 'other'; an edge stays within one flow",
    ]


def test_two_separate_cycles_are_both_named() -> None:
    flow = Flow[Any]("f")
    for name, dep in (("a", "b"), ("b", "a"), ("c", "d"), ("d", "e"), ("e", "c"), ("f", "a")):
        flow.step(name=name, depends_on=[dep])(abs)
    assert problems_of(flow) == [
        "step 'a': is in a cycle: a -> b -> a",
        "step 'c': is in a cycle: c -> e -> d -> c",
    ]


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ("a", "takes a tuple or a list"),
        (5, "takes steps, not 5"),
        ((abs,), "which is no step"),
    ],
)
def test_depends_on_of_the_wrong_kind(given: Any, part: str) -> None:
    flow = Flow[Any]("f")
    flow.step(name="a")(abs)
    flow.step(name="b", depends_on=given)(abs)
    assert part in only_problem_of(flow)


def test_depends_on_a_step_that_is_no_tuple() -> None:
    flow = Flow[Any]("f")
    a = flow.step(name="a")(abs)
    flow.step(name="b", depends_on=a)(abs)  # type: ignore[call-overload]
    assert "takes a tuple or a list, as in" in only_problem_of(flow)


def test_a_map_takes_its_dependency_as_over() -> None:
    flow = Flow[Any]("f")
    a = flow.step(name="a")(abs)
    decorate: Any = flow.map
    decorate(name="b", depends_on=(a,))(abs)
    decorate(name="c", over=a, depends_on=(a,))(abs)
    assert problems_of(flow) == [
        "step 'b': a map takes its one dependency as over=, not as depends_on=",
        "step 'c': a map takes its one dependency as over=, not as depends_on=",
    ]


@pytest.mark.parametrize("returned", [int, "str", dict[str, int], "dict[str, int]", None])
def test_mapping_over_what_is_no_list(returned: Any) -> None:
    def produce(value: Any) -> Any: ...

    produce.__annotations__["return"] = returned
    flow = Flow[Any]("f")
    a: Any = flow.step(name="a")(produce)
    flow.map(name="b", over=a)(abs)
    assert "it must return a list" in only_problem_of(flow)


BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"max_attempts": True}, "max_attempts must be a whole number, not True"),
    ({"max_attempts": 1.5}, "max_attempts must be a whole number"),
    ({"max_attempts": 2**31}, "max_attempts must be from 0 to"),
    ({"base_delay": -1}, "base_delay must be from 0"),
    ({"base_delay": "5"}, "base_delay must be a whole number, not '5'"),
    ({"timeout": 0}, "timeout must be from 1"),
    ({"start_delay": -1}, "start_delay must be from 0"),
    ({"max_delay": -1}, "max_delay must be from 0"),
    ({"jitter": 1.5}, "jitter must be from 0 to 1"),
    ({"jitter": float("nan")}, "jitter must be from 0 to 1"),
    ({"jitter": False}, "jitter must be a number"),
    ({"queue": "a-b"}, "queue 'a-b' cannot be a queue name"),
    ({"queue": "q" * 48}, "queue has 48 characters"),
    ({"queue": 5}, "queue 5 cannot be a queue name"),
    ({"if_": ["plan"]}, "if_ must be a JSON object"),
    ({"if_": {1: 2}}, "whose keys are strings"),
    ({"if_": {"a": {1, 2}}}, "if_ must be a JSON object"),
    ({"if_not": {"a": float("nan")}}, "if_not must be a JSON object"),
    ({"if_not": {"a": "\x00"}}, "NUL"),
    ({"when_unmet": "skp"}, "not 'skp' - did you mean 'skip'?"),
    ({"when_exhausted": "skip_cascade"}, "did you mean 'skip-cascade'?"),
    ({"when_exhausted": 3}, "must be one of"),
    ({"isolation": "proces"}, "did you mean 'process'?"),
    ({"non_retryable": ValueError}, "must be a tuple of exception types"),
    ({"non_retryable": ("ValueError",)}, "must be a tuple of exception types"),
    ({"max_attemps": 3}, "has no option 'max_attemps' - did you mean 'max_attempts'?"),
    ({"failure_policy": "continue"}, "has no option 'failure_policy'"),
]


@pytest.mark.parametrize(("options", "part"), BAD_OPTIONS, ids=lambda value: str(value)[:40])
def test_bad_options(options: dict[str, Any], part: str) -> None:
    problem = only_problem_of(one_step(**options))
    assert problem.startswith("step 'a': ")
    assert part in problem


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"initial_tasks": 0}, "initial_tasks must be from 1"),
        ({"initial_tasks": True}, "initial_tasks must be a whole number"),
        ({"failure_policy": "contine"}, "did you mean 'continue'?"),
        ({"failure_policy": 5}, "at_most(...)"),
        ({"failure_policy": AtMost(-1)}, "at_most must be from 0"),
        ({"failure_policy": at_most(percent=101)}, "at_most must be from 0 to 100"),
    ],
)
def test_bad_options_of_a_map(options: dict[str, Any], part: str) -> None:
    assert part in only_problem_of(one_map(**options))


def test_at_most_takes_one_limit() -> None:
    limit: Any = at_most
    for arguments in ({}, {"tasks": 1, "percent": 1}):
        with pytest.raises(UsageError, match="and not both"):
            limit(**arguments)


def test_bad_flow_options_are_told_without_a_step() -> None:
    flow = Flow[Any]("f", max_attempts=True, jitter=2)
    flow.step(name="a")(abs)
    assert problems_of(flow) == [
        "max_attempts must be a whole number, not True",
        "jitter must be from 0 to 1, not 2",
    ]


def test_queues_that_differ_by_letter_case_are_one() -> None:
    flow = Flow[Any]("f")
    flow.step(name="a", queue="gpu")(abs)
    flow.step(name="b", queue="GPU")(abs)
    assert "queue 'GPU' is the same as 'gpu'" in only_problem_of(flow)


def handler_of(flow: Flow[Any], function: Any, **options: Any) -> str:
    flow.step(name="a", **options)(function)
    return only_problem_of(flow)


def test_bad_handlers() -> None:
    async def stream(value: Any) -> Any:
        yield value

    def local(value: Any) -> Any:
        return value

    assert "not callable: 5" in handler_of(Flow[Any]("f"), 5)
    assert "is a generator" in handler_of(Flow[Any]("f"), stream)
    assert "another process can import" in handler_of(Flow[Any]("f"), local, isolation="process")
    assert "<lambda>" in handler_of(Flow[Any]("f"), lambda value: value, isolation="process")


def test_the_handler_takes_what_its_dependencies_deliver() -> None:
    flow = Flow[Any]("f")
    add: Any = flow.step
    add_map: Any = flow.map
    add(name="a")(lambda x: x)
    add(name="b")(lambda x: x)
    add(name="few", depends_on=["a", "b"])(lambda x: x)
    add(name="many", depends_on=["a"])(lambda x, y: x)
    add_map(name="item", over=flow["a"])(lambda: 1)
    add_map(name="root")(lambda: 1)
    add(name="spread", depends_on=["a", "b"])(lambda *values: values)
    add(name="default", depends_on=["a"])(lambda x, y=1: x)
    add(name="keyword", depends_on=["a"])(lambda x, *, y: x)
    assert problems_of(flow) == [
        "step 'few': its handler takes (x), but must take 2 arguments, the outputs of: a, b",
        "step 'many': its handler takes (x, y), but must take 1 argument, the outputs of: a",
        "step 'item': its handler takes (), but must take one item of 'a'",
        "step 'root': its handler takes (), but must take one argument, one item of the run's input",
        "step 'keyword': its handler takes (x, *, y), but must take 1 argument, the outputs of: a",
    ]


def handle(*values: Any) -> Any:
    return values


def big(chain: int, wide: int) -> Flow[Any]:
    flow = Flow[Any]("big")
    flow.step(name="s0")(handle)
    for number in range(1, chain):
        flow.step(name=f"s{number}", depends_on=[f"s{number - 1}"])(handle)
    for number in range(wide):
        flow.step(name=f"w{number}", depends_on=["s0"])(handle)
    flow.step(name="fan_in", depends_on=[f"w{number}" for number in range(wide)])(handle)
    return flow


def test_fault_45_ten_thousand_steps_are_checked_without_recursion_and_near_linear() -> None:
    def seconds(size: int) -> float:
        flow = big(size, size)
        start = perf_counter()
        assert len(flow.definition()["steps"]) == 2 * size + 1
        flow.shape_hash()
        return perf_counter() - start

    seconds(100)
    small = min(seconds(1250) for _ in range(3))
    assert seconds(5000) < 12 * small


def test_fault_45_a_cycle_of_thousands_is_told_in_short() -> None:
    flow = Flow[Any]("f")
    for number in range(5000):
        flow.step(name=f"s{number}", depends_on=[f"s{(number + 1) % 5000}"])(handle)
    problem = only_problem_of(flow)
    assert "is in a cycle" in problem
    assert len(problem) < 200


def test_memory_limit_needs_a_process_of_its_own_and_a_sensible_number() -> None:
    flow: Flow[Any] = Flow("limited")
    flow.step(name="a", memory_limit=100)(abs)
    flow.step(name="b", isolation="process", memory_limit=8)(abs)
    flow.step(name="c", isolation="process", memory_limit=100)(abs)
    with pytest.raises(DefinitionError) as caught:
        flow.validate()
    assert caught.value.problems == [
        "step 'a': memory_limit needs isolation='process': threads share their worker's memory",
        "step 'b': memory_limit must be from 64 to 2147483647, not 8",
    ]

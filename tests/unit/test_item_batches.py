"""Batches of items on the handler's side: options, codec, and one performance without a database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from pgflow import Flow
from pgflow.codec import codec_of, split_array
from pgflow.errors import DecodingError, DefinitionError, EncodingError
from pgflow.handlers import Completed, Failed, Handler, Split, perform
from pgflow.records import GrantedTask, RawJson

if TYPE_CHECKING:
    from collections.abc import Callable


def flow_of(function: Callable[..., Any], item: Any = int, **options: Any) -> Flow[Any]:
    flow: Any = Flow[list[item]]("batched")
    flow.map(name="work", **({"batch_size": 10} | options))(function)
    assert isinstance(flow, Flow)
    return flow


def one(number: int) -> int:
    return number


def whole(numbers: list[int]) -> list[int]:
    return numbers


def untyped(numbers):  # type: ignore[no-untyped-def]
    return numbers


def sum_of(numbers: list[int]) -> int:
    return sum(numbers)


def batch_of(*items: object, first: int = 0, count: int | None = None) -> GrantedTask:
    raw = RawJson(json.dumps(items).encode())
    return GrantedTask(
        "batched", uuid4(), "work", first, 1, raw, None, 1, "batched", "map", 1, 3, 20,
        exhausted=False, items=len(items) if count is None else count,
    )  # fmt: skip


# Definition


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        (0, "batch_size must be from 1 to 10000, not 0"),
        (-1, "batch_size must be from 1 to 10000, not -1"),
        (10_001, "batch_size must be from 1 to 10000, not 10001"),
        (True, "batch_size must be a whole number, not True"),
        ("10", "batch_size must be a whole number, not '10'"),
    ],
)
def test_a_batch_size_out_of_range_is_a_problem(size: object, problem: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        flow_of(one, batch_size=size).validate()
    assert problem in str(caught.value)


def test_batch_size_is_for_maps_over_arrays() -> None:
    flow: Any = Flow[Any]("batched")
    flow.step(name="single", batch_size=5)(one)
    flow.map(name="fixed", initial_tasks=3, batch_size=5)(one)
    with pytest.raises(DefinitionError) as caught:
        flow.validate()
    assert [problem.partition(": ")[2] for problem in caught.value.problems] == [
        "batch_size is for maps over the items of an array, and this one is no map",
        "batch_size is for maps over the items of an array, and this one has a fixed number of tasks",
    ]


def test_the_seeds_estimate_for_a_map_over_a_dependency_may_stay() -> None:
    options = {
        "depends_on": ["numbers"],
        "initial_tasks": 1000,
        "step_type": "map",
        "batch_size": 5,
    }
    flow = Flow.from_list(
        "listed", [("numbers", untyped, {"depends_on": []}), ("work", untyped, options)]
    )
    assert flow.definition()["steps"][1]["batch_size"] == 5


def test_batch_size_is_an_option_and_no_part_of_the_shape() -> None:
    batched, plain = flow_of(one), flow_of(one, batch_size=None)
    assert batched.definition()["steps"][0]["batch_size"] == 10
    assert "batch_size" not in plain.definition()["steps"][0]
    assert batched.shape_hash() == plain.shape_hash()


# Which handlers take a whole batch


@pytest.mark.parametrize(
    ("function", "item", "is_whole"),
    [
        (one, int, False),
        (whole, int, True),
        (whole, Any, True),
        (whole, list[int], False),
        (sum_of, int, False),
        (untyped, int, False),
    ],
)
def test_both_sides_are_declared_as_lists_and_items_are_none(
    function: Callable[..., Any], item: Any, *, is_whole: bool
) -> None:
    assert codec_of(flow_of(function, item)["work"]).batching.is_whole is is_whole


def test_without_batch_size_a_list_is_an_item() -> None:
    assert not codec_of(flow_of(whole, batch_size=None)["work"]).batching.is_whole


@pytest.mark.parametrize(("size", "is_whole"), [(None, True), (5, False)])
def test_what_a_map_before_gives_tells_what_the_items_are(
    size: int | None, *, is_whole: bool
) -> None:
    """Its handler returns a list: of outputs if it takes batches, else as the output of an item."""
    flow: Any = Flow[list[int]]("chained")
    first = flow.map(name="first", batch_size=size)(whole)
    flow.map(over=first, batch_size=5, name="second")(whole)
    assert codec_of(flow["second"]).batching.is_whole is not is_whole


def test_outputs_are_decoded_by_the_item() -> None:
    codec = codec_of(flow_of(whole)["work"])
    assert codec.decode_task_output(b"5") == 5
    assert codec.decode_output(b"[5, 6]") == [5, 6]


# Values


def test_a_batch_that_does_not_fit_is_an_error_with_its_place() -> None:
    with pytest.raises(DecodingError, match=r"parameter 'number': \$\[1\]"):
        list(codec_of(flow_of(one)["work"]).decode_batch(b'[1, "x"]'))


@pytest.mark.parametrize(
    ("value", "items", "text"),
    [([1, 2], 2, "[1,2]"), ((1, 2), 2, "[1,2]"), ([7], 1, "[7]"), ([7], None, "7"), ([], 0, None)],
)
def test_whole_outputs_are_encoded(value: object, items: int | None, text: str | None) -> None:
    codec = codec_of(flow_of(whole)["work"])
    if text is None:
        with pytest.raises(EncodingError):
            codec.encode_output(value, items=3)
    else:
        assert codec.encode_output(value, items=items) == text


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("[]", []),
        (" [ ] ", []),
        ("[1]", ["1"]),
        ('[1.10, "a,]\\"", [1, [2]], {"k": "]"}, null]', ["1.10", '"a,]\\""', "[1, [2]]", '{"k": "]"}', "null"]),
        (f"[{'7' * 5000}, 1e5]", ["7" * 5000, "1e5"]),
    ],
)  # fmt: skip
def test_arrays_are_split_as_they_are_written(text: str, elements: list[str]) -> None:
    assert [element.decode() for element in split_array(text.encode())] == elements


# Performing


async def test_a_batch_is_one_outcome() -> None:
    flow = flow_of(lambda number: 2 * number)
    assert await perform(batch_of(1, 2, 3), Handler(flow["work"])) == Completed("[2,4,6]")


async def test_an_output_that_changes_later_is_what_it_was() -> None:
    seen: list[int] = []

    def remember(number: int) -> list[int]:
        seen.append(number)
        return seen

    outcome = await perform(batch_of(1, 2), Handler(flow_of(remember)["work"]))
    assert outcome == Completed("[[1],[1,2]]")


async def test_failures_are_told_by_item() -> None:
    def fussy(number: int) -> int:
        if number > 1:
            raise ValueError(number)
        return number

    outcome = await perform(batch_of(1, 2, 3), Handler(flow_of(fussy)["work"]))
    assert isinstance(outcome, Split)
    assert outcome.results[0] == Completed("1")
    assert [r.error for r in outcome.results if isinstance(r, Failed)] == [
        "ValueError: 2",
        "ValueError: 3",
    ]
    encoded = json.loads(outcome.encode())
    assert encoded[0] == {"output": 1}
    assert [one["error"] for one in encoded[1:]] == ["ValueError: 2", "ValueError: 3"]
    assert encoded[1]["details"]["type"] == "ValueError"


async def test_a_mapping_handler_gets_item_and_index() -> None:
    entries = [("work", lambda given: given, {"step_type": "map", "batch_size": 5})]
    flow = Flow.from_list("batched", entries)
    outcome = await perform(batch_of("a", "b", first=5), Handler(flow["work"]))
    assert outcome == Completed('[{"item":"a","index":5},{"item":"b","index":6}]')


async def test_a_handler_that_never_waits_lets_the_loop_breathe() -> None:
    import asyncio

    turns = 0

    async def spin() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def quick(number: int) -> int:
        return turns

    spinning = asyncio.create_task(spin())
    outcome = await perform(batch_of(*range(1000)), Handler(flow_of(quick)["work"]))
    spinning.cancel()
    assert isinstance(outcome, Completed)
    found = json.loads(outcome.output)
    assert found[-1] - found[0] >= 5

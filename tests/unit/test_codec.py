"""What a step's arguments and output are, by its annotations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import pytest
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from pgflow.codec import codec_of, encode_input
from pgflow.errors import DecodingError, DefinitionError, EncodingError
from pgflow.flow import Flow, Step, at_most


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


@dataclass
class Address:
    street: str
    tags: set[str] = field(default_factory=set)


class Customer(BaseModel):
    name: str
    born: date
    address: Address | None = None
    score: float = 0.0


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


@dataclass
class Node:
    value: float
    kids: list[Node]


class Row(TypedDict):
    id: int
    note: str | None


class Point(NamedTuple):
    x: int
    y: int


def step_of(function: Any, **options: Any) -> Step[Any]:
    return Flow[Any]("f").step(name="s", **options)(function)


def returning(annotation: Any) -> Step[Any]:
    def handler(value: Any) -> Any:
        return value

    handler.__annotations__["return"] = annotation
    return step_of(handler)


def taking(annotation: Any) -> Step[Any]:
    def handler(value: Any) -> Any:
        return value

    handler.__annotations__["value"] = annotation
    return step_of(handler)


VALUES: list[tuple[Any, Any]] = [
    (int, 3),
    (int, 2**70),
    (float, 1.5),
    (float, 3),
    (str, "snow ☃ \U0001f600 \\u0000"),
    (bool, False),
    (type(None), None),
    (list[int], []),
    (dict[str, Any], {"a": [1, None, "x", {"b": 2.5}]}),
    (dict[int, str], {1: "a"}),
    (tuple[int, str], (1, "a")),
    (set[int], {1, 2}),
    (frozenset[str], frozenset({"a"})),
    (datetime, datetime(2026, 1, 31, 12, 30, 1, 5, tzinfo=UTC)),
    (date, date(2026, 1, 31)),
    (time, time(12, 30)),
    (timedelta, timedelta(days=1, seconds=2.5)),
    (UUID, UUID(int=7)),
    (Decimal, Decimal("1.10")),
    (Decimal, Decimal("12345678901234567890.123456789")),
    (Colour, Colour.RED),
    (Level, Level.HIGH),
    (Literal["a", "b"], "b"),
    (Address, Address("Elm", {"home"})),
    (Customer, Customer(name="Ada", born=date(1815, 12, 10), address=Address("St James"))),
    (Row, {"id": 1, "note": None}),
    (Point, Point(1, 2)),
    (list[Customer | None], [None, Customer(name="Ada", born=date(1815, 12, 10))]),
    (Mapping[str, Sequence[int]], {"a": [1]}),
    (dict[int, float | None], {1: None, 2: 1.5}),
    (Annotated[int, Field(gt=0)], 5),
    (Base64Bytes, b"any \xff bytes"),
]


@pytest.mark.parametrize(("annotation", "value"), VALUES, ids=lambda value: repr(value)[:40])
def test_annotated_values_round_trip(annotation: Any, value: Any) -> None:
    text = codec_of(returning(annotation)).encode_output(value)
    if annotation is Base64Bytes:
        value = b"any \xff bytes"
    (argument,) = codec_of(taking(annotation)).decode_arguments(b"{}", text)
    assert argument == value
    assert type(argument) is (float if annotation is float else type(value))
    assert codec_of(returning(annotation)).decode_output(text) == value


@pytest.mark.parametrize("value", [0, "", False, None, [], {}, 0.0])
def test_falsy_outputs_survive(value: Any) -> None:
    codec = codec_of(step_of(lambda value: value))
    text = codec.encode_output(value)
    decoded = codec.decode_output(text)
    assert (decoded, type(decoded)) == (value, type(value))


def test_sql_null_is_none() -> None:
    assert codec_of(returning(int | None)).decode_output(None) is None


def test_a_root_step_receives_the_runs_input() -> None:
    codec = codec_of(taking(Customer))
    (customer,) = codec.decode_arguments(b"{}", b'{"name": "Ada", "born": "1815-12-10"}')
    assert customer == Customer(name="Ada", born=date(1815, 12, 10))


def diamond(last: Any) -> Step[Any]:
    flow = Flow[Any]("f")
    a = flow.step(name="a")(lambda value: value)
    b = flow.map(name="b", over=a)(lambda value: value)
    return flow.step(name="last", depends_on=[b, a])(last)  # b first: the handler's order rules


def test_dependencies_arrive_in_the_handlers_order() -> None:
    def last(b: list[Row], a: list[date]) -> None: ...

    arguments = codec_of(diamond(last)).decode_arguments(
        b'{"a": ["2026-01-31"], "b": [{"id": 1, "note": null}]}', None
    )
    assert arguments == [[{"id": 1, "note": None}], [date(2026, 1, 31)]]


def test_unannotated_parameters_get_plain_data() -> None:
    codec = codec_of(diamond(lambda b, a: None))
    assert codec.decode_arguments(b'{"a": [1], "b": {"x": 18446744073709551616}}', None) == [
        {"x": 2**64},
        [1],
    ]


def test_a_skipped_dependency_is_none_where_the_annotation_allows_it() -> None:
    def last(b: list[int] | None, a: int) -> None: ...

    assert codec_of(diamond(last)).decode_arguments(b'{"a": 1}', None) == [None, 1]
    assert codec_of(diamond(lambda b, a: None)).decode_arguments(b"{}", None) == [None, None]
    with pytest.raises(DecodingError, match=r"parameter 'a': 'a' was skipped") as caught:
        codec_of(diamond(last)).decode_arguments(b'{"b": []}', None, task_index=0)
    assert "| None" in (caught.value.hint or "")


def test_a_map_task_receives_its_element() -> None:
    flow = Flow[Any]("f")
    a = flow.step(name="a")(lambda value: value)

    def each(item: date) -> None: ...

    codec = codec_of(flow.map(name="m", over=a)(each))
    assert codec.decode_arguments(b'"2026-01-31"', None) == [date(2026, 1, 31)]
    with pytest.raises(DecodingError) as caught:
        codec.decode_arguments(b'"soon"', None, task_index=41)
    assert "flow f, step m, task 41: parameter 'item': $: " in str(caught.value)


def test_a_map_without_array_receives_the_runs_input() -> None:
    step = Flow[int]("f").map(name="m", initial_tasks=3)(lambda value: value)
    assert codec_of(step).decode_arguments(b"{}", b"7", task_index=2) == [7]


def test_the_output_of_a_map_is_the_list_of_its_tasks() -> None:
    def each(item: int) -> date:
        return date(2026, 1, item)

    strict = Flow[list[int]]("f").map(name="m")(each)
    lenient = Flow[list[int]]("f").map(name="m", failure_policy=at_most(1))(each)
    day = date(2026, 1, 31)
    assert codec_of(strict).decode_task_output(b'"2026-01-31"') == day
    assert codec_of(strict).decode_output(b'["2026-01-31"]') == [day]
    assert codec_of(lenient).decode_output(b'["2026-01-31", null]') == [day, None]
    with pytest.raises(DecodingError, match=r"its output: \$\[0\]"):
        codec_of(strict).decode_output(b"[null]")


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (Iterator[date], "sync"),
        (Iterable[date], "sync"),
        (AsyncIterator[date], "async"),
        (list[date], None),
        (Sequence[date], None),
        (dict[str, int], None),
        (str, None),
        (Any, None),
    ],
)
def test_which_annotations_ask_for_a_stream(annotation: Any, kind: str | None) -> None:
    def last(b: Any, a: Any) -> None: ...

    last.__annotations__["b"] = annotation
    codec = codec_of(diamond(last))
    assert codec.wants_stream("b") == kind
    assert codec.wants_stream("a") is None
    assert codec.wants_stream("unknown") is None


async def test_a_small_dependency_becomes_a_stream_as_well() -> None:
    def last(b: Iterator[date], a: AsyncIterator[int]) -> None: ...

    b, a = codec_of(diamond(last)).decode_arguments(b'{"a": [1, 2], "b": ["2026-01-31"]}', None)
    assert next(b) == date(2026, 1, 31)
    assert [number async for number in a] == [1, 2]


def test_large_dependencies_are_put_in_place() -> None:
    def last(b: Iterator[date], a: list[date]) -> None: ...

    codec = codec_of(diamond(last))
    b, a = codec.decode_arguments(
        b"{}",
        None,
        streams={"b": "stream", "a": codec.decode_items("a", [b'"2026-01-31"', '"2026-02-01"'])},
    )
    assert (b, a) == ("stream", [date(2026, 1, 31), date(2026, 2, 1)])
    assert codec.decode_item("b", b'"2026-01-31"', 0) == date(2026, 1, 31)
    assert list(codec.decode_items("b", [])) == []
    with pytest.raises(DecodingError) as caught:
        codec.decode_item("b", b"5.5", 70_000)
    assert caught.value.path == "$[70000]"
    assert codec_of(diamond(lambda b, a: None)).decode_items("b", [b"1", None]) == [1, None]


def test_the_mapping_convention() -> None:
    flow = Flow.from_list(
        "f",
        [
            ("root", lambda given: given),
            ("each", lambda given: given, {"depends_on": ["root"], "initial_tasks": 9}),
            ("last", lambda given: given, {"depends_on": ["root", "each"]}),
            ("shards", lambda given: given, {"initial_tasks": 2}),
        ],
    )
    root, each, last, shards = (codec_of(flow[slug]) for slug in ("root", "each", "last", "shards"))
    assert root.decode_arguments(b"{}", b'{"id": 1}') == [{"id": 1}]
    assert each.decode_arguments(b"5", None, task_index=3) == [{"item": 5, "index": 3}]
    assert last.decode_arguments(b'{"root": 1}', None) == [{"root": 1}]
    assert last.decode_arguments(b'{"root": 1}', None, streams={"each": [2]}) == [
        {"root": 1, "each": [2]}
    ]
    assert shards.decode_arguments(b"{}", b"7", task_index=1) == [{"item": 7, "index": 1}]


def test_arguments_that_do_not_fit_name_parameter_and_path() -> None:
    def last(b: list[Customer], a: int) -> None: ...

    codec = codec_of(diamond(last))
    raw = b'{"a": 1, "b": [{"name": "Ada", "born": "1815-12-10"}, {"name": 5, "born": "never"}]}'
    with pytest.raises(DecodingError) as caught:
        codec.decode_arguments(raw, None)
    assert caught.value.path == "$.b[1].name"
    assert str(caught.value) == (
        "PGF112: flow f, step last, task 0: parameter 'b' from 'b': $.b[1].name:"
        " Input should be a valid string, got int (and 1 more)"
    )


def test_paths_leave_out_what_is_not_in_the_data() -> None:
    def handler(value: list[int | Address]) -> None: ...

    with pytest.raises(DecodingError) as caught:
        codec_of(step_of(handler)).decode_arguments(b"{}", b'[1, {"street": []}]')
    assert caught.value.path == "$[1]"


@pytest.mark.parametrize("raw", [b"", b"[", b"nul", b'{"a": NaN}', b'"\xff"'])
def test_malformed_json_is_a_clear_error(raw: bytes) -> None:
    for annotation in (Any, Customer):
        with pytest.raises(DecodingError):
            codec_of(taking(annotation)).decode_arguments(b"{}", raw)


def test_outputs_that_do_not_fit_name_the_path() -> None:
    cases: list[tuple[Any, Any, str]] = [
        (list[int], [1, "x"], "$[1]"),
        (list[int], "abc", "$"),
        (Customer, {"name": "Ada", "born": date(1815, 12, 10)}, "$"),
        (dict[str, list[float]], {"a": [1.0, float("nan")]}, "$.a[1]"),
        (Customer, Customer(name="Ada", born=date(1815, 12, 10), score=float("inf")), "$.score"),
        (dict, {"a": float("nan")}, "$.a"),
        (list[Any], [None, float("nan")], "$[1]"),
        (Open, Open.model_validate({"a": 1, "b": float("nan")}), "$.b"),
        (Node, Node(1.0, [Node(float("nan"), [])]), "$.kids[0].value"),
        (list[str], ["a", "\x00"], "$[1]"),
        (list[str], ["\ud800"], "$[0]"),
        (list[Decimal], [Decimal("NaN")], "$[0]"),
        (int, "5", "$"),
        (None, 5, "$"),
    ]
    for annotation, value, path in cases:
        with pytest.raises(EncodingError) as caught:
            codec_of(returning(annotation)).encode_output(value, 12)
        assert caught.value.path == path, annotation
        assert str(caught.value).startswith(f"PGF111: flow f, step s, task 12: {path}: ")


def test_a_bare_dict_keeps_its_keys_as_they_are() -> None:
    for annotation in (dict, dict[str, Any], Any):
        with pytest.raises(EncodingError, match="the key 1 is int"):
            codec_of(returning(annotation)).encode_output({1: 2})
    assert codec_of(returning(dict)).encode_output({"a": None}) == '{"a":null}'
    with pytest.raises(EncodingError, match="valid dictionary, got list"):
        codec_of(returning(dict[str, Any])).encode_output([1])


def test_the_runs_input_may_be_plain_data() -> None:
    flow = Flow[Customer]("f")
    text = '{"name":"Ada","born":"1815-12-10","address":null,"score":0.0}'
    assert encode_input(flow, {"name": "Ada", "born": "1815-12-10"}) == text
    assert encode_input(flow, Customer(name="Ada", born=date(1815, 12, 10))) == text
    assert encode_input(Flow("g"), {"any": [1]}) == '{"any":[1]}'
    with pytest.raises(EncodingError, match=r"flow f: \$\.born: Field required") as caught:
        encode_input(flow, {"name": "Ada"})
    assert caught.value.step is None


def test_bytes_are_refused_before_anything_runs() -> None:
    class Upload(BaseModel):
        content: bytes

    with pytest.raises(DefinitionError, match=r"its output .* holds bytes"):
        codec_of(returning(Upload)).encode_output(None)
    with pytest.raises(DefinitionError, match=r"parameter 'value' .* holds bytes"):
        codec_of(taking(list[bytes])).decode_arguments(b"{}", b"[]")


def test_an_annotation_that_json_cannot_carry_is_named() -> None:
    class Connection: ...

    with pytest.raises(DefinitionError, match=r"step 's': parameter 'value' .*Connection"):
        codec_of(taking(Connection)).decode_arguments(b"{}", b"{}")


def test_names_of_the_enclosing_function_are_resolved() -> None:
    @dataclass
    class Local:
        number: int

    flow = Flow[Any]("f")

    @flow.step()
    def handler(value: Local) -> list[Local]:
        return [value]

    codec = codec_of(handler)
    assert codec.decode_arguments(b"{}", b'{"number": 1}') == [Local(1)]
    assert codec.encode_output([Local(2)]) == '[{"number":2}]'


def test_a_name_that_is_unknown_at_run_time_is_explained() -> None:
    def handler(value: Any) -> None: ...

    handler.__annotations__["value"] = "OnlyForTypeCheckers"
    with pytest.raises(DefinitionError, match="'OnlyForTypeCheckers' is not defined"):
        codec_of(step_of(handler))


def test_awaitables_partials_and_callable_objects() -> None:
    def deferred(value: date) -> Awaitable[date]:
        raise NotImplementedError

    class Callable:
        def __call__(self, value: date) -> date:
            return value

    def two(first: int, value: date) -> date:
        return value

    for function in (deferred, Callable(), partial(two, 1)):
        codec = codec_of(step_of(function))
        assert codec.encode_output(date(2026, 1, 31)) == '"2026-01-31"'
        assert codec.decode_arguments(b"{}", b'"2026-01-31"') == [date(2026, 1, 31)]


def test_spread_parameters_share_their_annotation() -> None:
    def last(*days: date) -> None: ...

    codec = codec_of(diamond(last))
    assert codec.decode_arguments(b'{"a": "2026-01-31", "b": "2026-02-01"}', None) == [
        date(2026, 2, 1),
        date(2026, 1, 31),
    ]


def test_a_codec_is_made_once() -> None:
    step = returning(int)
    assert codec_of(step) is codec_of(step)

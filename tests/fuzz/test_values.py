"""Values: any of them passes through the database unchanged, or is refused with a clear error of ours."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from pgflow import DecodingError, EncodingError, Flow, PgflowError
from pgflow.codec import codec_of, decode_json, encode, encode_input, parse_json
from tests.fuzz.strategies import ANY_TEXT, SCALARS, STORABLE_JSON, fuzz, json_of

if TYPE_CHECKING:
    from tests.support.sql import Connection


class Model(BaseModel):
    number: int
    items: list[float] = []
    more: dict[str, Any] | None = None


@dataclass
class Point:
    x: float
    name: str


class Opaque:
    """Has no JSON form."""


ODD = (
    SCALARS | st.binary(max_size=5) | st.decimals() | st.complex_numbers() | st.datetimes() | st.uuids()
    | st.builds(Opaque) | st.builds(Model, number=st.integers()) | st.builds(Point, x=st.floats(), name=ANY_TEXT)
)  # fmt: skip
ANYTHING = st.recursive(
    ODD,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.sets(ANY_TEXT | st.integers(), max_size=3)
        | st.dictionaries(ANY_TEXT | st.integers() | st.none(), inner, max_size=4)
    ),
    max_leaves=15,
)
ANNOTATIONS: list[Any] = [
    int, float, str, bool, None, list[int], dict[str, float], Model, Point, Model | None, list[Model], Any, Decimal,
    tuple[int, str], set[int], dict[str, list[Point]],
]  # fmt: skip


def stored(connection: Connection, text: str) -> bytes:
    """Return JSON text as jsonb gives it back."""
    found = connection.execute("select %s::jsonb::text", [text]).fetchone()
    assert found
    return str(found[0]).encode()


def same(one: Any, two: Any) -> bool:
    """Tell whether values are equal, and numbers of a kind."""
    if isinstance(one, float) and isinstance(two, int | float):
        return one == two or math.isclose(one, two, rel_tol=0, abs_tol=0)
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(same, one, two))
    return type(one) is type(two) and bool(one == two)


@fuzz(80)
@given(given=STORABLE_JSON)
def test_json_comes_back_as_it_was(connection: Connection, given: Any) -> None:
    assert same(given, decode_json(stored(connection, encode(given))))


@fuzz(80)
@given(given=ANYTHING)
def test_anything_is_stored_or_refused(connection: Connection, given: Any) -> None:
    try:
        text = encode(given)
    except EncodingError as error:
        str(error).encode()  # can be stored and printed itself
        return
    raw = stored(connection, text)
    again = decode_json(raw)
    assert same(decode_json(stored(connection, encode(again))), again)


@fuzz(80)
@given(annotation=st.sampled_from(ANNOTATIONS), given=json_of(ANY_TEXT, SCALARS))
def test_outputs_of_any_annotation(connection: Connection, annotation: Any, given: Any) -> None:
    flow: Flow[Any] = Flow("f")

    def handler(_: Any) -> Any: ...

    handler.__annotations__["return"] = annotation
    codec = codec_of(flow.step(name="a")(handler))
    try:
        text = codec.encode_output(given)
    except EncodingError:
        return
    raw = stored(connection, text)
    decode_json(raw)


@fuzz(80)
@given(annotation=st.sampled_from(ANNOTATIONS), given=STORABLE_JSON)
def test_inputs_of_any_annotation(annotation: Any, given: Any) -> None:
    flow: Flow[Any] = Flow("f")

    def handler(argument: Any) -> None: ...

    handler.__annotations__["argument"] = annotation
    codec = codec_of(flow.step(name="a")(handler))
    try:
        codec.decode_arguments(b"null", encode(given))
    except DecodingError as error:
        str(error).encode()


@fuzz(80)
@given(annotation=st.sampled_from(ANNOTATIONS), given=ANYTHING)
def test_inputs_of_runs(annotation: Any, given: Any) -> None:
    flow = Flow[annotation]("f")
    flow.step(name="a")(lambda _: None)
    try:
        text = encode_input(flow, given)
    except EncodingError:
        return
    json.loads(text)


JSON_LIKE = st.text('{}[]",:0123456789.eE+-ntfalsru \n\\"', max_size=40)


@fuzz(80)
@given(text=JSON_LIKE | ANY_TEXT | STORABLE_JSON.map(json.dumps))
def test_text_of_people(text: str) -> None:
    try:
        value = parse_json(text)
    except PgflowError as error:
        error.message.encode()
        return
    assert same(decode_json(encode(value)), value) or isinstance(value, float)


@pytest.mark.parametrize("depth", [99, 100, 101, 500, 20_000])
@pytest.mark.parametrize("form", [("[", "]"), ('{"a":', "}")])
def test_nesting(connection: Connection, depth: int, form: tuple[str, str]) -> None:
    opening, closing = form
    text = opening * depth + "1" + closing * depth
    try:
        value = parse_json(text)
        again = decode_json(stored(connection, encode(value)))
    except PgflowError:
        assert depth > 100
        return
    assert again == value
    assert depth <= 100

"""Bad values (faults 36, 38-42): each is one clear error with its path, or it round trips."""

from __future__ import annotations

import json
import math
from collections import deque
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from pgflow.codec import (
    MAX_DEPTH,
    MAX_VALUE_BYTES,
    Where,
    codec_of,
    decode_json,
    describe_error,
    encode,
    parse_json,
    sanitise_text,
)
from pgflow.errors import DecodingError, EncodingError
from pgflow.flow import Flow

WHERE = Where("f", "s", 3)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def circle() -> Any:
    value: list[Any] = [1]
    value.append({"back": value})
    return value


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__

    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle")


@dataclass
class Reading:
    value: float
    _unit: str = "°C"


class Model(BaseModel):
    value: float | None


BAD: list[tuple[Any, str, str]] = [
    (math.nan, "$", "not a JSON number"),
    ([1, math.inf], "$[1]", "inf is not a JSON number"),
    ({"items": [0, 1, 2, {"name": -math.inf}]}, "$.items[3].name", "-inf"),
    ({"a": None, "b": Reading(math.nan)}, "$.b.value", "nan"),
    ([None, Model(value=math.nan)], "$[1].value", "nan"),
    ([Decimal("Infinity")], "$[0]", "Infinity"),
    ({"a": ["x\x00"]}, "$.a[0]", "NUL, at position 1"),
    (["\ud83d"], "$[0]", "lone surrogate, at position 0"),
    ({"\x00": 1}, "$", "NUL"),
    ({"a": {"\udfff": 1}}, "$.a", "lone surrogate"),
    ({"a b": {1: 2}}, "$['a b']", "keys of JSON objects are strings"),
    ({None: 1}, "$", "the key None is NoneType"),
    ([b"x"], "$[0]", "bytes have no JSON form"),
    ({"a": bytearray(b"x")}, "$.a", "bytes have no JSON form"),
    ({"a": [object()]}, "$.a[0]", "object has no JSON form"),
    ([Broken()], "$[0]", "Broken has no JSON form"),
    ([lambda: 1], "$[0]", "function has no JSON form"),
    (circle(), "$[1].back", "it contains itself"),
    (nested(MAX_DEPTH + 1), "$" + "[0]" * MAX_DEPTH, "nested deeper than 100 levels"),
    (nested(100_000), "$" + "[0]" * MAX_DEPTH, "nested deeper than 100 levels"),
    (10**5000, "$", "more than 4,300 digits"),
]


@pytest.mark.parametrize(("value", "path", "reason"), BAD, ids=[bad[2][:30] for bad in BAD])
def test_faults_38_39_40_42_bad_values_name_their_place(value: Any, path: str, reason: str) -> None:
    with pytest.raises(EncodingError) as caught:
        encode(value, where=WHERE)
    error = caught.value
    assert error.path == path
    assert (error.flow, error.step, error.task) == WHERE
    assert str(error).startswith(f"PGF111: flow f, step s, task 3: {path}: ")
    assert reason in str(error)


def test_a_bad_value_in_an_unannotated_output_is_the_same_error() -> None:
    codec = codec_of(Flow[Any]("f").step(name="s")(lambda value: value))
    with pytest.raises(EncodingError, match=r"flow f, step s, task 3: \$\.a: nan"):
        codec.encode_output({"a": math.nan}, 3)


def test_fault_40_the_limit_itself_passes() -> None:
    assert decode_json(encode(nested(MAX_DEPTH))) == nested(MAX_DEPTH)


def test_fault_40_many_flat_containers_are_not_deep() -> None:
    wide: list[Any] = [{"a": [{}]} for _ in range(1000)]
    assert decode_json(encode(wide)) == wide


def test_fault_36_a_value_that_is_too_large_says_how_large() -> None:
    with pytest.raises(EncodingError, match=r"takes 64\.0 MiB as JSON, at most 64 MiB") as caught:
        encode("x" * MAX_VALUE_BYTES)
    assert "reference" in (caught.value.hint or "")


def test_shared_parts_are_no_circle() -> None:
    part = {"a": 1}
    assert encode([part, part]) == '[{"a":1},{"a":1}]'


def test_an_escaped_backslash_is_no_nul() -> None:
    assert decode_json(encode(["\\u0000", "C:\\u0000x"])) == ["\\u0000", "C:\\u0000x"]


def test_the_word_nan_is_no_number() -> None:
    value = {"name": "nan", "other": None, "more": "Infinity inf"}
    assert decode_json(encode(value)) == value


def test_plain_python_values_have_a_form() -> None:
    class Colour(Enum):
        RED = "red"

    value = {
        "when": datetime(2026, 1, 31, tzinfo=UTC),
        "day": date(2026, 1, 31),
        "id": UUID(int=7),
        "price": Decimal("1.10"),
        "colour": Colour.RED,
        "pair": (1, 2),
        "set": {5},
        "queue": deque([1]),
        "reading": Reading(1.5),
        "model": Model(value=None),
    }
    assert decode_json(encode(value)) == {
        "when": "2026-01-31T00:00:00+00:00",
        "day": "2026-01-31",
        "id": "00000000-0000-0000-0000-000000000007",
        "price": "1.10",
        "colour": "red",
        "pair": [1, 2],
        "set": [5],
        "queue": [1],
        "reading": {"value": 1.5, "_unit": "°C"},
        "model": {"value": None},
    }


NUMBERS = st.one_of(
    st.integers(),
    st.integers(min_value=2**62, max_value=2**66),
    st.integers(min_value=-(2**66), max_value=-(2**62)),
    st.integers(min_value=10**300, max_value=10**400),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([-0.0, 5e-324, 1.7976931348623157e308, 2**53 + 1, 2**63, 2**64]),
)
TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)


def same(left: Any, right: Any) -> bool:
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


@given(JSON)
def test_fault_41_json_round_trips_exactly(value: Any) -> None:
    text = encode(value)
    assert same(decode_json(text), value)
    assert same(decode_json(text.encode()), value)
    assert same(parse_json(text), value)


@given(st.recursive(NUMBERS | st.text() | st.floats() | st.binary(), st.lists, max_leaves=20))
def test_any_value_round_trips_or_is_a_clear_error(value: Any) -> None:
    try:
        text = encode(value, where=WHERE)
    except EncodingError as error:
        refused_at: str | None = error.path
    else:
        refused_at = None
        assert same(decode_json(text), value)
    assert refused_at is None or refused_at.startswith("$")


@given(st.text())
def test_fault_41_whatever_text_is_parsed_or_refused(text: str) -> None:
    try:
        value = parse_json(text)
    except DecodingError:
        return
    assert same(decode_json(encode(value)), value)


@given(NUMBERS)
def test_numbers_keep_their_annotated_type(number: float) -> None:
    def handler(value: int | float) -> int | float:  # noqa: PYI041 - both types are the point
        return value

    codec = codec_of(Flow[Any]("f").step(name="s")(handler))
    (decoded,) = codec.decode_arguments(b"{}", codec.encode_output(number))
    assert same(decoded, number)


@pytest.mark.parametrize("raw", [str(10**400), f"[0, {10**400}]", f'[{10**400}, "{"x" * 900}"]'])
def test_fault_41_a_number_beyond_a_float_is_exact_or_refused(raw: str) -> None:
    """jsonb writes 1e400 as 401 digits."""
    value = decode_json(raw)
    assert 10**400 in (value if isinstance(value, list) else [value])

    def handler(value: float | list[float | str]) -> None: ...

    codec = codec_of(Flow[Any]("f").step(name="s")(handler))
    with pytest.raises(DecodingError, match="larger than a float"):
        codec.decode_arguments(b"{}", raw)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON: Expecting value at line 1, column 1"),
        ('{"a": 1,}', "at line 1, column 9"),
        ("{'a': 1}", "at line 1, column 2"),
        ("[1] x", "Extra data"),
        ("NaN", "NaN is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ("1e400", "larger than a float"),
        ("1" * 5000, "4300"),
        ('{"a": {"b": 1, "b": 2}}', "the key 'b' stands twice"),
        ('{"a": "\\u0000"}', "NUL"),
        ('["\\ud800"]', "lone surrogate"),
        ("[" * 101 + "]" * 101, "100 levels"),
        ("[" * 100_000, "100 levels"),
        (b"\xff", "utf-8"),
    ],
)
def test_json_that_people_write_is_checked(text: str | bytes, reason: str) -> None:
    with pytest.raises(DecodingError) as caught:
        parse_json(text)
    assert reason in str(caught.value)


def test_fault_38_error_text_becomes_storable() -> None:
    assert sanitise_text("a\x00b\ud800c\udfff") == "a\ufffdb\ufffdc\ufffd"
    assert sanitise_text("snow ☃ \U0001f600") == "snow ☃ \U0001f600"
    assert sanitise_text("x" * 30, limit=10) == "xxxxxxxxxx... (20 more characters)"
    assert sanitise_text(None) == "None"


@given(st.text(st.characters(codec=None)))
def test_fault_38_sanitised_text_can_always_be_stored(text: str) -> None:
    stored = sanitise_text(text)
    assert "\x00" not in stored
    stored.encode()


def test_fault_42_broken_texts_are_described() -> None:
    class OddError(Exception):
        __str__: Any = lambda self: 5

    class LeavingError(ValueError):
        def __str__(self) -> str:
            raise SystemExit(1)

    class Sneaky(str):
        __slots__ = ()

        def __str__(self) -> str:
            raise ValueError

    assert sanitise_text(Broken()) == "<Broken whose __str__ raised RuntimeError>"
    assert describe_error(OddError()) == "OddError: <OddError whose __str__ raised TypeError>"
    assert describe_error(ValueError("a\x00")) == "ValueError: a\ufffd"
    assert describe_error(ValueError()) == "ValueError"
    assert describe_error(ValueError("x" * 20_000)).endswith("more characters)")
    assert type(sanitise_text(Sneaky("text"))) is str
    assert (
        describe_error(LeavingError())
        == "LeavingError: <LeavingError whose __str__ raised SystemExit>"
    )

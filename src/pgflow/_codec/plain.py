"""Values without annotations: any JSON-able Python value to text, and JSON text to plain data."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter, deque
from decimal import Decimal
from math import isinf
from typing import Any, Final, NamedTuple

import orjson
from pydantic import BaseModel
from pydantic_core import from_json, to_jsonable_python

from pgflow._codec.defects import MAX_DEPTH, Defect, find_defect
from pgflow._codec.text import sanitise_text
from pgflow.errors import DecodingError, EncodingError

MAX_VALUE_BYTES: Final = 64 * 1024 * 1024
_NATIVE = orjson.OPT_PASSTHROUGH_DATACLASS
_FLOAT_DIGITS = 309
_STRIDE = 30
_NAN = re.compile(r"\b(?:nan|inf)\b", re.IGNORECASE)
_DIGIT_RUN = re.compile(rb"\d{10}")
_GAP = re.compile(r"[\s,]*")
_SPANS = json.JSONDecoder(parse_int=str, parse_float=str)


class Where(NamedTuple):
    """What an error about a value names."""

    flow: str | None = None
    step: str | None = None
    task: int | None = None


NOWHERE: Final = Where()


def encode(value: object, *, where: Where = NOWHERE) -> str:
    """Return the value as JSON text, or raise EncodingError with the path of what is wrong.

    >>> encode({"sent": True, "at": date(2026, 1, 31)})
    '{"sent":true,"at":"2026-01-31"}'
    """
    native = True
    try:
        text = orjson.dumps(value, None, _NATIVE)
    except TypeError:
        native = False
        try:
            text = orjson.dumps(value, _convert, _NATIVE)
        except Exception as error:  # noqa: BLE001 - conversion runs user code
            return _encode_slowly(value, error, where)
    # orjson writes NaN and Infinity as null.
    if b"null" in text and value is not None and not (native and shows_no_nan(value)):
        refuse(find_defect(value), where)
    check_text(text, value, where)
    return text.decode()


def check_text(text: bytes, value: object, where: Where) -> None:
    """Refuse what only the written text shows at once: size, NUL, depth."""
    check_size(text, where)
    if looks_doubtful(text):
        refuse(find_defect(value), where)


def check_size(text: bytes, where: Where) -> None:
    """Refuse text that is larger than one value may be."""
    if len(text) > MAX_VALUE_BYTES:
        message = (
            f"the value takes {len(text) / 2**20:.1f} MiB as JSON,"
            f" at most {MAX_VALUE_BYTES // 2**20} MiB are stored"
        )
        raise EncodingError(
            message,
            **where._asdict(),
            hint="Store it elsewhere and pass a reference, or return a list and map over it.",
        )


def looks_doubtful(text: bytes) -> bool:
    """Tell whether the text may hold NUL, or be nested too deep."""
    return b"\\u0000" in text or text.count(b"[") + text.count(b"{") > MAX_DEPTH


def shows_no_nan(value: object) -> bool:
    """Tell in C that plain data surely holds neither NaN nor Infinity."""
    try:
        return _NAN.search(repr(value)) is None
    except Exception:  # noqa: BLE001 - subclasses bring their own repr; the search that follows says why
        return False


def refuse(defect: Defect | None, where: Where) -> None:
    """Raise the defect as an error, if there is one."""
    if defect is not None:
        message = f"{defect.path}: {defect.reason}"
        raise EncodingError(message, path=defect.path, **where._asdict())


def cannot_encode(error: Exception, where: Where) -> EncodingError:
    """Return the error for a failure that no defect explains."""
    name, text = type(error).__name__, sanitise_text(error, 500)
    return EncodingError(f"$: the value cannot become JSON ({name}: {text})", **where._asdict())


def _encode_slowly(value: object, error: Exception, where: Where) -> str:
    try:
        defect = find_defect(value)
    except Exception as failure:
        raise cannot_encode(failure, where) from failure
    refuse(defect, where)
    try:
        # Integers beyond 64 bits are JSON, and jsonb keeps them exactly.
        text = json.dumps(
            value, default=_convert, allow_nan=False, ensure_ascii=False, separators=(",", ":")
        ).encode()
    except Exception as failure:
        raise cannot_encode(error, where) from failure
    check_text(text, value, where)
    return text.decode()


def _convert(value: object) -> object:
    if isinstance(value, set | frozenset | deque):
        return list(value)
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(type(value).__name__)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Decimal) and not value.is_finite():
        raise ValueError(value)
    return to_jsonable_python(value)


def decode_json(raw: bytes | str, *, where: Where = NOWHERE) -> Any:
    """Return stored JSON as plain data; integers of any size are exact.

    >>> decode_json(b'{"total": 18446744073709551616}')
    {'total': 18446744073709551616}
    """
    try:
        value = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise DecodingError(f"$: {error}", **where._asdict()) from error
    check_numbers(raw, value, where)
    return value


def split_array(raw: bytes | str) -> list[bytes]:
    """Return the elements of a JSON array as they are written.

    >>> split_array(b'[1.10, {"a": "]"}]')
    [b'1.10', b'{"a": "]"}']
    """
    text = raw if isinstance(raw, str) else raw.decode()
    elements: list[bytes] = []
    place = _after_gap(text, text.index("[") + 1)
    while text[place] != "]":
        _, end = _SPANS.raw_decode(text, place)
        elements.append(text[place:end].encode())
        place = _after_gap(text, end)
    return elements


def split_object(raw: bytes | str) -> dict[str, bytes]:
    """Return the values of a JSON object as they are written.

    >>> split_object(b'{"a": 1.10, "b": [2]}')
    {'a': b'1.10', 'b': b'[2]'}
    """
    text = raw if isinstance(raw, str) else raw.decode()
    fields: dict[str, bytes] = {}
    place = _after_gap(text, text.index("{") + 1)
    while text[place] != "}":
        key, end = _SPANS.raw_decode(text, place)
        start = _after_gap(text, text.index(":", end) + 1)
        _, end = _SPANS.raw_decode(text, start)
        fields[key] = text[start:end].encode()
        place = _after_gap(text, end)
    return fields


def _after_gap(text: str, place: int) -> int:
    gap = _GAP.match(text, place)
    return place if gap is None else gap.end()


def check_numbers(raw: bytes | str, value: object, where: Where) -> None:
    """Refuse a number that became Infinity because it exceeds a float.

    jsonb writes numbers without exponent, so it takes a run of 309 digits, which shows in every
    30th character.
    """
    if isinstance(value, float) and isinf(value):
        raise _too_large("$", where)
    if len(raw) < _FLOAT_DIGITS:
        return
    sample = raw[::_STRIDE]
    digits = sample.encode(errors="replace") if isinstance(sample, str) else sample
    if _DIGIT_RUN.search(digits) and (defect := find_defect(value)):
        raise _too_large(defect.path, where)


def _too_large(path: str, where: Where) -> DecodingError:
    message = f"{path}: the number is larger than a float can be"
    return DecodingError(message, path=path, **where._asdict())


def parse_json(text: bytes | str) -> Any:
    """Return JSON that a person wrote as plain data; refuses what would not be stored as written.

    Raises DecodingError for malformed JSON, NaN, duplicate keys and unstorable text.

    >>> parse_json('{"campaign_id": 123}')
    {'campaign_id': 123}
    """
    try:
        value = json.loads(
            text,
            parse_constant=_no_constant,
            parse_float=_finite,
            object_pairs_hook=_no_duplicates,
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise DecodingError(f"not JSON: {error.msg} at {place}") from error
    except RecursionError as error:
        raise DecodingError(f"nested deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:
        raise DecodingError(sanitise_text(error, 500)) from error
    if defect := find_defect(value):
        raise DecodingError(f"{defect.path}: {defect.reason}", path=defect.path)
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise ValueError(f"the number {text[:40]} is larger than a float can be")
    return number


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice!a} stands twice in one object")
    return result

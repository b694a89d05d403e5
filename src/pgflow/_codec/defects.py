"""Finds the place in a value that JSON in PostgreSQL cannot hold, and says why.

Runs only when a cheap sign says that something may be wrong, so it is written for clear answers.
"""

from __future__ import annotations

import dataclasses
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import Any, Final, NamedTuple
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

MAX_DEPTH: Final = 100
"""Levels of lists and objects."""
_MAX_DIGIT_BITS = 14_280
"""Python reads no integer of more than 4,300 digits back."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NO_NUMBER = "is not a JSON number"
_LEAVES = (date, time, timedelta, UUID)


class Defect(NamedTuple):
    """Where, as `$.items[3].name`, and why."""

    path: str
    reason: str


def path_of(keys: Iterable[object]) -> str:
    """Write keys and indexes as a path."""
    parts = ["$"]
    for key in keys:
        if isinstance(key, int) and not isinstance(key, bool):
            parts.append(f"[{key}]")
        elif isinstance(key, str) and _NAME.fullmatch(key):
            parts.append(f".{key}")
        else:
            parts.append(f"[{key!a}]")
    return "".join(parts)


def find_defect(root: object, *, numbers_only: bool = False) -> Defect | None:
    """Return the first defect in depth-first order, without recursion.

    `numbers_only` is for values that convert themselves: what is odd inside may be well outside.
    """
    keys: list[object] = [None]
    walks: list[tuple[Iterator[tuple[object, object]], int]] = [(iter([(None, root)]), 0)]
    open_ids: set[int] = set()
    while walks:
        walk, identity = walks[-1]
        for key, item in walk:
            keys[-1] = key
            reason, children = _look(item)
            if numbers_only and reason is not None and not reason.endswith(_NO_NUMBER):
                reason = None
            if reason is None and children is not None:
                if id(item) in open_ids:
                    reason = "it contains itself"
                elif len(walks) > MAX_DEPTH:
                    reason = f"it is nested deeper than {MAX_DEPTH} levels"
            if reason is not None:
                return Defect(path_of(keys[1:]), reason)
            if children is not None:
                open_ids.add(id(item))
                walks.append((iter(children), id(item)))
                keys.append(None)
                break
        else:
            walks.pop()
            keys.pop()
            open_ids.discard(identity)
    return None


_Look = tuple[str | None, Iterable[tuple[object, object]] | None]


def _look(item: object) -> _Look:  # noqa: PLR0911 - a table of kinds
    """Return what is wrong with this item itself, and what it contains."""
    match item:
        case None | bool():
            return None, None
        case Enum():
            return _look(item.value)
        case str():
            return _text_reason(item), None
        case int():
            big = item.bit_length() > _MAX_DIGIT_BITS
            return ("the integer has more than 4,300 digits" if big else None), None
        case float():
            return (None if isfinite(item) else f"{item} {_NO_NUMBER}"), None
        case Decimal():
            return (None if item.is_finite() else f"{item} {_NO_NUMBER}"), None
        case bytes() | bytearray() | memoryview():
            return "bytes have no JSON form; encode them, for instance as base64 text", None
        case _ if isinstance(item, _LEAVES):
            return None, None
        case _:
            return _look_inside(item)


def _look_inside(item: object) -> _Look:
    if isinstance(item, Mapping):
        return _key_reason(item), item.items()
    if isinstance(item, list | tuple | AbstractSet | deque):
        return None, enumerate(item)
    if isinstance(item, BaseModel):
        return None, list((item.__dict__ | (item.model_extra or {})).items())
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        names = [field.name for field in dataclasses.fields(item)]
        return None, [(name, getattr(item, name, None)) for name in names]
    return _unknown_reason(item), None


def _text_reason(text: str) -> str | None:
    if "\x00" in text:
        return f"the text holds the character NUL, at position {text.index(chr(0))}"
    if found := _SURROGATE.search(text):
        return f"the text holds a lone surrogate, at position {found.start()}"
    return None


def _key_reason(mapping: Mapping[Any, Any]) -> str | None:
    for key in mapping:
        if not isinstance(key, str):
            return f"the key {key!a} is {type(key).__name__}; keys of JSON objects are strings"
        if reason := _text_reason(key):
            return f"in the key {key!a} {reason}"
    return None


def _unknown_reason(item: object) -> str | None:
    try:
        to_jsonable_python(item)
    except PydanticSerializationError:
        return f"{type(item).__name__} has no JSON form"
    except Exception as error:  # noqa: BLE001 - conversion runs user code
        return f"{type(item).__name__} could not be converted ({type(error).__name__})"
    return None

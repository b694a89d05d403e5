"""What of a flow's values must not be shown: by path in values, and word by word in texts that may quote them.

The SQL function `_redacted` says the same for views and events. What handlers get, and what a client asks for as the
result of a run, is never touched.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from pydantic_core import to_jsonable_python

from pgflow._rows import RawJson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

REDACTED: Final = "[redacted]"
SHORT = 4
"""Texts of fewer characters are replaced as whole words only."""

_Paths = tuple[tuple[str, ...], ...]
_QUOTED_BY_PYDANTIC = re.compile(r"input_value=.*?, input_type=", re.DOTALL)


class Redaction:
    """The paths of one flow. A path may begin at any depth; `*` stands for any key or element.

    >>> Redaction(("card.number",)).value({"order": {"card": {"number": "4111", "year": 2030}}})
    {'order': {'card': {'number': '[redacted]', 'year': 2030}}}
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = tuple(paths)
        # A leading * stands for what is around the value: gone where the value stands alone, as in a map's task.
        self._paths: _Paths = tuple(_without_stars(path.split(".")) for path in paths)

    @classmethod
    def of(cls, *paths: Sequence[str] | None) -> Redaction | None:
        """Return what all the lists of paths ask for together; nothing if they are empty."""
        joined = tuple(dict.fromkeys(path for some in paths for path in some or ()))
        return cls(joined) if joined else None

    def value(self, value: Any) -> Any:
        """Return plain JSON data without what stands at the paths."""
        return self._walk(value, (), None)

    def json(self, raw: RawJson, slug: str | None = None) -> RawJson:
        """Return JSON without what stands at the paths; `slug` names the step whose output it is."""
        value = json.loads(raw)
        shown = self.value(value) if slug is None else self.value({slug: value})[slug]
        return RawJson(json.dumps(shown, ensure_ascii=False).encode("utf-8", "surrogatepass"))

    def secrets(self, values: Iterable[object]) -> Secrets:
        """Return the texts that stand at the paths in these values: JSON, or Python data of any kind."""
        found: list[object] = []
        for value in values:
            with suppress(Exception):  # what is no JSON has no paths
                plain = json.loads(value) if isinstance(value, bytes) else _plain(value)
                self._walk(plain, (), found)
        return Secrets(found)

    def _walk(self, value: Any, begun: _Paths, found: list[object] | None) -> Any:
        """Replace what a path leads to; with `found`, also collect it."""
        if ("*",) in self._paths:
            if found is not None:
                found.append(value)
            return REDACTED
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            return {
                key: self._below(key, item, begun + self._paths, found)
                for key, item in fields.items()
            }
        if isinstance(value, list):
            items: list[Any] = value
            return [self._below(None, item, begun, found) for item in items]
        return value

    def _below(self, key: str | None, value: Any, paths: _Paths, found: list[object] | None) -> Any:
        rests = tuple(path[1:] for path in paths if path[0] in {key, "*"})
        if () in rests or (key is not None and "." in key and tuple(key.split(".")) in paths):
            if found is not None:
                found.append(value)
            return REDACTED
        return self._walk(value, rests, found)


class Secrets:
    """Texts that must not be shown, however a message quotes them."""

    def __init__(self, values: Iterable[object]) -> None:
        texts = {form for value in values for text in _texts(value) for form in _forms(text)}
        self._texts = sorted(texts, key=len, reverse=True)

    def scrub(self, text: str) -> str:
        """Return the text with [redacted] for each of them, and for whatever pydantic quotes; never raises."""
        try:
            text = _QUOTED_BY_PYDANTIC.sub(f"input_value={REDACTED}, input_type=", text)
            for secret in self._texts:
                if len(secret) < SHORT:
                    text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", REDACTED, text)
                elif secret in text:
                    text = text.replace(secret, REDACTED)
        except Exception:  # noqa: BLE001 - a message that cannot be cleaned is not shown
            return REDACTED
        return text


def _without_stars(path: list[str]) -> tuple[str, ...]:
    while len(path) > 1 and path[0] == "*":
        path = path[1:]
    return tuple(path)


def _plain(value: object) -> object:
    return to_jsonable_python(value, serialize_unknown=True)


def _texts(value: object) -> Iterator[str]:
    """Yield every text, number and key within a value; true, false and null say nothing."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case None | bool():
                pass
            case dict() as fields:
                waiting += [*cast("dict[str, object]", fields), *fields.values()]
            case list() as items:
                waiting += cast("list[object]", items)
            case leaf:
                if text := str(leaf):
                    yield text


def _forms(text: str) -> Iterator[str]:
    """Yield the text as it is, as Python shows it and as JSON spells it."""
    yield text
    yield repr(text)[1:-1]
    with suppress(Exception):
        yield orjson.dumps(text).decode()[1:-1]
    yield json.dumps(text)[1:-1]

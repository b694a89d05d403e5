"""Values at rest: sealed before they go into the database, opened when they come out, by a codec of the user's.

A sealed value is the JSON object `{"pgflow:sealed": "v1:<key id>:<base64>"}`. An array at the top of a value is sealed
item by item, so that the database can still count and split it. What was stored plain is read as it is.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

import orjson

from pgflow._codec.plain import Where, split_array, split_object
from pgflow._rows import RawJson
from pgflow.errors import EncodingError, PgflowError, SealError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgflow.flow import Flow

SEALED: Final = "pgflow:sealed"
_MARK = f'"{SEALED}"'.encode()
_VERSION = "v1"
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@runtime_checkable
class ValueCodec(Protocol):
    """Turns a value's JSON text into bytes that may lie in the database, and back.

    `context` names the place of the value, as `flow` for the input of runs or `flow/step` for the output of a step: a
    codec should bind the value to it, so that nobody can swap values. Both methods are called from any thread.

    >>> async with Database.connect(dsn, value_codec=AesGcmCodec.from_env("PGFLOW_KEYS")) as database:
    ...     await Worker(database, [campaign]).run()
    """

    @property
    def key_id(self) -> str:
        """The key that new values are sealed with: 1 to 64 letters, digits, dots, dashes and underscores."""
        ...

    def encode(self, value: bytes, context: bytes) -> bytes:
        """Seal with the newest key."""
        ...

    def decode(self, value: bytes, context: bytes, key_id: str) -> bytes:
        """Open what was sealed with that key; raise LookupError if it is unknown, anything else if it does not fit."""
        ...


class Vault:
    """Seals and opens values by a codec; without one it stores them plain, and refuses what is sealed."""

    def __init__(self, codec: ValueCodec | None = None) -> None:
        self._codec = codec
        if codec is not None and not _KEY_ID.fullmatch(codec.key_id):
            raise UsageError(f"the value codec's key_id {codec.key_id!r} is not an id of a key")

    @property
    def seals(self) -> bool:
        """Tell whether new values are sealed."""
        return self._codec is not None

    def seal(self, text: str, where: Where, *, whole: bool = False) -> str:
        """Return JSON text as it is stored: an array item by item, unless it is `whole`. Raises EncodingError."""
        if self._codec is None:
            return text
        if whole or not text.startswith("["):
            return self._sealed(text.encode(), where)
        return "[" + ",".join([self._sealed(item, where) for item in split_array(text)]) + "]"

    def open(self, raw: bytes | str, where: Where) -> RawJson:
        """Return stored JSON as it was before it was sealed. Raises SealError."""
        data = raw.encode() if isinstance(raw, str) else raw
        if _MARK not in data:
            return data if isinstance(data, RawJson) else RawJson(data)
        if not data.lstrip().startswith(b"["):
            return RawJson(self._opened(data, where))
        items = [self._opened(item, where) if _MARK in item else item for item in split_array(data)]
        return RawJson(b"[" + b",".join(items) + b"]")

    def open_outputs(self, raw: bytes, where: Where) -> RawJson:
        """Open `{step: output}`, each by its own step. Raises SealError."""
        if _MARK not in raw:
            return raw if isinstance(raw, RawJson) else RawJson(raw)
        parts = [
            orjson.dumps(slug) + b":" + self.open(value, where._replace(step=slug))
            for slug, value in split_object(raw).items()
        ]
        return RawJson(b"{" + b",".join(parts) + b"}")

    def open_task_input(
        self, raw: bytes, where: Where, over: Sequence[str], *, item: bool
    ) -> RawJson:
        """Open what a task was given: an item of what it maps over, else its dependencies' outputs, else the run's input.

        `over` are the dependencies. Raises SealError.
        """
        if _MARK not in raw:
            return raw if isinstance(raw, RawJson) else RawJson(raw)
        origin = where._replace(step=None)
        if not over:
            return self.open(raw, origin)
        if item:
            return self.open(raw, origin._replace(step=over[0]))
        return self.open_outputs(raw, origin)

    def _opened(self, data: bytes, where: Where) -> bytes:
        """Open one value; what is plain stays as it is written."""
        if data.lstrip().startswith(b"{"):
            match orjson.loads(memoryview(data)):  # a subclass of bytes is none to orjson
                case {"pgflow:sealed": str(sealed), **rest} if not rest:
                    return self._unsealed(sealed, where)
                case _:
                    return data
        return data

    def _sealed(self, data: bytes, where: Where) -> str:
        assert self._codec is not None
        try:
            sealed = self._codec.encode(bytes(data), _context(where))
            text = b64encode(sealed).decode()
        except Exception as error:
            reason = f"the value codec could not seal it ({type(error).__name__})"
            raise EncodingError(reason, **where._asdict()) from error
        return f'{{"{SEALED}":"{_VERSION}:{self._codec.key_id}:{text}"}}'

    def _unsealed(self, sealed: str, where: Where) -> bytes:
        version, _, rest = sealed.partition(":")
        key_id, _, text = rest.partition(":")
        if version != _VERSION or not _KEY_ID.fullmatch(key_id):
            raise SealError(
                "the value is sealed in a way that this version does not know", **where._asdict()
            )
        if self._codec is None:
            message = f"the value is sealed with key '{key_id}', and no value codec is configured"
            raise SealError(message, **where._asdict())
        try:
            return self._codec.decode(b64decode(text, validate=True), _context(where), key_id)
        except LookupError as error:
            message = f"the value is sealed with key '{key_id}', which this process does not have"
            raise SealError(message, **where._asdict()) from error
        except binascii.Error as error:
            message = f"the value that is sealed with key '{key_id}' is no base64"
            raise SealError(message, **where._asdict()) from error
        except Exception as error:
            message = (
                f"the key '{key_id}' of this process does not open the value ({type(error).__name__}):"
                " it is another key, or the value was moved or changed"
            )
            raise SealError(message, **where._asdict()) from error


CODEC_TWICE: Final = "a Database has its own value codec: give it to Database.connect()"

PLAIN: Final = Vault()
"""Stores values as they are."""


def load_value_codec(reference: str | None) -> ValueCodec | None:
    """Import the codec that `module:attribute` names; a function without parameters is called for it, such as `AesGcmCodec.from_env`."""
    if not reference:
        return None
    module, _, name = reference.partition(":")
    hint = "PGFLOW_VALUE_CODEC looks like app.secrets:codec"
    try:
        found: Any = attrgetter(name)(import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"no value codec at '{reference}': {error}", hint=hint) from error
    if not isinstance(found, ValueCodec) and callable(found):
        found = found()
    if not isinstance(found, ValueCodec):
        raise UsageError(f"'{reference}' is a {type(found).__name__}, no value codec", hint=hint)
    return found


def conditions_problem(flow: Flow[Any]) -> str | None:
    """Say if a flow has conditions, which the database could not check on sealed values."""
    steps = [step.slug for step in flow.steps if "if_" in step.options or "if_not" in step.options]
    return conditions_refused(steps)


def conditions_refused(steps: Sequence[str]) -> str | None:
    """Say that these steps have conditions, if there are any."""
    if not steps:
        return None
    names = ", ".join(f"'{step}'" for step in steps[:5])
    return (
        f"if_ and if_not look into values, and a value codec seals these: {names};"
        " decide in a handler, or leave the codec out"
    )


def shown(vault: Vault, raw: RawJson, where: Where, *, by_step: bool = False) -> RawJson:
    """Open a value, or `{step: output}`, for somebody who looks; what cannot be opened says so, in place of an error."""
    try:
        return vault.open_outputs(raw, where) if by_step else vault.open(raw, where)
    except PgflowError as error:
        return RawJson(orjson.dumps(f"[sealed: {error.message}]"))


def _context(where: Where) -> bytes:
    return f"{where.flow}/{where.step}".encode() if where.step else f"{where.flow}".encode()

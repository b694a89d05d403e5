"""Port: one annotated place where values pass between Python and JSON."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError

from pgflow._codec.defects import find_defect, path_of
from pgflow._codec.plain import (
    Where,
    cannot_encode,
    check_numbers,
    check_size,
    decode_json,
    encode,
    looks_doubtful,
    refuse,
    shows_no_nan,
)
from pgflow.errors import DecodingError, DefinitionError, EncodingError

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTEGER_BITS = 63
_FLOATS = {"complex", "decimal", "float"}
_ANYTHING = {"any", "enum", "function-plain", "is-instance", "json", "json-or-python"}
_Location = tuple[int | str, ...]


class Port:
    """Encodes and decodes by one annotation; builds its adapter when first needed."""

    def __init__(self, annotation: Any, where: Where, name: str) -> None:
        self.annotation = annotation
        self.where = where
        self.name = name
        self.is_plain = annotation is Any or annotation is object
        self._container = _container(annotation)

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """The pydantic adapter. Raises DefinitionError for what JSON cannot carry."""
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(self.annotation)
            schema = cast("object", adapter.core_schema)
        except (PydanticUserError, NameError, TypeError) as error:
            reason = str(error).partition("\n")[0]
            raise self._unusable(f"cannot pass through JSON: {reason}") from error
        if _holds_bytes(schema):
            raise self._unusable("holds bytes, which have no JSON form; use base64 text instead")
        self._nan_risk = _nan_risk(schema)
        return adapter

    def _unusable(self, reason: str) -> DefinitionError:
        step = f"step '{self.where.step}': " if self.where.step else ""
        problem = f"{step}{self.name} is annotated with {_shown(self.annotation)}, which {reason}"
        return DefinitionError([problem], flow=self.where.flow)

    def encode(self, value: object, where: Where) -> str:
        """Return the value as JSON text, or raise EncodingError."""
        if type(value) is int and (self.is_plain or self.annotation is int):
            if value.bit_length() <= _INTEGER_BITS:
                return str(value)
            return encode(value, where=where)
        if self.is_plain or type(value) is self._container:
            return encode(value, where=where)
        return self._encode_typed(value, where)

    def _encode_typed(self, value: object, where: Where) -> str:
        serializer = self.adapter.serializer
        try:
            text = serializer.to_json(value, warnings="error")
            # pydantic writes NaN as null, or as a word that is no JSON.
            if self._nan_risk and (b"null" in text or b"NaN" in text or b"Infinity" in text):
                self._refuse_nan(value, where)
            if looks_doubtful(text):
                refuse(find_defect(serializer.to_python(value, mode="json")), where)
        except EncodingError:
            raise
        except Exception as error:
            raise self._why_not(value, error, where) from error
        check_size(text, where)
        return text.decode()

    def _refuse_nan(self, value: object, where: Where) -> None:
        if self._nan_risk == "float":
            plain = self.adapter.serializer.to_python(value, mode="json")
            if shows_no_nan(plain):
                return
            refuse(find_defect(plain), where)
        refuse(find_defect(value, numbers_only=True), where)

    def _why_not(self, value: object, error: Exception, where: Where) -> EncodingError:
        try:
            refuse(find_defect(value), where)
            self.adapter.validator.validate_python(value, strict=True)
        except EncodingError as defect:
            return defect
        except ValidationError as mismatch:
            path, reason = _first(mismatch, value)
            message = f"{path}: {reason}, as the annotation {_shown(self.annotation)} says"
            return EncodingError(message, path=path, **where._asdict())
        except Exception as failure:  # noqa: BLE001 - user code runs here; the first error is told
            return cannot_encode(failure, where)
        if isinstance(error, PydanticSerializationError):
            message = f"$: the value is no {_shown(self.annotation)}"
            return EncodingError(message, **where._asdict())
        return cannot_encode(error, where)

    def coerce(self, value: object, where: Where) -> object:
        """Return the value as the annotation says, so that plain data may stand for a model."""
        if self.is_plain:
            return value
        try:
            return self.adapter.validator.validate_python(value)
        except ValidationError as mismatch:
            path, reason = _first(mismatch, value)
            message = f"{path}: {reason}, as the annotation {_shown(self.annotation)} says"
            raise EncodingError(message, path=path, **where._asdict()) from mismatch

    def decode(self, raw: bytes | str, where: Where) -> Any:
        """Return the annotated value, or raise DecodingError."""
        if self.is_plain:
            return decode_json(raw, where=where)
        try:
            value = self.adapter.validator.validate_json(raw)
        except ValidationError as mismatch:
            raise self.mismatch(mismatch, raw, where) from mismatch
        check_numbers(raw, value, where)
        return value

    def mismatch(self, error: ValidationError, raw: bytes | str, where: Where) -> DecodingError:
        """Return the error for JSON that does not fit."""
        if error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid":
            return DecodingError(f"{self.name}: {_plainly(error)}", **where._asdict())
        path, reason = _first(error, decode_json(raw, where=where))
        return DecodingError(f"{self.name}: {path}: {reason}", path=path, **where._asdict())


def _container(annotation: Any) -> type | None:
    """Return dict or list if the annotation says nothing about what is inside."""
    if any(annotation == plain for plain in (dict, dict[str, Any], dict[str, object])):
        return dict
    return list if any(annotation == plain for plain in (list, list[Any])) else None


def _first(error: ValidationError, value: object) -> tuple[str, str]:
    details = error.errors(include_url=False, include_context=False)
    first = details[0]
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    kind = type(first["input"]).__name__
    keys = _real_keys(first["loc"], value)
    if first["type"] == "missing":
        return path_of([*keys, first["loc"][-1]]), f"{first['msg']}{more}"
    return path_of(keys), f"{first['msg']}, got {kind}{more}"


def _plainly(error: ValidationError) -> str:
    return str(error.errors(include_url=False, include_input=False)[0]["msg"])


def _real_keys(location: _Location, value: object) -> list[int | str]:
    """Keep the keys that lead into the value; pydantic adds names of union members and the like."""
    keys: list[int | str] = []
    for key in location:
        if isinstance(value, dict) and key in value:
            value = cast("dict[object, object]", value)[key]
        elif isinstance(value, list | tuple) and isinstance(key, int) and key < len(value):
            value = cast("Sequence[object]", value)[key]
        elif isinstance(key, str) and hasattr(value, key) and not isinstance(value, str):
            value = getattr(value, key)
        else:
            continue
        keys.append(key)
    return keys


def _shown(annotation: object) -> str:
    return annotation.__name__ if type(annotation) is type else str(annotation)


def _holds_bytes(schema: object) -> bool:
    return any(node.get("type") == "bytes" for node in _nodes(schema))


def _nan_risk(schema: object) -> Literal["", "float", "any"]:
    """Say whether a value may be, or hold, NaN: in a place meant for floats, or anywhere."""
    nodes = _nodes(schema, inside_serialised=True)
    if any(
        node.get("type") in _ANYTHING
        or "serialization" in node
        or "allow" in {node.get("extra_behavior"), _config(node).get("extra_fields_behavior")}
        for node in nodes
    ):
        return "any"
    return "float" if any(node.get("type") in _FLOATS for node in nodes) else ""


def _config(node: dict[str, Any]) -> dict[str, Any]:
    return cast("dict[str, Any]", node.get("config") or {})


def _nodes(schema: object, *, inside_serialised: bool = False) -> list[dict[str, Any]]:
    """Return all parts of a pydantic schema, those with a serialiser of their own only if asked."""
    found: list[dict[str, Any]] = []
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            node = cast("dict[str, Any]", part)
            encoding = _config(node).get("ser_json_bytes", "utf8")
            encodes = "serialization" in node or encoding != "utf8"
            if encodes and not inside_serialised:
                continue
            found.append(node)
            waiting += [
                value for key, value in node.items() if key not in {"metadata", "config", "cls"}
            ]
        elif isinstance(part, list | tuple):
            waiting += cast("Sequence[object]", part)
    return found

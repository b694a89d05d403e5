"""What JSON Schemas of handlers' annotations say about edges: does an output fit a parameter, what is at a path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import TypeAdapter
    from pydantic_core.core_schema import DecimalSchema

Schema = dict[str, Any]

_DECIMAL = "decimal"
_LEVELS = 6
"""Levels to which schemas are compared and shown; below, anything fits."""


class Missing(NamedTuple):
    """A field that an output surely does not have, and those that it has."""

    key: str
    known: list[str]


class _Schemas(GenerateJsonSchema):
    """Names fields as handlers write them, and tells a Decimal, which is written as text, from other text."""

    def _get_alias_name(self, field: Any, name: str) -> str:
        """Prefer a field's own name, by which outputs are written, wherever it is read as well."""
        wanted = (
            ("serialize_by_alias",)
            if self.mode == "serialization"
            else ("validate_by_name", "populate_by_name")
        )
        is_set = any(getattr(self._config, option, None) for option in wanted)
        takes_alias = is_set == (self.mode == "serialization")
        return super()._get_alias_name(field, name) if takes_alias else name

    def decimal_schema(self, schema: DecimalSchema) -> Schema:
        """Return what a Decimal looks like as JSON."""
        plain = super().decimal_schema(schema)
        return plain | ({"format": _DECIMAL} if self.mode == "serialization" else {})


def schema_of(adapter: TypeAdapter[Any], mode: Literal["validation", "serialization"]) -> Schema:
    """Return the schema of an annotation without references and titles; {} where there is none."""
    try:
        schema = adapter.json_schema(mode=mode, schema_generator=_Schemas)
    except PydanticInvalidForJsonSchema:
        return {}
    return inlined(schema)


def inlined(schema: Schema) -> Schema:
    """Return a schema with what it refers to in place."""
    return cast("Schema", _inlined(schema, schema.get("$defs", {}), ()))


def _inlined(node: object, named: dict[str, object], within: tuple[str, ...]) -> object:
    if isinstance(node, list):
        return [_inlined(part, named, within) for part in cast("list[object]", node)]
    if not isinstance(node, dict):
        return node
    schema = cast("Schema", node)
    reference = schema.get("$ref")
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        if name in within or len(within) > _LEVELS:
            return {}  # a type that contains itself
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        target = _inlined(named.get(name, {}), named, (*within, name))
        return cast("Schema", target) | cast("Schema", _inlined(rest, named, within))
    kept: Schema = {}
    for key, value in schema.items():
        if key == "properties" and isinstance(value, dict):
            # Its keys are names of fields, which may be called like words of the schema.
            fields = cast("Schema", value)
            kept[key] = {name: _inlined(part, named, within) for name, part in fields.items()}
        elif key in {"default", "const", "enum", "examples"}:
            kept[key] = value
        elif key not in {"$defs", "title", "discriminator"}:
            kept[key] = _inlined(value, named, within)
    return kept


def fits(source: Schema, target: Schema, level: int = 0) -> bool:
    """Tell whether a value of the one schema may be one of the other; true where that cannot be told."""
    if level > _LEVELS:
        return True
    offered, wanted = _alternatives(source), _alternatives(target)
    if offered is None or wanted is None:
        return True
    # A value that may be of several kinds fits if one of them does: the handler sees to the rest.
    return any(_fits_one(one, other, level) for one in offered for other in wanted)


def _alternatives(schema: Schema) -> list[Schema] | None:
    """Return what a value may be; nothing for a schema that says too much, or nothing at all."""
    for word in ("anyOf", "oneOf"):
        if isinstance(schema.get(word), list):
            parts = [_alternatives(part) for part in schema[word]]
            return None if None in parts else [one for part in parts for one in part or []]
    kinds = schema.get("type")
    if isinstance(kinds, list):
        return [schema | {"type": kind} for kind in cast("list[object]", kinds)]
    return [schema] if isinstance(kinds, str) else None


def _fits_one(source: Schema, target: Schema, level: int) -> bool:
    kind, wanted = source["type"], target["type"]
    if kind == "integer" and wanted == "number":
        return True
    if kind == "string" and wanted in {"number", "integer"}:
        return source.get("format") == _DECIMAL
    if kind != wanted:
        return False
    if kind == "array":
        return fits(source.get("items") or {}, target.get("items") or {}, level + 1)
    if kind == "object":
        return _fits_object(source, target, level)
    return True


def _fits_object(source: Schema, target: Schema, level: int) -> bool:
    has, wants = source.get("properties"), target.get("properties")
    if not isinstance(has, dict) or not isinstance(wants, dict):
        return True
    missing = [name for name in target.get("required", []) if name not in has]
    if missing and not source.get("additionalProperties"):
        return False
    return all(fits(has[name], wants[name], level + 1) for name in wants if name in has)


def is_array(schema: Schema) -> bool | None:
    """Tell whether a value is an array; None where the schema does not say."""
    parts = _alternatives(schema)
    if parts is None:
        return None
    return any(part["type"] == "array" for part in parts)


def items_of(schema: Schema) -> Schema:
    """Return the schema of an array's elements."""
    parts = _alternatives(schema) or []
    found = next((part for part in parts if part["type"] == "array"), {})
    items = found.get("items")
    return cast("Schema", items) if isinstance(items, dict) else {}


def at_path(schema: Schema, path: Sequence[str]) -> Schema | Missing:
    """Return the schema at a path, {} where that cannot be told."""
    for key in path:
        parts = _alternatives(schema)
        if parts is None or len(parts) != 1:
            return {}
        only = parts[0]
        if only["type"] == "array":
            if not key.isdecimal():
                return Missing(key, [])
            schema = items_of(only)
        elif only["type"] == "object":
            fields = only.get("properties")
            if not isinstance(fields, dict):
                return {}
            if key not in fields:
                known = list(cast("Schema", fields))
                return {} if only.get("additionalProperties") else Missing(key, known)
            schema = cast("Schema", fields)[key]
        else:
            return Missing(key, [])
    return schema


def described(schema: Schema, level: int = 0) -> str:
    """Write a schema in a few words: `array of object (month, total)`."""
    parts = _alternatives(schema)
    if parts is None:
        return "anything"
    return " or ".join(dict.fromkeys(_described_one(part, level) for part in parts))


def _described_one(schema: Schema, level: int) -> str:
    kind = str(schema["type"])
    if kind == "array" and level < _LEVELS and schema.get("items"):
        return f"array of {described(schema['items'], level + 1)}"
    if kind == "object" and isinstance(schema.get("properties"), dict):
        return f"object ({', '.join(list(schema['properties'])[:8])})"
    return kind

"""Fields with aliases: a plan names them as they are written, by the annotations' own rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from pgflow.plan import Handlers, Plan


class Plain(BaseModel):
    total: int = Field(default=1, serialization_alias="Total")


class Both(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    total: int = Field(alias="Total")


class Aliased(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)
    total: int = Field(default=1, serialization_alias="Total")


class Strict(BaseModel):
    total: int = Field(alias="Total")


@dataclass
class Record:
    total: Annotated[int, Field(serialization_alias="Total")] = 1


def registry_of(gives: Any, takes: Any = int) -> Handlers:
    registry = Handlers()

    def give() -> Any: ...

    def take(value: Any) -> None: ...

    give.__annotations__["return"] = gives
    take.__annotations__["value"] = takes
    registry.register()(give)
    registry.register()(take)
    return registry


def codes(registry: Handlers, source: str) -> list[str]:
    steps = [
        {"slug": "a", "handler": "give"},
        {"slug": "b", "handler": "take", "inputs": {"value": source}},
    ]
    return [problem.code for problem in Plan.check({"slug": "p", "steps": steps}, registry)]


@pytest.mark.parametrize(
    ("gives", "written", "other"),
    [
        (Plain, "total", "Total"),
        (Both, "total", "Total"),
        (Aliased, "Total", "total"),
        (Record, "total", "Total"),
    ],
)
def test_a_path_names_the_field_as_it_is_written(gives: Any, written: str, other: str) -> None:
    registry = registry_of(gives)
    assert codes(registry, f"a.{written}") == []
    assert codes(registry, f"a.{other}") == ["no-such-field"]


def test_an_output_fits_what_can_be_read_from_it() -> None:
    assert codes(registry_of(Both, Both), "a") == []
    assert codes(registry_of(Plain, Both), "a") == []
    # It is written by name and read by alias alone, so it would fail at run time.
    assert codes(registry_of(Strict, Strict), "a") == ["type-mismatch"]

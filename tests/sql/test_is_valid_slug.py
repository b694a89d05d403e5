"""pgflow.is_valid_slug: which names flows and steps may have."""

from __future__ import annotations

import pytest

from tests.support.sql import Connection, value


@pytest.mark.parametrize(
    "slug",
    [
        "a",
        "Z",
        "_",
        "_1",
        "snake_case",
        "CamelCase",
        "a1_B2",
        "running",
        "run_",
        "_run",
        "runrun",
        "a" * 128,
    ],
)
def test_accepts(connection: Connection, slug: str) -> None:
    assert value(connection, "select pgflow.is_valid_slug(%s)", slug) is True


@pytest.mark.parametrize(
    "slug",
    [
        None,
        "",
        " ",
        "run",
        "a" * 129,
        "1a",
        "9",
        "a-b",
        "a b",
        " a",
        "a ",
        "a.b",
        "a$",
        "a/b",
        "a\n",
        "\na",
        "a\nb",
        "a\t",
        "straße",
        "ａ",  # noqa: RUF001 -- a full-width letter is the point
        "á",
        'a"; drop schema pgflow cascade; --',
        "a'b",
    ],
)
def test_refuses_and_is_never_null(connection: Connection, slug: str | None) -> None:
    assert value(connection, "select pgflow.is_valid_slug(%s::text)", slug) is False


def test_is_called_by_its_parameter_name(connection: Connection) -> None:
    assert value(connection, "select pgflow.is_valid_slug(slug => 'a')") is True


def test_is_immutable(connection: Connection) -> None:
    volatility = (
        "select provolatile from pg_proc where oid = 'pgflow.is_valid_slug(text)'::regprocedure"
    )
    assert value(connection, volatility) in ("i", b"i")

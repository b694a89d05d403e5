"""Fault 43: what a slug may be is the same in SQL and in Python."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from pgflow.flow import is_valid_slug
from tests.support.sql import value

if TYPE_CHECKING:
    import psycopg

NASTY = [
    "", " ", "a", "_", "A1_", "1a", "a-b", "a.b", "a b", " a", "a ", "a\n", "\na", "a\r\n", "a\t",
    "run", "Run", "RUN", "runs", "ä", "naïve", "\uff41", "\u0430", "a\u200b", "a٣", "a²", "aK", "\u0131", "İ",
    "a;drop table x", "a'--", 'a"b', "a$b", "a%s", "a{}", "a\\b", "a/b", "../a",
    "x" * 47, "x" * 48, "x" * 128, "x" * 129, "_" * 128, "x" * 10_000,
]  # fmt: skip
ALPHABET = "aZ_09 -\n.'$ßé٣"


def test_fault_43_sql_and_python_agree_on_slugs(connection: psycopg.Connection[Any]) -> None:
    chance = random.Random(43)
    slugs = NASTY + ["".join(chance.choices(ALPHABET, k=chance.randint(1, 6))) for _ in range(500)]
    verdicts = value(
        connection,
        "select array_agg(pgflow.is_valid_slug(slug) order by position)"
        " from unnest(%s::text[]) with ordinality as given (slug, position)",
        slugs,
    )
    assert dict(zip(slugs, verdicts, strict=True)) == {slug: is_valid_slug(slug) for slug in slugs}
    assert sum(verdicts) > 20

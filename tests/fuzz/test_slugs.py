"""Slugs: SQL and Python agree about every text, and none that is refused reaches a statement that makes tables."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgflow.flow import is_valid_slug
from tests.fuzz.strategies import ANY_TEXT, NASTY, NEAR_SLUGS, fuzz
from tests.support.sql import Connection, value

TEXTS = ANY_TEXT | NEAR_SLUGS
TABLES = "select count(*) from pg_class where relnamespace in ('pgmq'::regnamespace, 'pgflow'::regnamespace)"


def storable(text: str) -> bool:
    """Tell whether a text can be sent to the database at all."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


@fuzz(80)
@given(texts=st.lists(TEXTS.filter(storable), min_size=1, max_size=50))
def test_sql_and_python_agree(connection: Connection, texts: list[str]) -> None:
    query = "select array(select pgflow.is_valid_slug(text) from unnest(%s::text[]) with ordinality as given (text, n) order by n)"
    assert value(connection, query, texts) == [is_valid_slug(text) for text in texts]


@pytest.mark.parametrize("text", [text for text in NASTY if storable(text)])
def test_sql_and_python_agree_about_the_nasty_ones(connection: Connection, text: str) -> None:
    assert value(connection, "select pgflow.is_valid_slug(%s)", text) is is_valid_slug(text)


@pytest.mark.parametrize("text", [text for text in NASTY if not storable(text)])
def test_what_cannot_be_sent_is_no_slug(text: str) -> None:
    assert not is_valid_slug(text)


CALLS = [
    "select pgflow.create_flow(%(text)s)",
    'select pgflow.define_flow(%(text)s, \'{"steps": [{"slug": "a"}]}\')',
    "select pgflow.define_flow('f', jsonb_build_object('steps', jsonb_build_array(jsonb_build_object('slug', 'a', 'queue', %(text)s::text))))",
    "select pgflow.add_step('base', 'a', queue => %(text)s)",
    "select pgflow.add_step('base', %(text)s)",
    "select pgflow.ensure_queue(%(text)s)",
]


@pytest.mark.parametrize("call", CALLS)
@fuzz(25)
@given(text=TEXTS.filter(storable).filter(lambda text: not is_valid_slug(text)))
def test_a_refused_slug_reaches_no_ddl(connection: Connection, call: str, text: str) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute("select pgflow.create_flow('base')")
        before = value(connection, TABLES)
        with pytest.raises(psycopg.Error) as caught, connection.transaction():
            connection.execute(call.encode(), {"text": text})
        assert (caught.value.sqlstate or "")[:2] in {"22", "23", "P0"}
        assert value(connection, TABLES) == before


@fuzz(20)
@given(text=st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,127}", fullmatch=True).filter(is_valid_slug))
def test_a_valid_slug_gets_a_queue_of_its_own(connection: Connection, text: str) -> None:
    with connection.transaction(force_rollback=True):
        queues = [
            value(
                connection,
                "select coalesce(queue_name, flow_slug) from pgflow.create_flow(%s)",
                slug,
            )
            for slug in dict.fromkeys((text, text.swapcase(), text.lower()))
        ]
        assert len({queue.lower() for queue in queues}) == len(queues)
        for queue in queues:
            assert value(
                connection, "select to_regclass('pgmq.q_' || lower(%s)) is not null", queue
            )

"""The proxy itself: what it counts as in doubt has been committed, and every fault is what its name says."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.support.proxy import COMMITS, Fault, Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

INSERT = "insert into public.marks values (1)"
MARK = (b"public.marks",)


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    with psycopg.connect(database_url) as connection:
        connection.execute("create table public.marks (number int check (number < 10))")
    with Proxy(database_url) as proxy:
        yield proxy


def marks(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("select count(*) from public.marks").fetchone()
        assert row is not None
        return int(row[0])


def connect(proxy: Proxy, *, autocommit: bool = True) -> closing[psycopg.Connection[Any]]:
    return closing(psycopg.connect(proxy.dsn, autocommit=autocommit))


@pytest.mark.parametrize("prepared", [False, True])
def test_a_lost_reply_is_that_of_a_commit(proxy: Proxy, database_url: str, prepared: bool) -> None:
    with connect(proxy) as connection:
        connection.execute(INSERT, prepare=prepared)
        fault = proxy.arm(Fault.DROP_REPLY, MARK)
        with pytest.raises(psycopg.OperationalError):
            connection.execute(INSERT, prepare=prepared)
    assert fault.fired.is_set()
    assert proxy.counts["in_doubt"] == proxy.lost_replies["public.marks"] == 1
    assert marks(database_url) == 2


def test_a_statement_in_a_transaction_is_not_in_doubt_but_its_commit_is(
    proxy: Proxy, database_url: str
) -> None:
    fault = proxy.arm(Fault.DROP_REPLY, (*MARK, *COMMITS))
    with connect(proxy, autocommit=False) as connection:
        connection.execute(INSERT)
        assert not fault.fired.is_set()
        with pytest.raises(psycopg.OperationalError):
            connection.commit()
    assert fault.fired.is_set()
    assert proxy.counts["in_doubt"] == 1
    assert marks(database_url) == 1


def test_an_error_is_passed_on_and_not_counted(proxy: Proxy, database_url: str) -> None:
    fault = proxy.arm(Fault.DROP_REPLY, MARK)
    with connect(proxy) as connection:
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("insert into public.marks values (11)")
        assert not fault.fired.is_set()
        with pytest.raises(psycopg.OperationalError):
            connection.execute(INSERT)
    assert (proxy.counts["in_doubt"], marks(database_url)) == (1, 1)


def test_what_is_cut_before_it_is_sent_never_happens(proxy: Proxy, database_url: str) -> None:
    fault = proxy.arm(Fault.CUT_BEFORE_SEND, MARK)
    with connect(proxy) as connection:
        connection.execute("select 1")
        with pytest.raises(psycopg.OperationalError):
            connection.execute(INSERT)
    assert fault.fired.is_set()
    assert (proxy.counts["in_doubt"], marks(database_url)) == (0, 0)


@pytest.mark.parametrize("fault", [Fault.DELAY, Fault.BLACK_HOLE])
def test_slow_and_silent_connections_take_their_time(
    proxy: Proxy, database_url: str, fault: Fault
) -> None:
    proxy.arm(fault, MARK, 0.5)
    begin = time.monotonic()
    with connect(proxy) as connection:
        if fault is Fault.DELAY:
            connection.execute(INSERT)
        else:
            with pytest.raises(psycopg.OperationalError):
                connection.execute(INSERT)
    assert time.monotonic() - begin >= 0.5
    assert marks(database_url) == (1 if fault is Fault.DELAY else 0)


def test_healing_disarms_and_cuts_what_is_silent(proxy: Proxy, database_url: str) -> None:
    fault = proxy.arm(Fault.CUT_BEFORE_SEND, MARK)
    proxy.heal()
    with connect(proxy) as connection:
        connection.execute(INSERT)
        proxy.cut()
        with pytest.raises(psycopg.OperationalError):
            connection.execute(INSERT)
    assert not fault.fired.is_set()
    assert marks(database_url) == 1

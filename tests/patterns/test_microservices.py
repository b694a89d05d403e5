"""The pattern of microservices: what the services wrote down is the truth that pgflow's account is held against."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import smtplib
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest

from examples.microservices import __main__ as example
from examples.microservices import flow
from examples.microservices.account import speeds
from examples.microservices.flow import Cart, checkout
from examples.microservices.flow import response as last_step
from examples.microservices.keeper import Keeper
from pgflow import Client, Database, NonRetryable, execute_async
from tests.support.patterns import ROOT, run_pattern

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = ROOT / "examples" / "microservices"
PAGE = ROOT / "docs" / "patterns" / "microservices.md"


def rows(store: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(store)) as connection:
        return connection.execute(query).fetchall()


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_two_orders_pass_the_services_and_one_is_killed(database_url: str, tmp_path: Path) -> None:
    facts = run_pattern("microservices", database_url, tmp_path)
    assert len(facts["checks"]) == 12
    assert all(facts["checks"].values()), facts["checks"]
    assert [answer["status"] for answer in facts["responses"]] == ["shipped", "refunded"]
    assert_one_effect_each(tmp_path / "services", facts)
    assert_the_charge_was_recovered(tmp_path / "services", database_url, facts)
    assert_branches(database_url, facts["runs"])
    assert_shipping_is_slowest(tmp_path / "services", database_url, facts)
    picture = (tmp_path / "picture.svg").read_text()
    for shown in ("killed: charged, no answer", "same key", "skipped", "webhook_call"):
        assert f"<!-- {shown}" in picture


def assert_one_effect_each(services: Path, facts: dict[str, Any]) -> None:
    orders = {answer["order_id"] for answer in facts["responses"]}
    counts = "select request ->> 'order_id', count(*) from effects where kind = 'charge' group by 1"
    assert dict(rows(services / "payment.sqlite3", counts)) == dict.fromkeys(orders, 1)
    cents = "select kind, answer ->> 'cents' from effects order by rowid"
    assert rows(services / "payment.sqlite3", cents) == [
        ("charge", 17800),
        ("charge", 4250),
        ("refund", 4250),
    ]
    for service, kind in (("mail", "mail"), ("sms", "sms"), ("webhook", "webhook")):
        texts = rows(services / f"{service}.sqlite3", "select kind, request from effects")
        assert [found for found, _ in texts] == [kind, kind]
        assert {order for order in orders for _, text in texts if order in text} == orders
    assert rows(services / "shipping.sqlite3", "select * from stock order by 1") == [
        ("keyboard", 18),
        ("lamp", 0),
    ]


def assert_the_charge_was_recovered(services: Path, dsn: str, facts: dict[str, Any]) -> None:
    first, second = facts["payment_processes"]
    calls = "select pid, answered_at is not null, status from calls where key = (select key from calls limit 1) order by id"
    assert rows(services / "payment.sqlite3", calls) == [(first, 0, None), (second, 1, 200)]
    by = "select distinct pid from effects where key = (select key from calls limit 1)"
    assert rows(services / "payment.sqlite3", by) == [(first,)]
    with psycopg.connect(dsn) as connection:
        query = (
            "select outcome, error from pgflow.task_attempts"
            " where run_id = %s and step_slug = 'payment_charge' order by attempt"
        )
        (killed, error), (retried, _) = connection.execute(query, [facts["runs"][0]]).fetchall()
    assert (killed, retried) == ("failed", "completed")
    assert "disconnected" in error or "ReadError" in error


def assert_branches(dsn: str, runs: list[str]) -> None:
    query = (
        "select status from pgflow.step_summary where run_id = %s"
        " and step_slug in ('payment_refund', 'shipping_dispatch') order by step_slug"
    )
    with psycopg.connect(dsn) as connection:
        ways = [[status for (status,) in connection.execute(query, [run])] for run in runs]
        retried = connection.execute(
            "select distinct step_slug from pgflow.step_summary where retried_tasks > 0 order by 1"
        ).fetchall()
    assert ways == [["skipped", "completed"], ["completed", "skipped"]]
    assert retried == [("payment_charge",), ("sms_send",)]


def assert_shipping_is_slowest(services: Path, dsn: str, facts: dict[str, Any]) -> None:
    times = "select answered_at - received_at from calls where status < 300"
    own = {
        store.stem: median(seconds for (seconds,) in rows(store, times))
        for store in services.glob("*.sqlite3")
    }
    assert max(own, key=lambda name: own[name]) == facts["slowest"] == "shipping"
    with psycopg.connect(dsn) as connection:
        found = connection.execute((FOLDER / "slowest.sql").read_bytes()).fetchall()
    assert [service for service, *_ in found][:1] == ["shipping"]
    assert {service for service, *_ in found} == set(own)
    assert {service: calls for service, calls, *_ in found} == {
        "user": 2, "order": 4, "payment": 3, "shipping": 3, "mail": 2, "sms": 2, "webhook": 2,
    }  # fmt: skip


@pytest.mark.slow
async def test_a_shipping_service_out_of_reach_means_a_refund(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(checkout.options, "base_delay", 0)
    with Keeper(tmp_path, {}) as keeper, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        for name, value in keeper.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("SHIPPING_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        cart = Cart(user_id=1, sku="keyboard", pieces=1)
        result = await execute_async(checkout, cart, dsn=database_url, timeout=90)
        assert result[last_step].status == "refunded"
        kinds = rows(keeper.services["payment"].store, "select kind from effects order by rowid")
        assert kinds == [("charge",), ("refund",)]


class Services:
    """Answers instead of the services, in this process; a place among `refused` says no for good."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *refused: str) -> None:
        monkeypatch.setitem(checkout.options, "base_delay", 0)
        monkeypatch.setattr(flow, "get", self.get)
        monkeypatch.setattr(flow, "post", self.post)
        monkeypatch.setattr(smtplib, "SMTP", self.connect)
        monkeypatch.setenv("MAIL_URL", "smtp://nowhere")
        self.refused = refused
        self.effects: list[str] = []

    async def get(self, _service: str, _path: str) -> Any:
        return {"name": "Ada", "email": "ada@example.org", "phone": "1"}

    async def post(self, _service: str, path: str, body: dict[str, Any]) -> Any:
        if path in self.refused:
            raise NonRetryable(f"{path} answered 404")
        self.effects.append(path)
        shipped = bool(body.get("tracking"))
        answers: dict[str, Any] = {
            "/orders": {**body, "order_id": "order-1", "cents": 100},
            "/charges": {"charge_id": "charge-1", "cents": 100},
            "/reservations": {"possible": True, "reason": None},
            "/parcels": {"tracking": "parcel-1"},
            "/refunds": {"refund_id": "refund-1", "cents": 100},
            "/outcomes": {
                "order_id": "order-1",
                "status": "shipped" if shipped else "refunded",
                "text": "",
            },
        }
        answer = answers.get(path, {"receipt": path})
        return {name: value for name, value in answer.items() if name != "user_id"}

    def connect(self, *_: object, **__: object) -> smtplib.SMTP:
        raise ConnectionRefusedError("the mail server is away")


async def test_a_parcel_that_cannot_leave_after_all_means_a_refund(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = Services(monkeypatch, "/parcels")
    result = await execute_async(checkout, Cart(1, "lamp", 1), dsn=database_url, timeout=60)
    assert result[last_step].status == "refunded"
    assert services.effects.count("/refunds") == 1


async def test_a_dead_subscriber_does_not_silence_the_other_notices(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = Services(monkeypatch, "/events")
    result = await execute_async(checkout, Cart(1, "lamp", 1), dsn=database_url, timeout=60)
    assert result[last_step] == flow.Response("order-1", "shipped", [None, "/messages", None])
    assert "/refunds" not in services.effects


NEVER_ENDS = """
import sys
from examples.microservices import __main__ as example

example.DELAYS["user"] = (3600.0,)
sys.exit(example.main())
"""
"""The example, but the first service that it calls takes an hour: no signal comes too late."""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_service_outlives_the_example(
    how: signal.Signals, database_url: str, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-u", "-c", NEVER_ENDS, "--out", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PGFLOW_DSN": database_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as example:
        assert example.stdout is not None
        first = next(line for line in example.stdout if line.startswith("Seven services run"))
        pids = [int(pid) for pid in re.findall(r"\w+ (\d+)", first)]
        assert len(pids) == 7
        assert all(alive(pid) for pid in pids)
        wait_until(lambda: outcomes(database_url) == ["started"])
        example.send_signal(how)
        example.wait(timeout=60)
    wait_until(lambda: not any(alive(pid) for pid in pids))
    # A process that is killed cancels nothing; the next one does.
    assert outcomes(database_url) == ["cancelled" if how is signal.SIGINT else "started"]


def outcomes(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        return [status for (status,) in connection.execute("select status from pgflow.runs")]


async def test_a_service_that_never_answers_in_time_is_named(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = Services(monkeypatch)
    answer = services.post

    async def post(service: str, path: str, body: dict[str, Any]) -> Any:
        if path == "/events":
            await asyncio.sleep(0.3)
            raise httpx.ReadTimeout("")
        return await answer(service, path, body)

    monkeypatch.setattr(flow, "post", post)
    await execute_async(checkout, Cart(1, "lamp", 1), dsn=database_url, timeout=60)
    calls = {speed.service: speed.calls for speed in speeds(database_url)}
    assert calls["webhook"] == 4
    assert "mail" not in calls, "a refusal tells nothing of speed"


async def test_only_runs_of_the_example_are_cancelled(database_url: str) -> None:
    async with Database.connect(database_url) as database:
        client = Client(database)
        theirs = await client.start(checkout, Cart(1, "lamp", 1), key="order-1")
        left = await client.start(checkout, Cart(1, "lamp", 1), key=example.new_key())
        with example.no_run_left(database_url):
            assert (await left.summary()).status == "cancelled"
        assert (await theirs.summary()).status == "started"


def test_the_page_and_the_readme_show_what_runs() -> None:
    page = PAGE.read_text()
    assert f"```mermaid\n{checkout.mermaid().rstrip()}\n```" in page
    assert (
        f"```sql\n{(FOLDER / 'slowest.sql').read_text()}```" in (FOLDER / "README.md").read_text()
    )
    for module, excerpt in re.findall(
        r"an excerpt of (\S+) -->\n```python\n(.*?)```", page, re.DOTALL
    ):
        assert excerpt in (ROOT / module).read_text(), module

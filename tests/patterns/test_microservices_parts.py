"""The services of the pattern of microservices: one effect for each key, whoever calls how often."""

from __future__ import annotations

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from examples.microservices import signing
from examples.microservices.services import application
from examples.microservices.store import KeyReused, Store

if TYPE_CHECKING:
    from pathlib import Path


def rows(store: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(store)) as connection:
        return connection.execute(query).fetchall()


def client(name: str, path: Path) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(application(name, path, 0))
    return httpx.AsyncClient(transport=transport, base_url="http://service")


async def test_a_key_has_one_effect_and_one_answer(tmp_path: Path) -> None:
    body = {"order_id": "order-1", "cents": 100}
    async with client("payment", tmp_path / "payment") as first:
        answer = await first.post("/charges", json=body, headers={"Idempotency-Key": "a"})
    # Another process of the same service.
    async with client("payment", tmp_path / "payment") as second:
        again = await second.post("/charges", json=body, headers={"Idempotency-Key": "a"})
        other = await second.post("/charges", json=body, headers={"Idempotency-Key": "b"})
        misused = await second.post(
            "/charges", json=body | {"cents": 1}, headers={"Idempotency-Key": "a"}
        )
        bare = await second.post("/charges", json=body)
    assert answer.json() == again.json() != other.json()
    assert [each.headers["Idempotent-Replayed"] for each in (answer, again)] == ["false", "true"]
    assert (misused.status_code, bare.status_code) == (422, 400)
    assert rows(tmp_path / "payment", "select count(*) from effects") == [(2,)]


async def test_what_is_out_of_stock_is_not_reserved(tmp_path: Path) -> None:
    async with client("shipping", tmp_path / "shipping") as shipping:
        answers = [
            (
                await shipping.post(
                    "/reservations",
                    json={"sku": sku, "pieces": pieces},
                    headers={"Idempotency-Key": f"{sku}-{pieces}"},
                )
            ).json()["possible"]
            for sku, pieces in (("keyboard", 20), ("keyboard", 1), ("lamp", 1))
        ]
    assert answers == [True, False, False]


async def test_an_event_without_the_shops_signature_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(signing.SECRET, "secret")
    content = json.dumps({"order_id": "order-1"}).encode()
    async with client("webhook", tmp_path / "webhook") as webhook:
        codes = [
            (
                await webhook.post(
                    "/events",
                    content=content,
                    headers={"Idempotency-Key": "a", "Webhook-Signature": given},
                )
            ).status_code
            for given in ("v1,bm8=", signing.signature(content))
        ]
    assert codes == [401, 200]


def test_calls_at_the_same_time_with_one_key_have_one_effect(tmp_path: Path) -> None:
    store, acts = Store(tmp_path / "store"), []

    def act(_connection: sqlite3.Connection) -> dict[str, Any]:
        acts.append(1)
        return {"number": len(acts)}

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: store.once("key", "test", {}, act), range(16)))
    assert len(acts) == 1
    assert {answer["number"] for answer, _ in answers} == {1}
    assert sum(not replayed for _, replayed in answers) == 1
    with pytest.raises(KeyReused):
        store.once("key", "test", {"other": True}, act)

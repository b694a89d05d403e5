"""The stream pattern: totals are exact to the event, whoever dies."""

from __future__ import annotations

import csv
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import psycopg
import pytest

from examples.stream.__main__ import main
from examples.stream.broker import NoBroker, connect
from examples.stream.flow import stream_metrics
from tests.support.patterns import ROOT, run_pattern

STREAM = "SALES 2026-01-01"


def query(dsn: str, text: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(text.encode()).fetchall()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_nothing_is_lost_and_nothing_doubled(database_url: str, tmp_path: Path) -> None:
    facts = run_pattern("stream", database_url, tmp_path, timeout=200)
    assert facts["checks"]
    assert all(facts["checks"].values()), facts
    assert set(facts["outages"]) == {"bridge", "broker", "workers"}
    assert facts["short_runs"] >= 1
    # The first bridge died with a whole batch unacknowledged.
    assert facts["redelivered"] >= 100

    # Count and sum of each shop, by the ledger and by the tables.
    sales, cents = Counter[str](), Counter[str]()
    with (tmp_path / "ledger.csv").open(newline="") as ledger:
        for _, shop, amount, *_ in csv.reader(ledger):
            sales[shop] += 1
            cents[shop] += int(amount)
    assert sales.total() == facts["events"] == 5_050
    totals = query(database_url, "select shop, sales, cents from stream_example.totals")
    assert {shop: (sales[shop], cents[shop]) for shop in sales} == {
        shop: (count, amount) for shop, count, amount in totals
    }

    # Each event in one run, each run completed, each batch written once.
    seqs = query(
        database_url,
        "select (sale ->> 'seq')::int from pgflow.runs, jsonb_array_elements(input -> 'sales') as sale",
    )
    assert sorted(seq for (seq,) in seqs) == [*range(1, 5_051)]
    statuses = query(database_url, "select distinct status::text from pgflow.runs")
    assert statuses == [("completed",)]
    doubled = query(
        database_url,
        "select run_id, shop from stream_example.metrics group by 1, 2 having count(*) > 1",
    )
    assert doubled == []
    lost = query(database_url, "select count(*) from pgflow.attempts where outcome = 'lost'")
    assert lost == [(facts["lost_attempts"],)] != [(0,)]

    picture = ET.parse(tmp_path / "picture.svg").getroot()
    assert picture.tag.endswith("svg")
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}path"))) > 20


def test_without_a_server_it_says_how_to_get_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.stream", "--nats-server", "/nowhere/nats-server"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "apt-get install nats-server" in done.stderr
    assert "brew install nats-server" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "said"), [("--events=999", "1,000 at least"), ("--rate=0", "more than none")]
)
def test_what_cannot_end_well_is_refused(
    option: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["stream", option])
    with pytest.raises(SystemExit) as refusal:
        main()
    assert refusal.value.code == 2
    assert said in capsys.readouterr().err


def descendants(pid: int) -> set[int]:
    """Return the processes below one."""
    found = set()
    with suppress(FileNotFoundError):
        for file in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, file.read_text().split()):
                found |= {child} | descendants(child)
    return found


def program(pid: int) -> bytes:
    """Return a process's command line; nothing of one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


@pytest.mark.slow
def test_nothing_outlives_the_example_that_is_killed(database_url: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        # An event a second: it is not over before it is killed.
        [sys.executable, "-u", "-m", "examples.stream", "--out", str(tmp_path), "--rate", "1"],
        cwd=ROOT,
        env={**os.environ, "PGFLOW_DSN": database_url},
        stdout=subprocess.PIPE,
        text=True,
    ) as example:
        assert example.stdout is not None
        next(line for line in example.stdout if "published" in line)
        below = descendants(example.pid)
        named = b" ".join(program(pid) for pid in below)
        example.kill()
    for name in (b"nats-server", b"stream.bridge", b"stream.publisher", b"stream.leash"):
        assert name in named
    deadline = time.monotonic() + 30
    while left := [program(pid) for pid in below if program(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


async def test_a_mistyped_address_is_said() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"nats://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(NoBroker, match=rf"no broker answers at {url}: ConnectionRefused"):
            await connect(url, patience=0.3)


def test_the_page_shows_what_runs() -> None:
    page = (ROOT / "docs" / "patterns" / "stream.md").read_text()
    assert f"```mermaid\n{stream_metrics.mermaid()}```" in page
    excerpts = re.findall(r"an excerpt of (\S+) -->\n```\w+\n(.*?)```", page, re.DOTALL)
    assert len(excerpts) == page.count("an excerpt of")
    for module, excerpt in excerpts:
        assert excerpt in (ROOT / module).read_text(), module

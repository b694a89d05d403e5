"""The demo as a newcomer runs it: all of it, with the killed worker, checked by its own summary and by us."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
import xml.etree.ElementTree as ET
from base64 import b64encode
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.command import Command

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not below tmp_path: for root the server runs as another user, who must be able to get there.
    directory = Path(tempfile.mkdtemp(prefix="pgflow-demo-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.slow
def test_the_demo_loses_nothing_though_a_worker_is_killed(
    directory: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its values are sealed here, and plain in the next test.
    monkeypatch.setenv("PGFLOW_VALUE_CODEC", "pgflow.crypto:AesGcmCodec.from_env")
    monkeypatch.setenv("PGFLOW_KEYS", f"k1:{b64encode(os.urandom(32)).decode()}")
    done = Command(directory, database_url)("demo", "--json", "--svg", "demo.svg", timeout=110)
    assert (done.code, done.err) == (0, "")
    summary = done.json
    assert summary["status"] == "completed"
    assert summary["agrees"] is True
    assert all(check["holds"] for check in summary["checks"])
    assert (summary["subscribers"], summary["sent"]) == (1000, 998)
    assert summary["failed"] == sorted(
        row["email"] for row in subscribers() if row["email"].endswith("@gone.example.org")
    )
    assert summary["retried"] >= 8 + summary["duplicates"]
    assert summary["lost_attempts"] >= 1
    assert sum(worker["delivered"] for worker in summary["workers"]) == 998
    assert [worker["killed"] for worker in summary["workers"]].count(True) == 1
    assert len(summary["workers"]) >= 2
    assert summary["wall_seconds"] < 60

    with psycopg.connect(database_url) as connection:
        counts = connection.execute(
            "select status, count(*) from pgflow.step_tasks where step_slug = 'send_email'"
            " group by 1 order by 1"
        ).fetchall()
        assert counts == [("completed", 998), ("failed", 2)]
        lost = connection.execute(
            "select count(*) from pgflow.task_attempts where outcome = 'lost'"
        ).fetchone()
        assert lost == (summary["lost_attempts"],)
        sealed = connection.execute("select input ? 'pgflow:sealed' from pgflow.runs").fetchall()
        assert sealed == [(True,)]

    picture = ET.parse(directory / "demo.svg")
    text = "".join(picture.getroot().itertext()).replace("\xa0", " ")
    assert "email_campaign" in text
    assert "SIGKILL" in text
    assert "The SMTP server agrees" in text
    assert "url(http" not in (directory / "demo.svg").read_text(), "it loads nothing from the web"


@pytest.mark.slow
def test_the_demo_needs_nothing_but_itself(directory: Path) -> None:
    done = Command(directory, None)("demo", timeout=110)
    assert (done.code, done.err) == (0, ""), done.out
    assert "\x1b" not in done.out
    assert "Killed worker" in done.out
    assert "998 of 1,000 messages" in done.out
    assert done.out.rstrip().endswith("The SMTP server agrees: nothing was lost.")


def subscribers() -> list[dict[str, str]]:
    with files("pgflow.demo").joinpath("subscribers.csv").open(encoding="utf-8") as source:
        return list(csv.DictReader(source))

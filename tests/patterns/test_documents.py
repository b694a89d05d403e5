"""The pattern `documents`, as its user runs it, and looked at in the database without its own help."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pypdf
import pytest
from PIL import Image
from psycopg import sql
from reportlab.pdfgen.canvas import Canvas

from examples.documents import __main__ as program
from examples.documents.batch import process
from examples.documents.flow import Upload, documents
from examples.documents.store import create_tables, search
from pgflow import Client, Database, RunFailed, Worker, execute
from tests.support.patterns import ROOT, run_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

PHRASE = "burst gasket of the ammonia compressor"
SCANNED = [3, 5, 8, 11, 13, 14, 17, 19]


def write_pdf(path: Path, *pages: str) -> Path:
    canvas = Canvas(str(path))
    for text in pages:
        for number, line in enumerate(text.splitlines()):
            canvas.drawString(72, 720 - 20 * number, line)
        canvas.showPage()
    canvas.save()
    return path


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        create_tables(connection)
        yield connection


def command(dsn: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "examples.documents", *arguments],
        cwd=ROOT,
        env={**os.environ, "PGFLOW_DSN": dsn, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_scanned_archive_becomes_searchable(database_url: str, tmp_path: Path) -> None:
    facts = run_pattern("documents", database_url, tmp_path, timeout=280)

    assert facts["checks"]
    assert all(facts["checks"].values()), facts["checks"]
    assert (facts["pages"], facts["recognised"]) == (20, 8)
    assert [page for page, attempts in facts["attempts"].items() if attempts != 1] == ["11"]

    archive = pypdf.PdfReader(tmp_path / "archive.pdf")
    layers = [page.extract_text() for page in archive.pages]
    assert [number for number, layer in enumerate(layers, 1) if not layer.strip()] == SCANNED
    assert not any(PHRASE in " ".join(layer.split()) for layer in layers)

    with psycopg.connect(database_url) as connection:

        def rows(query: str, *values: Any) -> list[tuple[Any, ...]]:
            return connection.execute(query.encode(), values).fetchall()

        assert rows("select name, pages from searchable.documents") == [("archive.pdf", 20)]
        recognised = rows(
            "select page, confidence from searchable.pages where source = 'ocr' order by page"
        )
        assert [page for page, _ in recognised] == SCANNED
        assert all(confidence > 80 for _, confidence in recognised)
        assert rows(
            "select page from searchable.chunks where terms @@ phraseto_tsquery('english', %s)",
            PHRASE,
        ) == [(14,)]
        # The phrase's boxes are on the page, from left to right and in one line.
        ((words,),) = rows("select words from searchable.pages where page = 14")
        texts = [word[0] for word in words]
        start = texts.index("burst")
        boxes = [word[1:] for word in words[start : start + 6]]
        assert texts[start : start + 6] == PHRASE.split()
        assert all(0 < edge < 1 for box in boxes for edge in box)
        assert all(one[2] <= other[0] + 0.01 for one, other in pairwise(boxes))
        assert rows(
            "select max(abs(1 - vector_norm(embedding))) < 1e-3, count(*) from searchable.chunks"
        ) == [(True, facts["chunks"])]
        # What each page names was taken from that page; the sum of an invoice is on it, too.
        assert rows(
            "select value from searchable.entities where page = 14 and kind = 'company' order by value"
        ) == [("Harbour Cold Storage Ltd",), ("Miller Refrigeration Ltd",)]

        status = dict(
            rows("select input ->> 'path', status from pgflow.runs where flow_slug = 'documents'")
        )
        assert {Path(path).name: state for path, state in status.items()} == {
            "archive.pdf": "completed",
            "locked.pdf": "failed",
            "torn.pdf": "failed",
        }
        refused = rows(
            "select error, attempt from pgflow.task_attempts where step_slug = 'validate' and outcome = 'failed' order by error"
        )
        assert [attempt for _, attempt in refused] == [1, 1], "not tried again"
        assert "locked.pdf is encrypted" in refused[0][0]
        assert "torn.pdf is truncated" in refused[1][0]
        assert rows(
            "select task_index, attempt, error from pgflow.task_attempts where step_slug = 'read_page' and outcome <> 'completed'"
        ) == [(10, 1, "TesseractError: (137, 'Killed')")]

        for query, page in (
            ("the freezer failed and the fish was spoiled", 14),
            ("sunlight electricity for the building", 13),
            ("somebody pretends to be a supplier in order to steal money", 19),
            ("who got a dividend?", 20),
            ("licences of planning software", 15),
        ):
            assert search(connection, query)[0].page == page, query

    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size == (1700, 860)
        assert len(picture.convert("RGB").getcolors() or []) > 20
    assert (tmp_path / "picture.png").stat().st_size < 300_000


@pytest.mark.slow
async def test_a_document_is_searchable_as_a_whole_or_not_at_all(
    database_url: str,
    connection: psycopg.Connection[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(documents.options, "base_delay", 0)
    path = write_pdf(
        tmp_path / "two.pdf", "The first page of the report.", "And its second page, too."
    )
    connection.execute(
        "create function refuse() returns trigger language plpgsql as $$ begin raise 'the disk is full'; end $$"
    )
    connection.execute(
        "create trigger refuse before insert on searchable.chunks for each row when (new.page = 2) execute function refuse()"
    )
    async with Database.connect(database_url) as database:
        run = await Client(database).start(documents, Upload(str(path)))
        await Worker(database, [documents]).run_until(run.id)
        with pytest.raises(RunFailed, match="the disk is full"):
            await run.wait()
        for table in ("documents", "pages", "entities", "chunks"):
            count = sql.SQL("select count(*) from searchable.{}").format(sql.Identifier(table))
            assert connection.execute(count).fetchone() == (0,), table

        connection.execute("drop trigger refuse on searchable.chunks")
        await run.retry()
        await Worker(database, [documents]).run_until(run.id)
        await run.wait()
    assert [hit.page for hit in search(connection, "second") if hit.word_rank] == [2]
    read = connection.execute(
        "select max(attempt), count(*) from pgflow.task_attempts where step_slug = 'read_page'"
    ).fetchone()
    assert read == (1, 2), "no page was read again"


async def test_runs_end_with_the_worker_that_fails(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_worker: Worker) -> None:
        raise ConnectionError("no line to the database")

    monkeypatch.setattr(Worker, "run", fail)
    with pytest.raises(ConnectionError):
        await process(database_url, [Upload("/nowhere/one.pdf")], live=False)
    assert statuses(database_url) == ["cancelled"]


async def test_an_interruption_leaves_no_run(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def idle(_worker: Worker) -> None:
        begun.set()
        await stopped.wait()

    monkeypatch.setattr(Worker, "run", idle)
    monkeypatch.setattr(Worker, "stop", lambda *_, **__: stopped.set())
    processing = asyncio.create_task(
        process(database_url, [Upload("/nowhere/one.pdf"), Upload("/nowhere/two.pdf")], live=False)
    )
    await begun.wait()
    assert statuses(database_url) == ["started"] * 2
    processing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await processing
    assert statuses(database_url) == ["cancelled"] * 2


def test_ctrl_c_is_no_traceback(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "_serve", interrupt)
    monkeypatch.setattr(sys, "argv", ["documents", "--search", "fish"])
    monkeypatch.setenv("PGFLOW_DSN", database_url)
    assert program.main() == 130
    assert capsys.readouterr().err == "interrupted; the runs were cancelled\n"


def statuses(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        return [status for (status,) in connection.execute("select status from pgflow.runs")]


@pytest.mark.slow
def test_a_document_that_comes_again_stands_there_once(
    database_url: str, connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    path = write_pdf(tmp_path / "one.pdf", "Dr Ada Winter has paid EUR 12.50 on 2026-02-03.")
    for _ in range(2):
        execute(documents, Upload(str(path)), dsn=database_url)
    assert connection.execute("select count(*) from searchable.documents").fetchone() == (1,)
    found = connection.execute(
        "select kind, value from searchable.entities order by kind"
    ).fetchall()
    assert found == [("amount", "EUR 12.50"), ("date", "2026-02-03"), ("person", "Ada Winter")]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_own_files_are_added_and_searched_from_the_command_line(
    database_url: str, tmp_path: Path
) -> None:
    path = write_pdf(tmp_path / "recipe.pdf", "Knead the dough and let it rest overnight.")
    query = "bread should be left alone until morning"
    done = command(database_url, "--add", str(path), "--search", query)
    assert done.returncode == 0, done.stderr
    assert "1 page (0 recognised)" in done.stdout
    assert "Knead the dough" in done.stdout

    done = command(database_url, "--search", query, "--json")
    (hit,) = json.loads(done.stdout)["hits"]
    assert (hit["name"], hit["page"], hit["word_rank"]) == ("recipe.pdf", 1, None)
    assert hit["similarity"] > 0.3

    (tmp_path / "broken.pdf").write_bytes(path.read_bytes()[:300])
    done = command(database_url, "--add", str(tmp_path / "broken.pdf"))
    assert done.returncode == 1
    assert "broken.pdf is truncated" in done.stdout


@pytest.mark.parametrize(
    ("variable", "said"),
    [("PATH", "Tesseract is missing,"), ("TESSDATA_PREFIX", "its English is not")],
)
def test_a_missing_tesseract_is_said_at_once(
    database_url: str, tmp_path: Path, variable: str, said: str
) -> None:
    done = command(database_url, "--out", str(tmp_path), **{variable: str(tmp_path)})
    assert done.returncode == 2
    assert said in done.stderr
    assert "apt-get install tesseract-ocr" in done.stderr
    assert "brew install tesseract" in done.stderr
    assert not done.stdout


def test_a_server_without_pgvector_is_said_at_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def create_tables(connection: psycopg.Connection[Any]) -> None:
        connection.execute("create extension no_such_vector")

    monkeypatch.setattr(program, "create_tables", create_tables)
    monkeypatch.setattr(sys, "argv", ["documents"])
    monkeypatch.setenv("PGFLOW_DSN", database_url)
    assert program.main() == 2
    assert "The server has no pgvector" in capsys.readouterr().err


def test_a_search_takes_whatever_is_typed(connection: psycopg.Connection[Any]) -> None:
    for query in ('"', "it's 100 % -not or", "%s", "a & b | !c:*", "…"):
        assert search(connection, query) == []


def test_the_page_shows_what_runs() -> None:
    page = (ROOT / "docs" / "patterns" / "documents.md").read_text()
    assert f"```mermaid\n{documents.mermaid()}```" in page
    excerpts = re.findall(r"an excerpt of (\S+) -->\n```python\n(.*?)```", page, re.DOTALL)
    assert len(excerpts) == page.count("an excerpt of")
    for module, excerpt in excerpts:
        assert excerpt in (ROOT / module).read_text(), module

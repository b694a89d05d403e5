"""The pattern of a report: the PDF is read again, its figures are computed again, the inbox is counted."""

from __future__ import annotations

import asyncio
import email
import email.policy
import re
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from io import BytesIO
from statistics import median
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from PIL import Image
from pypdf import PdfReader

from examples.report.company import found
from examples.report.document import compose
from examples.report.flow import Request, mail, quarterly
from examples.report.layout import Layout, arrange, typed
from examples.report.letter import write
from examples.report.mail_server import MailServer
from examples.report.proof import misprints
from examples.report.sections import Figure, Quarter, Section, Series
from pgflow import NonRetryable, execute_async
from pgflow.errors import RunFailed
from tests.support.patterns import ROOT, run_pattern

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "patterns" / "report.md"


@pytest.mark.slow
def test_a_report_is_made_and_mailed_once(database_url: str, tmp_path: Path) -> None:
    facts = run_pattern("report", database_url, tmp_path)
    assert len(facts["checks"]) == 9
    assert all(facts["checks"].values()), facts["checks"]
    assert (facts["messages_received"], facts["messages_kept"]) == (2, 1)
    pdf = (tmp_path / "report.pdf").read_bytes()
    assert_the_pdf_is_true(pdf, database_url)
    assert_the_mail_has_it((tmp_path / "mail.eml").read_bytes(), pdf)
    assert_the_tables_are_right(database_url, pdf, facts)
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.height > 1500
        assert len(picture.convert("RGB").getcolors(10**6) or ()) > 20
    assert (tmp_path / "picture.png").stat().st_size < 300_000


def assert_the_pdf_is_true(pdf: bytes, dsn: str) -> None:
    pages = [page.extract_text() for page in PdfReader(BytesIO(pdf)).pages]
    assert len(pages) == 4
    assert all(f"Page {number} of 4" in page for number, page in enumerate(pages, 1))
    with psycopg.connect(dsn) as connection:
        orders = connection.execute(
            "select amount from example_report.orders"
            " where ordered_on between '2026-07-01' and '2026-09-30'"
        ).fetchall()
        tickets = connection.execute(
            "select topic, closed_at - opened_at from example_report.tickets"
            " where opened_at::date between '2026-07-01' and '2026-09-30'"
        ).fetchall()
        signups = connection.execute(
            "select sum(signups), sum(cost) from example_report.campaigns"
            " where ran_on between '2026-07-01' and '2026-09-30'"
        ).fetchone()
    assert signups is not None
    assert len(orders) > 1000
    revenue = sum(amount for (amount,) in orders)
    hours = median(spent.total_seconds() / 3600 for _, spent in tickets if spent is not None)
    for text in (f"{revenue:,.2f} €", f"{len(orders):,}", f"{revenue / signups[1]:,.2f} €"):
        assert text in pages[0]
    assert f"{revenue:,.2f} €" in pages[1]
    assert f"{signups[0]:,}" in pages[2]
    assert f"{hours:,.1f} h" in pages[3]
    for topic, number in Counter(topic for topic, _ in tickets).items():
        assert re.search(rf"{topic}\s+{number}\s", pages[3])


def assert_the_mail_has_it(content: bytes, pdf: bytes) -> None:
    message = email.message_from_bytes(content, policy=email.policy.default)
    [attachment] = message.iter_attachments()
    assert attachment.get_filename() == "report-2026-Q3.pdf"
    assert attachment.get_content() == pdf
    assert message["To"] == "ada@example.org"


def assert_the_tables_are_right(dsn: str, pdf: bytes, facts: dict[str, Any]) -> None:
    first, second = facts["runs"]
    with psycopg.connect(dsn) as connection:

        def rows(query: str, *parameters: Any) -> list[Any]:
            return connection.execute(query.encode(), parameters).fetchall()

        documents = rows("select run_id::text, pdf from example_report.documents")
        outbox = rows(
            "select report, recipient, run_id::text, sent_at is not null from example_report.outbox"
        )
        largest = rows("select max(length(output::text)) from pgflow.step_states")[0][0]
        sendings = rows(
            "select run_id::text, outcome, error from pgflow.task_attempts"
            " where step_slug = 'mail' order by started_at"
        )
        shared = rows(
            "select max(started_at) < min(ended_at) from pgflow.task_attempts"
            " where step_slug in ('sales', 'marketing', 'operations') group by run_id"
        )
    assert sorted(run for run, _ in documents) == sorted((first, second))
    # The same figures set the same bytes, whichever run.
    assert {bytes(stored) for _, stored in documents} == {pdf}
    assert outbox == [("2026-Q3", "ada@example.org", first, True)]
    assert largest < 5_000
    assert [(run, outcome) for run, outcome, _ in sendings] == [
        (first, "failed"),
        (first, "completed"),
        (second, "completed"),
    ]
    assert "SMTPServerDisconnected" in sendings[0][2]
    assert shared == [(True,), (True,)]


@pytest.mark.slow
async def test_two_runs_of_one_report_send_one_message(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGFLOW_DSN", database_url)
    await asyncio.to_thread(found, database_url)
    request = Request("2026-Q3", "ada@example.org")
    with MailServer() as server:
        monkeypatch.setenv("SMTP_URL", server.url)
        results = await asyncio.gather(
            *(execute_async(quarterly, request, dsn=database_url, timeout=90) for _ in range(2))
        )
        assert sorted(result[mail].by_this_run for result in results) == [False, True]
        assert len(server.inbox.kept) == 1
        assert len(server.inbox.deliveries) == 2
        assert len(set(server.inbox.deliveries)) == 1


@pytest.mark.slow
async def test_a_quarter_without_rows_fails_with_the_reason(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGFLOW_DSN", database_url)
    await asyncio.to_thread(found, database_url)
    request = Request("2030-Q1", "ada@example.org")
    with pytest.raises(RunFailed, match="too little for the figures"):
        await execute_async(quarterly, request, dsn=database_url, timeout=60)


def some_layout(revenue: int = 100_000) -> Layout:
    def section(title: str, *values: str) -> Section:
        figures = [Figure(f"{title} {at}", Decimal(value), "") for at, value in enumerate(values)]
        rows = [(name, [Decimal(value) for value in values]) for name in ("Here", "There")]
        series = Series("By place", ["Here", "There"], [Decimal(1), Decimal(2)], "")
        return Section(title, figures, ["Place", "A", "B", "C"], ["", "€", "%"], rows, series)

    return arrange(
        "2026-Q3",
        section("Sales", str(revenue), "50", "3"),
        section("Marketing", "400", "5", "6"),
        section("Operations", "7", "8", "9"),
    )


def test_a_pdf_is_the_same_each_time_and_has_no_misprints() -> None:
    layout = some_layout()
    pdf, pages = compose(layout)
    assert (pdf, pages) == compose(layout)
    assert pages == 4
    assert misprints(pdf, layout, pages) == []


def test_a_number_that_is_not_in_the_pdf_is_found() -> None:
    pdf, pages = compose(some_layout())
    assert any("123,456.00" in text for text in misprints(pdf, some_layout(123_456), pages))
    assert misprints(pdf, some_layout(), 5) == ["it has 4 pages instead of 5"]


RENDER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from examples.report.proof import render

pdf = sys.stdin.buffer.read()
with ThreadPoolExecutor(8) as threads:
    pictures = set(threads.map(render, [pdf] * 40))
print(len(pictures))
"""


def test_threads_of_a_worker_may_render_at_once() -> None:
    """PDFium ends the process when two threads are in it; two reports at a time are nothing unusual."""
    pdf, _ = compose(some_layout())
    command = [sys.executable, "-c", RENDER]
    done = subprocess.run(
        command, cwd=ROOT, input=pdf, capture_output=True, timeout=100, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"1\n"), done.stderr[-2000:]


def test_a_letter_is_the_same_each_time() -> None:
    letters = [write("2026-Q3", "ada@example.org", "<key@example.com>", b"%PDF") for _ in range(2)]
    assert letters[0].as_bytes() == letters[1].as_bytes()


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [("1234.5", "€", "1,234.50 €"), ("1234", "", "1,234"), ("12.34", "h", "12.3 h"), ("7", "%", "7.0 %")],
)  # fmt: skip
def test_numbers_in_type(value: str, unit: str, expected: str) -> None:
    assert typed(Decimal(value), unit) == expected


def test_a_quarter_knows_its_days() -> None:
    assert [str(day) for day in Quarter.parse("2026-Q1").days.values()] == [
        "2025-10-01",
        "2026-01-01",
        "2026-04-01",
    ]
    assert str(Quarter.parse("2026-Q4").days["after"]) == "2027-01-01"
    with pytest.raises(NonRetryable, match="no quarter"):
        Quarter.parse("2026-Q5")


def test_the_page_shows_what_runs() -> None:
    page = PAGE.read_text()
    assert f"```mermaid\n{quarterly.mermaid().rstrip()}\n```" in page
    for module, excerpt in re.findall(
        r"an excerpt of (\S+) -->\n```python\n(.*?)```", page, re.DOTALL
    ):
        assert excerpt in (ROOT / module).read_text(), module

"""The pattern of a report: the PDF is read again, its figures are computed again, the inbox is counted."""

from __future__ import annotations

import asyncio
import email
import email.policy
import re
import socket
import time
from collections import Counter
from io import BytesIO
from statistics import median
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from PIL import Image
from pypdf import PdfReader

from examples.report import __main__ as example
from examples.report import document, flow, sections
from examples.report.company import found
from examples.report.flow import Delivery, Request, mail, quarterly
from examples.report.mail_server import MailServer
from examples.report.sections import Quarter
from pgflow import Client, Database, NonRetryable, execute_async
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


@pytest.fixture
async def company(database_url: str, monkeypatch: pytest.MonkeyPatch) -> psycopg.AsyncConnection:
    """Give a line to a database with the company's tables, which handlers find through their task."""
    monkeypatch.setenv("PGFLOW_DSN", "host=/nowhere")
    monkeypatch.setitem(quarterly.options, "base_delay", 0)
    # Charts and pictures take most of a run's time.
    picture = BytesIO()
    Image.new("1", (8, 4)).save(picture, "PNG")
    monkeypatch.setattr(document, "draw", lambda _series: picture.getvalue())
    monkeypatch.setattr(flow, "render", lambda _pdf: b"")
    await asyncio.to_thread(found, database_url)
    return await psycopg.AsyncConnection.connect(database_url, autocommit=True)


async def report(connection: psycopg.AsyncConnection, quarter: str = "2026-Q3") -> Delivery:
    dsn = connection.info.dsn
    result = await execute_async(
        quarterly, Request(quarter, "ada@example.org"), dsn=dsn, timeout=90
    )
    return result[mail]


@pytest.mark.slow
@pytest.mark.parametrize(("cuts", "deliveries"), [(1, 2), (0, 1)])
async def test_two_runs_of_one_report_send_one_message(
    cuts: int, deliveries: int, company: psycopg.AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with company:
        with MailServer() as server:
            monkeypatch.setenv("SMTP_URL", server.url)
            server.inbox.cuts = cuts
            keep = server.inbox.handle_DATA

            async def keep_late(*message: Any) -> str:
                """Answer when the other run waits for the row."""
                answer = await keep(*message)
                await asyncio.to_thread(wait_for_a_waiter, company.info.dsn)
                return answer

            if not cuts:
                monkeypatch.setattr(server.inbox, "handle_DATA", keep_late)
            results = await asyncio.gather(report(company), report(company))
            assert sorted(result.by_this_run for result in results) == [False, True]
            assert len(server.inbox.kept) == 1
            assert len(server.inbox.deliveries) == deliveries
            assert len(set(server.inbox.deliveries)) == 1


def wait_for_a_waiter(dsn: str) -> None:
    waiting = (
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and wait_event_type = 'Lock' and query like '%example_report.outbox%'"
    )
    deadline = time.monotonic() + 15
    with psycopg.connect(dsn, autocommit=True) as connection:
        while connection.execute(waiting.encode()).fetchone() == (0,):
            if time.monotonic() > deadline:
                return  # the other has sent as well, and the test says so
            time.sleep(0.02)


@pytest.mark.slow
async def test_nobody_is_mailed_old_figures(
    company: psycopg.AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with company:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            monkeypatch.setenv("SMTP_URL", f"smtp://127.0.0.1:{nobody.getsockname()[1]}")
            with pytest.raises(RunFailed, match="refused"):
                await report(company)
        await company.execute("update example_report.orders set amount = amount + 1")
        with MailServer() as server:
            server.inbox.cuts = 0
            monkeypatch.setenv("SMTP_URL", server.url)
            assert (await report(company)).by_this_run
            (message,) = server.inbox.kept.values()
            (attachment,) = message.iter_attachments()
            pdfs = await company.execute(
                "select pdf from example_report.documents join pgflow.runs using (run_id)"
                " order by status = 'completed'"
            )
            old, new = [pdf for (pdf,) in await pdfs.fetchall()]
            assert attachment.get_content() == new != old


@pytest.mark.slow
async def test_a_quarter_without_rows_fails_at_once_with_the_reason(
    company: psycopg.AsyncConnection,
) -> None:
    async with company:
        with pytest.raises(RunFailed, match="too little for the figures"):
            await report(company, "2030-Q1")
        again = await company.execute("select from pgflow.task_attempts where attempt > 1")
        assert not await again.fetchall()


async def test_what_cannot_be_computed_is_a_dash_or_the_reason(
    company: psycopg.AsyncConnection,
) -> None:
    quarter, dsn = Quarter.parse("2026-Q3"), company.info.dsn
    async with company:
        await company.execute(
            "update example_report.campaigns set signups = 0 where channel = 'Search';"
            "update example_report.tickets set closed_at = null where topic = 'Delivery'"
        )
        channels = {name: values[-1] for name, values in sections.marketing(dsn, quarter).rows}
        assert channels.pop("Search") is None
        assert None not in channels.values()
        topics = {name: values[-1] for name, values in sections.operations(dsn, quarter).rows}
        assert topics.pop("Delivery") is None
        assert None not in topics.values()
        await company.execute(
            "update example_report.campaigns set signups = 0;"
            "update example_report.orders set amount = 0 where ordered_on < '2026-07-01';"
            "delete from example_report.tickets"
        )
        for section in (sections.sales, sections.marketing, sections.operations):
            with pytest.raises(NonRetryable, match="too little for the figures"):
                section(dsn, quarter)


async def test_only_runs_of_the_example_are_cancelled(database_url: str) -> None:
    async with Database.connect(database_url) as database:
        client, request = Client(database), Request("2026-Q3", "ada@example.org")
        theirs = await client.start(quarterly, request, key="2026-Q3")
        left = await client.start(quarterly, request, key=example.new_key())
        with example.no_run_left(database_url):
            assert (await left.summary()).status == "cancelled"
        assert (await theirs.summary()).status == "started"


def test_the_page_shows_what_runs() -> None:
    page = PAGE.read_text()
    assert f"```mermaid\n{quarterly.mermaid().rstrip()}\n```" in page
    for module, excerpt in re.findall(
        r"an excerpt of (\S+) -->\n```python\n(.*?)```", page, re.DOTALL
    ):
        assert excerpt in (ROOT / module).read_text(), module

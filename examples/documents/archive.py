"""Makes the documents: an archive of 20 pages, 8 of them scans without a text layer, and two files that are no good."""

import random
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path

import numpy as np
import pypdfium2
from PIL import Image, ImageFilter
from reportlab import rl_config
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Frame, Paragraph, Spacer, Table

from .letters import DRAFTS, FAMILY, GIVEN, Draft

# Text in place of bytes is of no use here, and costs seconds for the pictures.
rl_config.useA85 = 0

SCALE = 2
"""Pixels a point in a scan: 144 an inch."""
DATE_FORMATS = ("%d %B %Y", "%B %d, %Y", "%Y-%m-%d", "%d.%m.%Y")

BODY = ParagraphStyle("body", fontName="Times-Roman", fontSize=13, leading=20, spaceAfter=12)
HEAD = ParagraphStyle("head", BODY, fontName="Helvetica-Bold", fontSize=15, leading=20)
SMALL = ParagraphStyle("small", BODY, fontName="Helvetica", fontSize=11, leading=16)
SUBJECT = ParagraphStyle("subject", BODY, fontName="Times-Bold", spaceBefore=6)
RIGHT = ParagraphStyle("right", BODY, alignment=TA_RIGHT)


@dataclass
class Sheet:
    """One page as it was written: what reading it must bring to light."""

    number: int
    scanned: bool
    lines: list[str] = field(default_factory=list)
    people: set[str] = field(default_factory=set)
    companies: set[str] = field(default_factory=set)
    dates: set[date] = field(default_factory=set)
    amounts: set[tuple[str, Decimal]] = field(default_factory=set)


class Cast(dict[str, str]):
    """Chooses who and what stands for a name such as {p1}, and notes it on the sheet."""

    def __init__(self, sheet: Sheet, dice: random.Random) -> None:
        super().__init__()
        self._sheet = sheet
        self._dice = dice
        self._format = dice.choice(DATE_FORMATS)
        self._currency = dice.choice(("EUR", "GBP"))
        self._today = date(2026, 3, 1) + timedelta(days=dice.randrange(300))
        sheet.dates.add(self._today)
        self["today"] = self._today.strftime(self._format)

    def __missing__(self, key: str) -> str:
        self[key] = value = {
            "p": self._person,
            "b": lambda: self._date(-60),
            "d": lambda: self._date(60),
            "a": self._amount,
        }[key[0]]()
        return value

    def bare(self, key: str) -> str:
        """Return a person's name without the title."""
        return self[key].partition(" ")[2]

    def _person(self) -> str:
        title = self._dice.choice(sorted(GIVEN))
        name = f"{self._dice.choice(GIVEN[title])} {self._dice.choice(FAMILY)}"
        self._sheet.people.add(name)
        return f"{self._dice.choice((title, title, 'Dr'))} {name}"

    def _date(self, days: int) -> str:
        day = self._today + timedelta(
            days=self._dice.randrange(3, abs(days)) * (1 if days > 0 else -1)
        )
        self._sheet.dates.add(day)
        return day.strftime(self._format)

    def _amount(self) -> str:
        amount = Decimal(self._dice.randrange(9_000, 2_500_000)) / 100
        self._sheet.amounts.add((self._currency, amount))
        return f"{self._currency} {amount:,.2f}"


def make_archive(path: Path, seed: int = 7) -> list[Sheet]:
    """Write the archive; return what stands on its pages. The same seed makes the same bytes."""
    canvas = Canvas(str(path), pagesize=A4, invariant=1)
    sheets = []
    for number, draft in enumerate(DRAFTS, 1):
        dice = random.Random(f"{seed}/{number}")  # noqa: S311 - what it draws must be the same every time
        sheet = Sheet(number, draft.scanned)
        flowables = _write(draft, sheet, Cast(sheet, dice))
        if draft.scanned:
            scan = _scan(_single_page(flowables), dice)
            canvas.drawImage(ImageReader(scan), 0, 0, *A4)
        else:
            _place(canvas, flowables)
        canvas.showPage()
        sheets.append(sheet)
    canvas.save()
    return sheets


def make_locked(path: Path) -> None:
    """Write a PDF that only a password opens."""
    lock = StandardEncryption("correct horse", strength=128)
    canvas = Canvas(str(path), pagesize=A4, encrypt=lock)
    _place(canvas, [Paragraph("Confidential: the terms of the merger.", BODY)])
    canvas.save()


def make_torn(path: Path, whole: Path) -> None:
    """Write the first two thirds of another PDF, as a broken upload leaves it."""
    content = whole.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def _write(draft: Draft, sheet: Sheet, cast: Cast) -> list[Flowable]:
    """Fill in a draft; note its lines on the sheet."""
    page: list[Flowable] = []

    def add(text: str, style: ParagraphStyle = BODY) -> None:
        sheet.lines.append(text)
        page.append(Paragraph(text, style))

    sender, *to = draft.companies
    sheet.companies.update(draft.companies)
    add(sender, HEAD)
    add(cast["today"], RIGHT)
    match draft.kind:
        case "letter":
            add(to[0], SMALL)
            add(f"Attention: {cast['p1']}", SMALL)
            add(draft.subject, SUBJECT)
            add(f"Dear {cast['p1']},")
            for text in draft.body:
                add(text.format_map(cast))
            add("Yours sincerely,")
            add(cast.bare("p2"))
        case "invoice":
            add(f"Bill to: {to[0]}", SMALL)
            add(f"Invoice {sheet.number:03}/2026: {draft.subject}", SUBJECT)
            page.append(_table(draft.body, sheet, cast))
            page.append(Spacer(0, 6 * mm))
            for text in draft.body:
                if "|" not in text:
                    add(text.format_map(cast))
            add(f"Please pay the sum by {cast['d3']}.")
            add(f"Issued by: {cast.bare('p1')}", SMALL)
        case _:
            add(f"Minutes: {draft.subject}", SUBJECT)
            add(f"Chair: {cast.bare('p1')}", SMALL)
            present = ", ".join(cast.bare(key) for key in ("p2", "p3", "p4"))
            add(f"Present: {present}", SMALL)
            for position, text in enumerate(draft.body, 1):
                add(f"{position}. {text.format_map(cast)}")
    return page


def _table(body: tuple[str, ...], sheet: Sheet, cast: Cast) -> Table:
    rows = [text.format_map(cast).split(" | ") for text in body if "|" in text]
    total = sum((amount for _, amount in sheet.amounts), Decimal())
    (currency, _), *_ = sheet.amounts
    sheet.amounts.add((currency, total))
    rows.append(["Total", f"{currency} {total:,.2f}"])
    sheet.lines += [" ".join(row) for row in rows]
    cells = [[Paragraph(left, BODY), Paragraph(right, RIGHT)] for left, right in rows]
    return Table(cells, colWidths=[105 * mm, 50 * mm])


def _place(canvas: Canvas, flowables: list[Flowable]) -> None:
    width, height = A4
    frame = Frame(25 * mm, 25 * mm, width - 50 * mm, height - 50 * mm, showBoundary=0)
    frame.addFromList(flowables, canvas)
    assert not flowables, "the text does not fit its page"


def _single_page(flowables: list[Flowable]) -> bytes:
    buffer = BytesIO()
    canvas = Canvas(buffer, pagesize=A4, invariant=1)
    _place(canvas, flowables)
    canvas.save()
    return buffer.getvalue()


def _scan(pdf: bytes, dice: random.Random) -> BytesIO:
    """Print a page and lay it on a scanner: a little askew, unsharp and grainy, on paper that is not quite white."""
    with pypdfium2.PdfDocument(pdf) as document:
        paper = document[0].render(scale=SCALE, grayscale=True).to_pil()
    paper = paper.rotate(dice.uniform(-0.7, 0.7), Image.Resampling.BICUBIC, fillcolor=255).filter(
        ImageFilter.GaussianBlur(0.6)
    )
    grain = np.random.default_rng(dice.randrange(2**32)).normal(0, 9, (paper.height, paper.width))
    grey = np.clip(np.asarray(paper, np.float32) * 0.93 + 6 + grain, 0, 255).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=70)
    buffer.seek(0)
    return buffer

"""Reads PDFs: examines a file, takes the text of a page that has one, and recognises that of a page that is a picture."""

import os
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import pypdfium2
import pytesseract

from pgflow import NonRetryable

# Tasks run beside each other already: threads of Tesseract's own would only get in each other's way.
os.environ.setdefault("OMP_THREAD_LIMIT", "1")

MAX_PAGES = 2000
FEWEST_CHARACTERS = 20
"""A page with a shorter text layer (a stamp, a page number) is read from its picture."""
SCALE = 2
"""Pixels a point, 72 of which are an inch: enough for letters of usual size; 4 for small print."""
LAYOUT = "--psm 4"
"""One column of lines of any size, so that the rows of a table stay together."""
OCR_LIMIT = 40
"""Seconds after which Tesseract is killed; less than the timeout of the step, so that it never outlives its task."""
WRONG_PASSWORD = 4
"""FPDF_ERR_PASSWORD of PDFium."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A file that can be read."""

    name: str
    path: str
    sha256: str
    pages: int


@dataclass(frozen=True, slots=True)
class Word:
    """A word that was recognised, and where: left, top, right and bottom as shares of the page."""

    text: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class PageText:
    """What stands on a page."""

    number: int
    source: Literal["text layer", "ocr"]
    text: str
    confidence: float | None = None
    """How sure Tesseract is on average, 0 to 100."""
    words: list[Word] = field(default_factory=list)
    """Of a recognised page only."""


def examine(path: Path) -> Accepted:
    """Return what the file is, or raise NonRetryable with the reason why it is refused."""
    name = path.name
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise NonRetryable(f"{name} does not exist in {path.parent}") from None
    if not content.startswith(b"%PDF-"):
        raise NonRetryable(f"{name} is no PDF: it begins with {content[:5]!r}")
    if b"%%EOF" not in content[-1024:]:
        raise NonRetryable(
            f"{name} is truncated: it breaks off after {len(content):,} bytes, without the end mark of a PDF; upload it again"
        )
    try:
        with pypdfium2.PdfDocument(content) as document:
            pages = len(document)
            for number in range(min(pages, MAX_PAGES)):
                document[number].close()
    except pypdfium2.PdfiumError as error:
        if error.err_code == WRONG_PASSWORD:
            raise NonRetryable(
                f"{name} is encrypted: only its password opens it; upload a copy without one"
            ) from None
        raise NonRetryable(f"{name} is damaged: {error}") from None
    if not 0 < pages <= MAX_PAGES:
        raise NonRetryable(f"{name} has {pages:,} pages; 1 to {MAX_PAGES:,} are accepted")
    return Accepted(name, str(path), sha256(content).hexdigest(), pages)


def check_unchanged(document: Accepted) -> None:
    """Raise NonRetryable if another file stands there now: its pages may be among those that were read."""
    try:
        now = sha256(Path(document.path).read_bytes()).hexdigest()
    except FileNotFoundError:
        now = None
    if now != document.sha256:
        raise NonRetryable(
            f"{document.name} was replaced or removed while it was read; upload it again"
        )


def read(path: Path, number: int) -> PageText:
    """Return the text of a page, numbered from 1: its text layer, else what Tesseract recognises."""
    with pypdfium2.PdfDocument(path) as document:
        page = document[number - 1]
        text = page.get_textpage().get_text_bounded().replace("\r\n", "\n").strip()
        if len("".join(text.split())) >= FEWEST_CHARACTERS:
            return PageText(number, "text layer", text)
        picture = page.render(scale=SCALE, grayscale=True).to_pil()
    found = pytesseract.image_to_data(
        picture,
        lang="eng",
        config=LAYOUT,
        timeout=OCR_LIMIT,
        output_type=pytesseract.Output.DICT,
    )
    return _recognised(number, found, picture.size)


def _recognised(number: int, found: dict[str, list[Any]], size: tuple[int, int]) -> PageText:
    """Put Tesseract's table of words together: lines, and an empty line between two paragraphs."""
    rows = [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]
    rows = [row for row in rows if str(row["text"]).strip()]
    paragraphs = []
    for _, paragraph in groupby(rows, lambda row: (row["block_num"], row["par_num"])):
        lines = groupby(paragraph, lambda row: row["line_num"])
        paragraphs.append("\n".join(" ".join(row["text"] for row in line) for _, line in lines))
    sureness = [float(row["conf"]) for row in rows]
    return PageText(
        number,
        "ocr",
        "\n\n".join(paragraphs),
        round(sum(sureness) / len(sureness), 1) if sureness else 0.0,
        [Word(row["text"], _box(row, size)) for row in rows],
    )


def _box(row: dict[str, Any], size: tuple[int, int]) -> tuple[float, float, float, float]:
    width, height = size
    return (
        round(row["left"] / width, 4),
        round(row["top"] / height, 4),
        round((row["left"] + row["width"]) / width, 4),
        round((row["top"] + row["height"]) / height, 4),
    )

"""Draws the archive as a contact sheet, the page that was found with its words boxed, and what the searches found."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import pypdfium2
from PIL import Image, ImageChops, ImageDraw, ImageFont
from psycopg import Connection

from .checks import MEANING, PHRASE, Facts
from .store import Hit

SIZE = (1700, 860)
INK, GREY, BLUE, ORANGE, MARK = "#1f2933", "#9aa5b1", "#2f6fb7", "#d9730d", "#ffd84d"
TITLE_TOP, TOP, BOTTOM = 30, 90, 830
SHEET_LEFT, PAGE_LEFT, HITS_LEFT = 30, 700, 1300
COLUMNS, THUMB, GAP = 5, (118, 167), (12, 24)
PAGE = (570, 807)
COLOURS = 64
"""Enough for a page and three inks, and the grain of the scan does not bloat the file."""


def draw(connection: Connection[Any], archive: Path, facts: Facts, path: Path) -> None:
    """Write the picture."""
    found = facts.by_words[0]
    sheet = Image.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(sheet)
    with pypdfium2.PdfDocument(archive) as document:
        _contacts(sheet, document, found.page)
        page = document[found.page - 1].render(scale=2).to_pil().convert("RGB")
    (words,) = connection.execute(
        "select words from searchable.pages where document_id = %s and page = %s",
        (found.document_id, found.page),
    ).fetchone() or ([],)
    title = f"Page {found.page}, a scan: the words that Tesseract recognised"
    pen.text((PAGE_LEFT, TITLE_TOP), title, INK, _font(20))
    page = _boxed(page.resize(PAGE, Image.Resampling.LANCZOS), words)
    sheet.paste(page.crop((0, 0, PAGE[0], BOTTOM - TOP)), (PAGE_LEFT, TOP))
    pen.rectangle((PAGE_LEFT, TOP, PAGE_LEFT + PAGE[0], BOTTOM), outline=GREY)
    bottom = _hits(pen, TITLE_TOP, f'By its words: "{PHRASE}"', facts.by_words[:1])
    _hits(pen, bottom + 40, f"By its meaning: {MEANING}", facts.by_meaning[:3])
    few = sheet.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _contacts(sheet: Image.Image, document: pypdfium2.PdfDocument, found: int) -> None:
    pen = ImageDraw.Draw(sheet)
    scans = 0
    for position, page in enumerate(document):
        row, column = divmod(position, COLUMNS)
        left = SHEET_LEFT + column * (THUMB[0] + GAP[0])
        top = TOP + row * (THUMB[1] + GAP[1])
        picture = page.render(scale=1).to_pil().convert("RGB")
        sheet.paste(picture.resize(THUMB, Image.Resampling.LANCZOS), (left, top))
        scanned = not page.get_textpage().count_chars()
        scans += scanned
        colour = ORANGE if position + 1 == found else BLUE if scanned else GREY
        box = (left - 2, top - 2, left + THUMB[0] + 1, top + THUMB[1] + 1)
        pen.rectangle(box, outline=colour, width=1 if colour == GREY else 3)
        pen.text((left + 5, top + THUMB[1] - 20), str(position + 1), colour, _font(15))
    title = f"{len(document)} pages,"
    pen.text((SHEET_LEFT, TITLE_TOP), title, INK, _font(20))
    indent = pen.textlength(f"{title} ", _font(20))
    pen.text((SHEET_LEFT + indent, TITLE_TOP), f"{scans} of them scans", BLUE, _font(20))


def _boxed(page: Image.Image, words: Sequence[Sequence[Any]]) -> Image.Image:
    """Box all words, and mark those of the phrase."""
    phrase = PHRASE.split()
    texts = [str(word[0]).strip(".,").lower() for word in words]
    starts = (at for at in range(len(texts)) if texts[at : at + len(phrase)] == phrase)
    marked = range(start := next(starts, 0), start + len(phrase))
    boxes = Image.new("RGB", page.size, "white")
    pen = ImageDraw.Draw(boxes)
    for position, (_, left, top, right, bottom) in enumerate(words):
        box = (left * page.width, top * page.height, right * page.width, bottom * page.height)
        box = (box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 2)
        pen.rectangle(box, fill=MARK if position in marked else None, outline=BLUE)
    return ImageChops.multiply(page, boxes)


def _hits(pen: ImageDraw.ImageDraw, top: int, title: str, hits: Sequence[Hit]) -> int:
    """Write what a search found below each other; return where that ends."""
    for line in wrap(title, 36):
        pen.text((HITS_LEFT, top), line, ORANGE, _font(20))
        top += 27
    for place, hit in enumerate(hits, 1):
        top += 14
        ranks = [f"words #{hit.word_rank}"] if hit.word_rank else []
        if hit.meaning_rank:
            ranks.append(f"meaning #{hit.meaning_rank} ({hit.similarity:.2f})")
        kind = "scan" if hit.source == "ocr" else "text"
        line = f"{place}. page {hit.page}, {kind}: {', '.join(ranks)}"
        pen.text((HITS_LEFT, top), line, BLUE, _font(17))
        top += 25
        for line in wrap(hit.content, 46, max_lines=5, placeholder=" …"):
            pen.text((HITS_LEFT, top), line, INK, _font(16))
            top += 21
    return top

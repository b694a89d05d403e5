"""Compares what can be searched with what was written on the pages: the example's own proof."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pypdfium2
from psycopg import Connection

from .archive import Sheet
from .batch import Outcome
from .store import Hit, search

PHRASE = "burst gasket of the ammonia compressor"
MEANING = "the freezer failed and the fish was spoiled"
"""The same page in other words: not one of them stands on it."""
GOOD = 0.95
"""Share of words, and of entities, that must be right; Tesseract does err."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What came out, and whether each claim about it holds."""

    checks: dict[str, bool]
    details: dict[str, str]
    figures: dict[str, Any]
    by_words: list[Hit]
    by_meaning: list[Hit]


def check(
    connection: Connection[Any],
    archive: Path,
    sheets: Sequence[Sheet],
    outcomes: Sequence[Outcome],
    *,
    killed_page: int,
) -> Facts:
    """Gather the facts about a batch of the archive, the locked and the torn file."""
    good, locked, torn = outcomes
    checks: dict[str, bool] = {}
    details: dict[str, str] = {}
    if good.indexed is None:
        return Facts(
            {"the archive was indexed": False},
            {"the archive was indexed": str(good.error)},
            {},
            [],
            [],
        )

    def claim(text: str, holds: bool, detail: str = "") -> None:
        checks[text] = holds
        details[text] = detail

    document_id = good.indexed.document_id
    pages = connection.execute(
        "select page, source, content from searchable.pages where document_id = %s order by page",
        (document_id,),
    ).fetchall()
    read = [(page, source == "ocr") for page, source, _ in pages]
    claim(
        "every page was read, and Tesseract got just the scanned ones",
        read == [(sheet.number, sheet.scanned) for sheet in sheets],
        f"{len(read)} pages, {sum(scanned for _, scanned in read)} by OCR",
    )
    words = _words_right(sheets, {page: content for page, _, content in pages})
    worst = min(words.values())
    claim("the words are those that were written", worst >= GOOD, f"worst page {worst:.1%}")
    recall, precision, entities = _entities(connection, document_id, sheets)
    claim(
        "entities: at least 95 % found, at least 95 % right",
        min(recall, precision) >= GOOD,
        f"{entities} found, recall {recall:.1%}, precision {precision:.1%}",
    )

    page = next(sheet for sheet in sheets if any(PHRASE in line for line in sheet.lines))
    by_words, by_meaning = (
        # Earlier archives of another make may be there as well.
        [hit for hit in search(connection, query, hits=20) if hit.document_id == document_id][:5]
        for query in (f'"{PHRASE}"', MEANING)
    )
    claim(
        "the phrase stands on a scanned page alone, and in no text layer",
        page.scanned and PHRASE not in _text_layers(archive),
        f"page {page.number}",
    )
    claim(
        "full text finds it there, and nowhere else",
        [hit.page for hit in by_words if hit.word_rank] == [page.number]
        and by_words[0].page == page.number,
    )
    shared = _shared_words(connection, document_id, page.number)
    claim("the paraphrase shares no word with that page", not shared, ", ".join(shared))
    claim(
        "the vector finds it there first, where full text finds nothing",
        by_meaning[0].page == page.number and not any(hit.word_rank for hit in by_meaning),
        f"similarity {by_meaning[0].similarity:.2f}",
    )

    attempts = Counter(
        index
        for (index,) in connection.execute(
            "select task_index from pgflow.task_attempts where run_id = %s and step_slug = 'read_page'",
            (good.run_id,),
        )
    )
    claim(
        "only the page whose Tesseract was killed was tried again",
        attempts
        == Counter(
            {number: 2 if number == killed_page - 1 else 1 for number in range(len(sheets))}
        ),
        f"page {killed_page}",
    )
    claim("the encrypted file was refused as such", "is encrypted" in (locked.error or ""))
    claim("the truncated file was refused as such", "is truncated" in (torn.error or ""))
    stray = connection.execute(
        "select count(*) from searchable.documents where run_id = any(%s)",
        ([locked.run_id, torn.run_id],),
    ).fetchone()
    claim("nothing of the refused files was written", stray == (0,))
    figures = {
        "pages": len(pages),
        "recognised": good.indexed.recognised,
        "entities": entities,
        "chunks": good.indexed.chunks,
        "attempts": {str(index + 1): count for index, count in sorted(attempts.items())},
        "word_accuracy": {str(number): round(share, 4) for number, share in words.items()},
        "entity_recall": round(recall, 4),
        "entity_precision": round(precision, 4),
        "seconds": good.seconds,
    }
    return Facts(checks, details, figures, by_words, by_meaning)


def _words_right(sheets: Sequence[Sheet], read: dict[int, str]) -> dict[int, float]:
    """Return for each page how much its words agree with those written."""
    return {
        sheet.number: SequenceMatcher(
            None, " ".join(sheet.lines).split(), read.get(sheet.number, "").split(), autojunk=False
        ).ratio()
        for sheet in sheets
    }


def _entities(
    connection: Connection[Any], document_id: int, sheets: Sequence[Sheet]
) -> tuple[float, float, int]:
    """Return recall, precision and number of the entities that were found."""
    written = {
        (sheet.number, kind, value)
        for sheet in sheets
        for kind, values in (
            ("person", sheet.people),
            ("company", sheet.companies),
            ("date", {day.isoformat() for day in sheet.dates}),
            ("amount", {f"{currency} {amount:.2f}" for currency, amount in sheet.amounts}),
        )
        for value in values
    }
    found = set(
        connection.execute(
            "select page, kind, value from searchable.entities where document_id = %s",
            (document_id,),
        ).fetchall()
    )
    right = len(written & found)
    return right / len(written), right / max(1, len(found)), len(found)


def _text_layers(archive: Path) -> str:
    with pypdfium2.PdfDocument(archive) as document:
        texts = [page.get_textpage().get_text_bounded() for page in document]
    return " ".join(" ".join(texts).split())


def _shared_words(connection: Connection[Any], document_id: int, page: int) -> list[str]:
    """Return what the paraphrase and the page have in common, as word stems."""
    rows = connection.execute(
        "select unnest(tsvector_to_array(to_tsvector('english', %s)))"
        " intersect select unnest(tsvector_to_array(to_tsvector('english', content)))"
        " from searchable.pages where document_id = %s and page = %s",
        (MEANING, document_id, page),
    )
    return [stem for (stem,) in rows]

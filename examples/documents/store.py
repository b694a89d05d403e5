"""The tables, and the two things done with them: saving a document, and searching in all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from .chunks import Chunk
from .embeddings import embed
from .entities import Entity
from .reading import Accepted, PageText

SCHEMA = Path(__file__).with_name("schema.sql").read_bytes()
SEARCH = Path(__file__).with_name("search.sql").read_bytes()
CANDIDATES = 20
"""How many chunks each of the two searches may propose."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that a search found."""

    document_id: int
    name: str
    page: int
    source: str
    content: str
    headline: str
    """The content with the words of the query in brackets."""
    word_rank: int | None
    """Among the chunks with the words of the query; none for those without."""
    meaning_rank: int | None
    similarity: float | None
    score: float


def create_tables(connection: Connection[Any]) -> None:
    """Create what is not there yet."""
    connection.execute(SCHEMA)


def save(
    connection: Connection[Any],
    run_id: UUID,
    document: Accepted,
    *,
    pages: Sequence[PageText],
    entities: Sequence[Sequence[Entity]],
    chunks: Sequence[tuple[Chunk, Sequence[float]]],
) -> int:
    """Write a document with all that belongs to it, in place of an earlier version; return its id."""
    connection.execute("delete from searchable.documents where sha256 = %s", (document.sha256,))
    row = connection.execute(
        "insert into searchable.documents (sha256, name, pages, run_id) values (%s, %s, %s, %s) returning document_id",
        (document.sha256, document.name, document.pages, run_id),
    ).fetchone()
    assert row is not None
    document_id: int = row[0]
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into searchable.pages (document_id, page, source, confidence, content, words) values (%s, %s, %s, %s, %s, %s)",
            [
                (
                    *(document_id, page.number, page.source, page.confidence, page.text),
                    Jsonb([[word.text, *word.box] for word in page.words]),
                )
                for page in pages
            ],
        )
        cursor.executemany(
            "insert into searchable.entities (document_id, page, kind, value, content) values (%s, %s, %s, %s, %s)",
            [
                (document_id, page.number, entity.kind, entity.value, entity.text)
                for page, found in zip(pages, entities, strict=True)
                for entity in found
            ],
        )
        cursor.executemany(
            "insert into searchable.chunks (document_id, page, position, content, embedding) values (%s, %s, %s, %s, %s::float8[]::vector)",
            [
                (document_id, chunk.page, chunk.position, chunk.text, list(embedding))
                for chunk, embedding in chunks
            ],
        )
    return document_id


def search(connection: Connection[Any], query: str, hits: int = 5) -> list[Hit]:
    """Return the chunks that fit a query best, by its words and by its meaning."""
    parameters = {
        "query": query,
        "embedding": embed([query])[0].tolist(),
        "candidates": CANDIDATES,
        "hits": hits,
    }
    with connection.cursor(row_factory=class_row(Hit)) as cursor:
        return cursor.execute(SEARCH, parameters).fetchall()

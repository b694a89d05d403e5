"""The flow: a PDF is examined, read page by page, understood, and made searchable at one stroke."""

from dataclasses import dataclass
from pathlib import Path

from pgflow import Flow, current_task

from .chunks import Chunk, cut
from .embeddings import embed
from .entities import Entity, find
from .faults import tesseract_killed
from .reading import Accepted, PageText, check_unchanged, examine, read
from .store import save


@dataclass(frozen=True, slots=True)
class Upload:
    """The run's input."""

    path: str
    kill_ocr_of_page: int | None = None
    """Tesseract is killed in the first attempt at this page, to show what becomes of it."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page to read."""

    path: str
    number: int


@dataclass(frozen=True, slots=True)
class Embedded:
    """A chunk, and what it means."""

    chunk: Chunk
    embedding: list[float]


@dataclass(frozen=True, slots=True)
class Indexed:
    """The run's result."""

    document_id: int
    pages: int
    recognised: int
    """Pages that Tesseract has read."""
    entities: int
    chunks: int


documents = Flow[Upload]("documents", max_attempts=3, base_delay=1, timeout=60)


# A PDF from outside may crash or hang the library that opens it: in a process of its own it takes nothing with it.
@documents.step(isolation="process")
def validate(upload: Upload) -> Accepted:
    """Refuse at once what no other attempt would make readable."""
    return examine(Path(upload.path))


@documents.step(depends_on=(validate,))
def split(document: Accepted) -> list[Page]:
    """Name the pages; each becomes a task."""
    return [Page(document.path, number) for number in range(1, document.pages + 1)]


@documents.map(over=split, isolation="process")
def read_page(page: Page) -> PageText:
    """Take the page's text, or recognise it; if that fails, only this page is tried again."""
    task = current_task()
    killed = task.attempt == 1 and page.number == task.run_input.get("kill_ocr_of_page")
    with tesseract_killed(when=killed):
        return read(Path(page.path), page.number)


@documents.map(over=read_page)
def find_entities(page: PageText) -> list[Entity]:
    """Find people, companies, dates and amounts."""
    return find(page.text)


@documents.step(depends_on=(read_page,))
def cut_chunks(pages: list[PageText]) -> list[Chunk]:
    """Cut the pages into pieces of some sentences."""
    return [chunk for page in pages for chunk in cut(page)]


@documents.map(over=cut_chunks, batch_size=16)
def embed_chunks(chunks: list[Chunk]) -> list[Embedded]:
    """Embed up to 16 chunks at a time; the model is loaded once a worker."""
    vectors = embed([chunk.text for chunk in chunks])
    return [Embedded(*pair) for pair in zip(chunks, vectors.tolist(), strict=True)]


@documents.step(depends_on=(validate, read_page, find_entities, embed_chunks))
def index(
    document: Accepted,
    pages: list[PageText],
    entities: list[list[Entity]],
    chunks: list[Embedded],
) -> Indexed:
    """Write all of it in the transaction that completes this task: searchable as a whole, or not at all."""
    check_unchanged(document)
    task = current_task()
    pairs = [(one.chunk, one.embedding) for one in chunks]
    with task.transaction() as connection:
        document_id = save(
            connection, task.run_id, document, pages=pages, entities=entities, chunks=pairs
        )
    recognised = sum(page.source == "ocr" for page in pages)
    return Indexed(document_id, len(pages), recognised, sum(map(len, entities)), len(chunks))

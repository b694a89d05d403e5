"""The parts of the pattern `documents`, each for itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pypdf
import pytesseract
import pytest
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

from examples.documents.archive import make_archive, make_locked, make_torn
from examples.documents.chunks import MOST_TOKENS, cut
from examples.documents.embeddings import MAX_TOKENS, count_tokens, embed
from examples.documents.entities import find
from examples.documents.faults import tesseract_killed
from examples.documents.flow import Page, split
from examples.documents.reading import Accepted, PageText, check_unchanged, examine, read
from pgflow import NonRetryable

if TYPE_CHECKING:
    from pathlib import Path

PARAPHRASES = [
    ("A man is eating food.", "Somebody consumes a meal."),
    ("The invoice has to be paid within thirty days.", "Payment is due in one month."),
    ("Rainwater came through the ceiling.", "The roof leaks."),
    ("The meeting was postponed to next week.", "They delayed the session by seven days."),
    ("Our supplier went bankrupt.", "The vendor is insolvent."),
]


@pytest.fixture
def pdf(tmp_path: Path) -> Path:
    path = tmp_path / "letter.pdf"
    canvas = Canvas(str(path))
    for _ in range(2):
        canvas.drawString(72, 700, "A letter with enough text to be read from its text layer.")
        canvas.showPage()
    canvas.save()
    return path


def test_a_file_that_another_took_the_place_of_is_refused(pdf: Path) -> None:
    document = examine(pdf)
    check_unchanged(document)
    pdf.write_bytes(pdf.read_bytes() + b"\n")
    with pytest.raises(NonRetryable, match=r"letter\.pdf was replaced or removed"):
        check_unchanged(document)
    pdf.unlink()
    with pytest.raises(NonRetryable, match=r"letter\.pdf was replaced or removed"):
        check_unchanged(document)


def encrypted(path: Path, user_password: str) -> Path:
    writer = pypdf.PdfWriter(clone_from=path)
    writer.encrypt(user_password, "the owner's", algorithm="RC4-128")
    target = path.with_name("encrypted.pdf")
    writer.write(target)
    return target


def test_embeddings_have_length_one_and_do_not_depend_on_their_batch() -> None:
    texts = [text for pair in PARAPHRASES for text in pair]
    together = embed(texts)
    assert together.shape == (10, 384)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert np.allclose(together, np.concatenate([embed([text]) for text in texts]), atol=1e-4)
    assert embed([]).shape == (0, 384)


def test_a_paraphrase_is_nearer_than_anything_unrelated() -> None:
    left, right = (embed([pair[side] for pair in PARAPHRASES]) for side in (0, 1))
    similarity = left @ right.T
    related = similarity.diagonal()
    unrelated = similarity[~np.eye(len(PARAPHRASES), dtype=bool)]
    assert related.min() > unrelated.max() + 0.05
    assert related.mean() > unrelated.mean() + 0.4


def test_the_model_is_the_one_that_was_published() -> None:
    """The values are those of sentence-transformers' documentation for all-MiniLM-L6-v2; ours has int8 weights."""
    vectors = embed(
        ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    )
    published = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    assert np.allclose(vectors @ vectors.T, published, atol=0.01)


def test_tokens_are_counted_beyond_the_limit_of_the_model() -> None:
    assert count_tokens("word " * 1000) == 1002
    assert count_tokens("unaffable") > 3, "not a word of the vocabulary"


@pytest.mark.slow
def test_the_same_seed_makes_the_same_archive(tmp_path: Path) -> None:
    one, same, other = (tmp_path / f"{name}.pdf" for name in "abc")
    sheets = make_archive(one)
    assert make_archive(same) == sheets
    assert same.read_bytes() == one.read_bytes()
    assert make_archive(other, seed=8) != sheets
    assert len(sheets) == 20
    for sheet in sheets:
        text = " ".join(sheet.lines)
        assert all(name in text for name in [*sheet.people, *sheet.companies])


def test_a_readable_file_is_accepted(pdf: Path) -> None:
    document = examine(pdf)
    assert (document.name, document.pages, len(document.sha256)) == ("letter.pdf", 2, 64)


def test_a_file_that_opens_without_a_password_is_accepted(pdf: Path) -> None:
    """Only printing or copying may need one."""
    assert examine(encrypted(pdf, "")).pages == 2


def test_an_encrypted_file_is_refused(pdf: Path, tmp_path: Path) -> None:
    with pytest.raises(NonRetryable, match=r"encrypted\.pdf is encrypted"):
        examine(encrypted(pdf, "secret"))
    make_locked(tmp_path / "locked.pdf")
    with pytest.raises(NonRetryable, match=r"locked\.pdf is encrypted"):
        examine(tmp_path / "locked.pdf")


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95, 0.995])
def test_a_file_that_breaks_off_is_refused(pdf: Path, share: float) -> None:
    content = pdf.read_bytes()
    pdf.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(NonRetryable, match=r"letter\.pdf is truncated: it breaks off after"):
        examine(pdf)


def test_the_example_of_a_torn_file_is_refused(pdf: Path, tmp_path: Path) -> None:
    make_torn(tmp_path / "torn.pdf", pdf)
    with pytest.raises(NonRetryable, match=r"torn\.pdf is truncated"):
        examine(tmp_path / "torn.pdf")


def test_other_files_are_refused_with_their_reason(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a PDF")
    (tmp_path / "hollow.pdf").write_bytes(b"%PDF-1.4\nnothing\n%%EOF\n")
    for name, reason in (
        ("notes.txt", "is no PDF: it begins with"),
        ("hollow.pdf", "is damaged"),
        ("absent.pdf", "does not exist"),
    ):
        with pytest.raises(NonRetryable, match=f"{re.escape(name)} {reason}"):
            examine(tmp_path / name)


def test_every_page_becomes_a_task() -> None:
    document = Accepted("a.pdf", "files/a.pdf", "0" * 64, 3)
    assert split(document) == [Page("files/a.pdf", number) for number in (1, 2, 3)]


def test_a_text_layer_is_taken_as_it_is(pdf: Path) -> None:
    page = read(pdf, 2)
    assert page == PageText(
        2, "text layer", "A letter with enough text to be read from its text layer."
    )


def test_a_killed_tesseract_is_an_error_and_the_next_one_works() -> None:
    paper = Image.new("L", (400, 100), 255)
    settings = pytesseract.pytesseract
    before = settings.tesseract_cmd
    with tesseract_killed(when=True), pytest.raises(pytesseract.TesseractError, match="137"):
        pytesseract.image_to_string(paper.resize((4000, 4000)))
    assert settings.tesseract_cmd == before
    with tesseract_killed(when=False):
        assert pytesseract.image_to_string(paper).strip() == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "We met Ms Ada\nWinter and Dr Jonas Keller.",
            ["person Ada Winter", "person Jonas Keller"],
        ),
        ("Dear Mr Russell,\nThank you", ["person Russell"]),
        ("Attention: Dr Karin Prescott\nRenewal of it", ["person Karin Prescott"]),
        ("Present: Ada Winter, Nils\nOlsen", ["person Ada Winter"]),
        ("Present: Ada Winter,\nNils Olsen", ["person Ada Winter", "person Nils Olsen"]),
        ("Yours sincerely,\n\nGreta Morton\n", ["person Greta Morton"]),
        ("from Old Customs House Hotel Ltd in May", ["company Old Customs House Hotel Ltd"]),
        ("Smith & Sons plc", ["company Smith & Sons plc"]),
        ("due 3rd March 2026 or March 3, 2026", ["date 2026-03-03"]),
        ("03.02.2026, 2026-02-04", ["date 2026-02-04", "date 2026-02-03"]),
        ("on 31.02.2026 and 2026-13-01", []),
        (
            "EUR 1,240.50 and £12, GBP 7",
            ["amount EUR 1240.50", "amount GBP 12.00", "amount GBP 7.00"],
        ),
        ("version 1,2 of 3.4 for 17 people", []),
    ],
)
def test_entities(text: str, found: list[str]) -> None:
    assert [f"{entity.kind} {entity.value}" for entity in find(text)] == found


def test_chunks_keep_every_word_and_stay_small() -> None:
    sentences = [
        f"Sentence number {number} says something about the weather." for number in range(40)
    ]
    text = "\n".join([*sentences, "x" * 30 + " ", "word " * 200, "3. The last point."])
    chunks = cut(PageText(7, "text layer", text))
    assert " ".join(chunk.text for chunk in chunks).split() == text.split()
    assert [chunk.position for chunk in chunks] == list(range(len(chunks)))
    assert {chunk.page for chunk in chunks} == {7}
    assert max(count_tokens(chunk.text) for chunk in chunks) <= MOST_TOKENS < MAX_TOKENS
    assert not any(chunk.text.endswith("3.") for chunk in chunks)


def test_an_empty_page_has_no_chunks() -> None:
    assert cut(PageText(1, "ocr", " \n ", 0.0)) == []

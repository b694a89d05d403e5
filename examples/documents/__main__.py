"""Make an archive of text and scanned pages searchable, and search in it: `python -m examples.documents`."""

import argparse
import asyncio
import json
import logging
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from time import monotonic

import psycopg
import pytesseract

from pgflow.embedded import resolve_dsn
from pgflow.schema import install

from .archive import make_archive, make_locked, make_torn
from .batch import process
from .checks import check
from .flow import Upload
from .picture import draw
from .report import show_hits, show_outcomes, show_summary
from .store import create_tables, search

KILLED_PAGE = 11
"""Tesseract is killed in the first attempt at it."""
MISSING = """Tesseract is missing, which recognises the scanned pages{what}.
  Debian, Ubuntu:  apt-get install tesseract-ocr tesseract-ocr-eng
  Fedora:          dnf install tesseract tesseract-langpack-eng
  macOS:           brew install tesseract
"""
NO_VECTORS = """The server has no pgvector, which stores the embeddings: {error}
  Debian, Ubuntu:  apt-get install postgresql-18-pgvector (the number of your server)
  or unset PGFLOW_DSN, and the embedded server is used, which has it.
"""


def main() -> int:
    """Do what the command line asks for; return the exit code."""
    arguments = _parse()
    if problem := _missing():
        sys.stderr.write(problem)
        return 2
    dsn = resolve_dsn()
    install(dsn)
    try:
        with psycopg.connect(dsn) as connection:
            create_tables(connection)
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as error:
        sys.stderr.write(NO_VECTORS.format(error=str(error).partition("\n")[0]))
        return 2
    try:
        if arguments.add or arguments.search:
            return _serve(dsn, arguments.add, arguments.search, as_json=arguments.json)
        return _show_all(dsn, arguments.out, as_json=arguments.json)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the runs were cancelled\n")
        return 130


def _serve(dsn: str, paths: list[Path], query: str | None, *, as_json: bool) -> int:
    """Make the user's files searchable, and search."""
    uploads = [Upload(str(path.resolve())) for path in paths]
    outcomes = asyncio.run(process(dsn, uploads, live=not as_json)) if uploads else []
    hits = []
    if query:
        with psycopg.connect(dsn) as connection:
            hits = search(connection, query)
    if as_json:
        document = {
            "files": [asdict(one) for one in outcomes],
            "hits": [asdict(one) for one in hits],
        }
        sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")
    else:
        if outcomes:
            show_outcomes(outcomes)
        if query:
            show_hits(query, hits)
    return 0 if all(one.indexed for one in outcomes) else 1


def _show_all(dsn: str, out: Path, *, as_json: bool) -> int:
    """Process the archive with two files that are no good; check, show and draw what came out."""
    began = monotonic()
    # The failures are intended, and the summary shows them.
    logging.getLogger("pgflow").setLevel(logging.CRITICAL)
    out.mkdir(parents=True, exist_ok=True)
    archive, locked, torn = (
        (out / name).resolve() for name in ("archive.pdf", "locked.pdf", "torn.pdf")
    )
    sheets = make_archive(archive)
    make_locked(locked)
    make_torn(torn, archive)
    uploads = [
        Upload(str(archive), kill_ocr_of_page=KILLED_PAGE),
        Upload(str(locked)),
        Upload(str(torn)),
    ]
    outcomes = asyncio.run(process(dsn, uploads, live=not as_json))
    with psycopg.connect(dsn) as connection:
        facts = check(connection, archive, sheets, outcomes, killed_page=KILLED_PAGE)
        if facts.by_words:
            draw(connection, archive, facts, out / "picture.png")
    document = {
        **facts.figures,
        "runs": {one.name: {"run_id": str(one.run_id), "error": one.error} for one in outcomes},
        "found_by_words": [asdict(hit) for hit in facts.by_words],
        "found_by_meaning": [asdict(hit) for hit in facts.by_meaning],
        "checks": facts.checks,
        "wall_seconds": round(monotonic() - began, 1),
    }
    text = json.dumps(document, indent=2)
    (out / "facts.json").write_text(text + "\n")
    if as_json:
        sys.stdout.write(text + "\n")
    else:
        show_summary(outcomes, facts, out)
    return 0 if all(facts.checks.values()) else 1


def _missing() -> str | None:
    """Return what to tell the user if Tesseract, or its English, is not there."""
    if shutil.which(pytesseract.pytesseract.tesseract_cmd) is None:
        return MISSING.format(what="")
    if "eng" not in pytesseract.get_languages():
        return MISSING.format(what=": it is there, but its English is not")
    return None


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("out/documents"), help="directory for the files made"
    )
    parser.add_argument("--json", action="store_true", help="print the facts as JSON, nothing else")
    parser.add_argument(
        "--add",
        nargs="+",
        default=[],
        type=Path,
        metavar="PDF",
        help="make files of your own searchable instead",
    )
    parser.add_argument("--search", metavar="TEXT", help="search in what has been added")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""The documentation site: it builds without network, every link and anchor leads somewhere, and what is generated is true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

import pgflow
from pgflow._flow.options import FlowOptions, StepOptions
from pgflow._sources import SOURCES
from pgflow.cli.app import COMMANDS
from tools.site import diagrams, pages

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FETCHED = {"img": "src", "script": "src", "link": "href", "source": "src", "iframe": "src"}
"""Attributes whose address a browser fetches by itself."""
OUTSIDE = re.compile(r"""(?:url\(\s*["']?|@import\s+["']?|\s(?:xlink:)?href=["'])https?:""")


class Links(HTMLParser):
    """What a page has, and what it leads to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.classes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.classes |= set(given.get("class", "").split())
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if FETCHED.get(tag) in given:
            self.fetched.append(given[FETCHED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_MKDOCS_2_WARNING": "1"}
    # Not --quiet: what is not logged does not count as a warning.
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", made],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_site_is_whole_and_fetches_nothing(site: Path) -> None:
    read = {path: Links(path.read_text()) for path in site.rglob("*.html")}
    assert len(read) > len(list(DOCS.rglob("*.md")))  # the page that says 404
    problems = [
        f"{path.relative_to(site)}: {problem}"
        for path, page in read.items()
        for problem in problems_of(site, path, page, read)
    ]
    problems += [
        f"{path.relative_to(site)}: fetches from outside"
        for kind in ("css", "svg")
        for path in site.rglob(f"*.{kind}")
        if OUTSIDE.search(path.read_text())
    ]
    assert problems == []
    # What the theme's script would fetch, were there any of it in a page.
    assert not [path for path, page in read.items() if "mermaid" in page.classes]
    assert "unpkg" not in "".join(path.read_text() for path in read)
    for name in re.findall(r"\]\(([\w/.-]+)\)", (site / "llms.txt").read_text()):
        assert (site / name).exists(), name
    for text in ("## A flow, its steps, its tasks", "current_task().idempotency_key"):
        assert text in (site / "llms-full.txt").read_text()
    assert (site / "search" / "search_index.js").exists()


def problems_of(site: Path, path: Path, page: Links, read: dict[Path, Links]) -> Iterator[str]:
    for link in page.links + page.fetched:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            if link in page.fetched and parts.scheme != "data":
                yield f"fetches {link}"
            continue
        # The page that says 404 is shown at any address, so its links begin at the root.
        base = site if parts.path.startswith("/") else path.parent
        target = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
        if target.is_dir():
            target /= "index.html"
        if not target.exists():
            yield f"nothing at {link}"
        elif parts.fragment and target in read:
            anchors = read[target].anchors | {"__top", "__codelineno"}
            fragment = unquote(parts.fragment)
            if fragment not in anchors and not fragment.startswith("__codelineno"):
                yield f"no anchor {link}"


def test_every_diagram_is_drawn_and_no_other() -> None:
    drawn = {path.stem for path in diagrams.DRAWN.glob("*.svg")}
    assert set(diagrams.wanted()) == drawn, "make diagrams"


@pytest.mark.parametrize("name", pages.PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text() == pages.PAGES[name](), "make diagrams"


def test_every_pattern_is_on_their_page() -> None:
    folders = {path.parent.name for path in (ROOT / "examples").glob("*/__main__.py")}
    assert folders == set(pages.PATTERNS)
    written = {path.stem for path in (DOCS / "patterns").glob("*.md")} - {"index"}
    assert written == folders


def test_the_reference_has_every_public_name() -> None:
    text = "".join(path.read_text() for path in (DOCS / "reference").glob("*.md"))
    shown = re.findall(r"^::: pgflow\.(?:execute\.)?(\w+)$", text, re.MULTILINE)
    assert sorted(shown) == sorted(set(pgflow.__all__) - {"__version__"})


def test_the_settings_are_all_explained() -> None:
    used = {
        name
        for path in (ROOT / "src").rglob("*.py")
        for name in re.findall(r"\bPGFLOW_[A-Z_]+\b", path.read_text())
    }
    section = (DOCS / "settings.md").read_text().partition("## Where")[0]
    assert set(re.findall(r"^\| `(PGFLOW_[A-Z_]+)` ", section, re.MULTILINE)) == used


def test_every_guide_is_listed() -> None:
    index = (DOCS / "how-to" / "index.md").read_text()
    for path in (DOCS / "how-to").glob("*.md"):
        assert path.name == "index.md" or f"]({path.name})" in index, path.name


def test_llms_txt_names_all_that_is_public() -> None:
    text = (DOCS / "llms.txt").read_text()
    reference = (DOCS / "reference" / "workers.md").read_text()
    context = re.search(r"pgflow\.TaskContext\n.*?members: \[(.*?)\]", reference, re.DOTALL)
    assert context
    names = {
        *StepOptions.__annotations__,
        *FlowOptions.__annotations__,
        *set(pgflow.__all__) - {"__version__"},
        *(f"pgflow {command}" for command in COMMANDS),
        *(view.name for view in SOURCES.views),
        *context[1].split(", "),
    }
    missing = [name for name in sorted(names) if not re.search(rf"\b{name}\b", text)]
    assert missing == []

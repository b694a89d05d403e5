"""What the site's build does beyond mkdocs: pages that exist find their place, diagrams are those of `diagrams.py`.

mkdocs calls the functions `on_…` (mkdocs.yml, `hooks`). The build runs as `python -m mkdocs` from the root of the project.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.exceptions import PluginError
from mkdocs.utils import get_relative_url

from tools.site import diagrams

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
MARK = re.compile(r"^<!-- (?:not run|file|output|states|rolled back)\b[^\n]*-->\n", re.MULTILINE)
FILE = re.compile(r"^<!-- file: (?P<name>\S+) -->\n```(?P<language>\w+)$", re.MULTILINE)
WIDTH = re.compile(r'width="100%"(?P<rest>[^>]*) style="max-width: (?P<width>[\d.]+)px;[^"]*"')
READABLE = 620
"""Pixels below which a wide diagram is scrolled rather than made smaller still."""
_markdown: dict[str, str] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace each `folder/*.md` of the navigation by the pages that have no other place in it."""
    docs = Path(config.docs_dir)
    named = set(_named(config.nav))
    config.nav = _expanded(config.nav or [], docs, named)
    return config


def _named(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [name for part in parts for name in _named(part)]


def _expanded(nav: list[Any], docs: Path, named: set[str]) -> list[Any]:
    entries: list[Any] = []
    for entry in nav:
        if isinstance(entry, dict):
            entries += [
                {title: _expanded(part, docs, named) if isinstance(part, list) else part}
                for title, part in entry.items()
            ]
        elif "*" in entry:
            found = (page.relative_to(docs).as_posix() for page in sorted(docs.glob(entry)))
            entries += [page for page in found if page not in named]
        else:
            entries.append(entry)
    return entries


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make of a page of the repository one of the site."""
    del files
    here = Path(config.docs_dir, page.file.src_uri).parent
    _markdown[page.file.src_uri] = MARK.sub("", markdown)
    markdown = diagrams.FENCE.sub(lambda found: _place(found["text"], page), markdown)
    markdown = FILE.sub(r'```{.\g<language> title="\g<name>"}', markdown)
    return LINK.sub(
        lambda found: _inside(found, here, Path(config.docs_dir)), MARK.sub("", markdown)
    )


def _place(text: str, page: Page) -> str:
    if not (diagrams.DRAWN / f"{diagrams.digest(text)}.svg").exists():
        raise PluginError(f"{page.file.src_uri}: a diagram is not drawn yet; run: make diagrams")
    return f'<div class="diagram" data-diagram="{diagrams.digest(text)}"></div>'


def _inside(found: re.Match[str], here: Path, docs: Path) -> str:
    """Name a file of the repository that is no page, instead of linking to it."""
    target = found["target"]
    if re.match(r"[a-z]+:", target):
        return found[0]
    path = Path(os.path.normpath(here / target))
    if path.is_relative_to(docs) or not path.exists():
        return found[0]
    name = f"`{path.relative_to(ROOT).as_posix()}`"
    return (
        name
        if found["text"].strip("`") in {name.strip("`"), path.name}
        else f"{found['text']} ({name})"
    )


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Put the diagrams in: after the search has read the page, which would find their style sheets."""
    del config

    def drawn(found: re.Match[str]) -> str:
        alone = get_relative_url(f"images/diagrams/{found[2]}.svg", page.url)
        link = f'<a href="{alone}" title="Open the drawing alone">'
        return f"{found[1]}{link}{_drawing(found[2])}</a></div>"

    return re.sub(r'(<div class="diagram" data-diagram="(\w+)">)</div>', drawn, output)


def _drawing(name: str) -> str:
    svg = (diagrams.DRAWN / f"{name}.svg").read_text().strip()

    def sized(found: re.Match[str]) -> str:
        least = min(READABLE, float(found["width"]))
        style = f"max-width: {found['width']}px; min-width: {least:g}px"
        return f'width="100%"{found["rest"]} style="{style}"'

    return WIDTH.sub(sized, svg, count=1)


def on_post_build(config: MkDocsConfig) -> None:
    """Put the pages as Markdown beside the HTML, and all that llms.txt names into llms-full.txt."""
    site = Path(config.site_dir)
    for name, text in _markdown.items():
        (site / name).write_text(text)
    listed = re.findall(r"\]\(([\w/.-]+\.md)\)", Path(config.docs_dir, "llms.txt").read_text())
    parts = [f"<!-- {name} -->\n\n{_markdown[name].strip()}\n" for name in listed]
    (site / "llms-full.txt").write_text("\n".join(parts))

"""Diagrams of the pages: a ```mermaid fence is drawn once, by a maintainer, and kept as an SVG named by its digest.

`python -m tools.site.diagrams` (`make diagrams`) draws what is missing, with npm's mermaid in a headless Chromium, and
removes what no page has any more. Who builds or reads the site needs neither of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import ClassVar

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DRAWN = DOCS / "images" / "diagrams"
FENCE = re.compile(r"^```mermaid\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)

PACKAGES = {"mermaid": "11.17.2", "@mermaid-js/layout-elk": "0.2.3"}
STYLE = 4
"""Counted up when the look changes, so that all are drawn anew."""

# Colours that occur nowhere else, each the place of a variable of assets/site.css, with what stands for it elsewhere.
INKS = {
    "#010203": ("ink", "#1c2733"),
    "#020304": ("line", "#5b6b7b"),
    "#030405": ("node", "#eef3f8"),
    "#040506": ("edge", "#7b93ab"),
    "#050607": ("label", "#ffffff"),
    "#060708": ("group", "#f7f9fb"),
    "#070809": ("note", "#fff6dd"),
}
_INK, _LINE, _NODE, _EDGE, _LABEL, _GROUP, _NOTE = INKS
CONFIG = {
    "startOnLoad": False,
    "securityLevel": "strict",
    "deterministicIds": True,
    "htmlLabels": False,
    "theme": "base",
    "fontFamily": "sans-serif",
    "flowchart": {"htmlLabels": False, "curve": "basis", "padding": 12},
    "sequence": {"wrap": True, "width": 160, "actorMargin": 90, "useMaxWidth": True},
    "state": {"htmlLabels": False},
    "elk": {"cycleBreakingStrategy": "MODEL_ORDER"},
    "themeVariables": {
        "fontFamily": "sans-serif",
        "fontSize": "15px",
        "background": _LABEL,
        "textColor": _INK,
        "lineColor": _LINE,
        "mainBkg": _NODE,
        "nodeBorder": _EDGE,
        "nodeTextColor": _INK,
        "primaryColor": _NODE,
        "primaryTextColor": _INK,
        "primaryBorderColor": _EDGE,
        "secondaryColor": _GROUP,
        "secondaryBorderColor": _EDGE,
        "secondaryTextColor": _INK,
        "tertiaryColor": _GROUP,
        "tertiaryBorderColor": _EDGE,
        "tertiaryTextColor": _INK,
        "edgeLabelBackground": _LABEL,
        "clusterBkg": _GROUP,
        "clusterBorder": _EDGE,
        "titleColor": _INK,
        "noteBkgColor": _NOTE,
        "noteBorderColor": _EDGE,
        "noteTextColor": _INK,
        "actorBkg": _NODE,
        "actorBorder": _EDGE,
        "actorTextColor": _INK,
        "actorLineColor": _EDGE,
        "signalColor": _LINE,
        "signalTextColor": _INK,
        "labelBoxBkgColor": _GROUP,
        "labelBoxBorderColor": _EDGE,
        "labelTextColor": _INK,
        "loopTextColor": _INK,
        "activationBkgColor": _GROUP,
        "activationBorderColor": _EDGE,
        "transitionColor": _LINE,
        "transitionLabelColor": _INK,
        "stateLabelColor": _INK,
        "stateBkg": _NODE,
        "labelBackgroundColor": _LABEL,
        "compositeBackground": _GROUP,
        "compositeTitleBackground": _GROUP,
        "altBackground": _GROUP,
        "specialStateColor": _LINE,
        "innerEndBackground": _LINE,
        "attributeBackgroundColorOdd": _NODE,
        "attributeBackgroundColorEven": _GROUP,
        "rowOdd": _NODE,
        "rowEven": _GROUP,
    },
}
PAGE = """<!doctype html><meta charset="utf-8"><script type="module">
const drawn = {{}};
try {{
  const mermaid = (await import("/node_modules/mermaid/dist/mermaid.esm.min.mjs")).default;
  const elk = "/node_modules/@mermaid-js/layout-elk/dist/mermaid-layout-elk.esm.min.mjs";
  mermaid.registerLayoutLoaders((await import(elk)).default);
  for (const [digest, text] of Object.entries({texts})) {{
    // Labels of edges overlap in dense graphs unless elk lays them out.
    mermaid.initialize({{...{config}, layout: text.startsWith("stateDiagram") ? "elk" : "dagre"}});
    try {{ drawn[digest] = (await mermaid.render("d" + digest, text)).svg; }}
    catch (error) {{ drawn[digest] = "failed: " + error; }}
  }}
}} catch (error) {{ drawn.page = "failed: " + error; }}
await fetch("/", {{method: "POST", body: JSON.stringify(drawn)}});
</script>"""


def digest(text: str) -> str:
    """Return the name of the picture of a fence's text."""
    return hashlib.sha256(f"{STYLE}\n{text}".encode()).hexdigest()[:12]


def fences(page: Path) -> list[str]:
    """Return the texts of a page's diagrams."""
    return [found["text"] for found in FENCE.finditer(page.read_text())]


def wanted() -> dict[str, str]:
    """Return the diagrams of all pages: digest -> text."""
    return {digest(text): text for page in sorted(DOCS.rglob("*.md")) for text in fences(page)}


def picture(text: str) -> str:
    """Return the SVG of a fence's text. FileNotFoundError if nobody has drawn it."""
    return (DRAWN / f"{digest(text)}.svg").read_text().strip()


class Desk(SimpleHTTPRequestHandler):
    """Gives Chromium the page, and takes what it has drawn."""

    drawn: ClassVar[Queue[dict[str, str]]] = Queue()

    def do_POST(self) -> None:
        """Take the drawings."""
        self.drawn.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(HTTPStatus.NO_CONTENT)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


def draw(texts: dict[str, str], directory: Path) -> dict[str, str]:
    """Draw texts in a headless Chromium."""
    # `</script>` in a text must not end the page's script.
    values = {"texts": json.dumps(texts).replace("</", "<\\/"), "config": json.dumps(CONFIG)}
    (directory / "page.html").write_text(PAGE.format(**values))
    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Desk, directory=directory)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            f"--user-data-dir={directory / 'profile'}",
            "--remote-debugging-port=0",  # stays until it is ended
            f"http://127.0.0.1:{server.server_port}/page.html",
        ]
        chromium = subprocess.Popen([next(found), *arguments], stderr=subprocess.DEVNULL)
        try:
            return Desk.drawn.get(timeout=120)
        finally:
            chromium.terminate()
            chromium.wait()
            server.shutdown()


def finish(svg: str) -> str:
    """Give a drawing the page's colours, and leave out what it does not use."""
    svg = re.sub(r"@keyframes [\w-]+\{(?:[^{}]*\{[^{}]*\})*\}", "", svg)
    svg = re.sub(r"#d\w{12} [^{}]*(?:neo|animation|error-icon|error-text)[^{}]*\{[^}]*\}", "", svg)
    for colour, (name, otherwise) in INKS.items():
        red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
        for spelled in (colour, f"rgb({red}, {green}, {blue})", f"rgb({red},{green},{blue})"):
            svg = svg.replace(spelled, f"var(--diagram-{name}, {otherwise})")
    return svg.replace('fill="white"', 'fill="var(--diagram-label, #ffffff)"') + "\n"


def main() -> None:
    """Draw what is missing, remove what is not wanted."""
    texts = wanted()
    DRAWN.mkdir(parents=True, exist_ok=True)
    for old in DRAWN.glob("*.svg"):
        if old.stem not in texts:
            old.unlink()
    missing = {name: text for name, text in texts.items() if not (DRAWN / f"{name}.svg").exists()}
    if not missing:
        print(f"{len(texts)} diagrams, none is missing")
        return
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        named = [f"{name}@{version}" for name, version in PACKAGES.items()]
        npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *named]
        subprocess.run(npm, cwd=directory, check=True, stdout=subprocess.DEVNULL, env=os.environ)
        drawn = draw(missing, directory)
    failed = [f"{name}: {text}" for name, text in drawn.items() if not text.startswith("<svg")]
    if failed:
        sys.exit("\n".join(failed))
    for name, svg in drawn.items():
        (DRAWN / f"{name}.svg").write_text(finish(svg))
    print(f"{len(texts)} diagrams, {len(missing)} drawn now")


if __name__ == "__main__":
    main()

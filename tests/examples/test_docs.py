"""README and docs: every snippet that is not marked otherwise runs as a reader would run it, and every table is true.

A comment before a fence says more: `file: NAME` saves it, `not run: REASON` leaves it out, `rolled back` undoes an SQL
snippet, `output` has the fence compared with what the snippet before it printed (`…` stands for any text).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgflow import Limits, errors
from pgflow._sources import SOURCES
from pgflow.cli.app import COMMANDS
from pgflow.embedded import EmbeddedServer
from tests.support.reference import functions_table, views_table

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.rglob("*.md")), DOCS / "llms.txt"]
EMBEDDED = [README, DOCS / "tutorial.md"]
"""Pages whose reader has no server yet."""
LINKED_PAGES = [
    *PAGES,
    *sorted((ROOT / "examples").glob("*/README.md")),
    *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
]
FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
RUN = {"python", "bash", "sql"}


@dataclass(frozen=True)
class Snippet:
    """One fence of a page."""

    language: str
    text: str
    mark: str
    line: int


def snippets(page: Path) -> list[Snippet]:
    """Return the fences of a page, in order."""
    text = page.read_text()
    return [
        Snippet(
            found["language"], found["text"], found["mark"] or "", text[: found.start()].count("\n")
        )
        for found in FENCE.finditer(text)
    ]


class Reader:
    """Does what a page says, in a directory and a database of its own."""

    def __init__(self, directory: Path, dsn: str, environment: dict[str, str]) -> None:
        self.directory = directory
        self.dsn = dsn
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "COLUMNS": "120", **environment}
        self.printed = ""

    def take(self, snippet: Snippet) -> None:
        """Run, save or compare a snippet."""
        match snippet.language, snippet.mark.partition(":"):
            case _, ("not run", _, reason):
                assert reason.strip()
            case _, ("file", _, name):
                (self.directory / name.strip()).write_text(snippet.text)
            case _, ("output", _, _):
                assert_printed(snippet.text, self.printed)
            case "python", ("", _, _):
                (self.directory / "snippet.py").write_text(snippet.text)
                self.run([sys.executable, "snippet.py"])
            case "bash", ("", _, _):
                self.run(["bash", "-euo", "pipefail", "-c", snippet.text])
            case "sql", (mark, _, _) if mark in {"", "rolled back"}:
                self.query(snippet.text, keep=not mark)
            case language, (mark, _, _):
                assert language not in RUN, f"unknown mark: {mark}"
                assert mark in {"", "states"}, f"a mark before a fence that is never run: {mark}"

    def run(self, command: list[str]) -> None:
        """Run a command; it has to succeed without a traceback."""
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        self.printed = done.stdout

    def query(self, text: str, *, keep: bool) -> None:
        """Run SQL in one transaction."""
        with psycopg.connect(self.dsn) as connection:
            cursor = connection.execute(text.encode())
            self.printed = ""
            while True:
                if cursor.description is not None:
                    rows = cursor.fetchall()
                    self.printed = "\n".join(" | ".join(map(str, row)) for row in rows)
                if not cursor.nextset():
                    break
            if not keep:
                connection.rollback()


def assert_printed(expected: str, printed: str) -> None:
    """Compare line by line; `…` stands for any text in a line, and alone for any lines."""
    pattern = "".join(
        "(?:.*\n)*"
        if line.strip() == "…"
        else re.escape(line.rstrip()).replace("…", ".*") + "[ ]*\n"
        for line in expected.rstrip().splitlines()
    )
    assert re.fullmatch(pattern, printed.rstrip() + "\n"), printed


def read_through(page: Path, reader: Reader) -> None:
    for snippet in snippets(page):
        try:
            reader.take(snippet)
        except AssertionError as error:
            raise AssertionError(f"{name(page)}, line {snippet.line + 1}: {error}") from error


@pytest.fixture
def directory() -> Iterator[Path]:
    """Give a directory with a short path, for the sake of a server's socket in it."""
    made = Path(tempfile.mkdtemp(prefix="pgflow-docs-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def name(page: Path) -> str:
    """Name a page in the tests' ids."""
    return page.relative_to(ROOT).as_posix()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", EMBEDDED, ids=name)
def test_a_page_works_on_the_embedded_server(
    page: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGFLOW_DSN", raising=False)
    with EmbeddedServer.ensure(directory / ".pgflow" / "postgres") as server:
        read_through(page, Reader(directory, server.dsn, {}))


@pytest.mark.parametrize(
    "page",
    [
        page
        for page in PAGES
        if page not in EMBEDDED and any(snippet.language in RUN for snippet in snippets(page))
    ],
    ids=name,
)
def test_a_page_works(page: Path, directory: Path, request: pytest.FixtureRequest) -> None:
    is_examined = "pgflow doctor" in page.read_text(encoding="utf-8")
    database_url = request.getfixturevalue(
        "durable_database_url" if is_examined else "database_url"
    )
    read_through(page, Reader(directory, database_url, {"PGFLOW_DSN": database_url}))


@pytest.mark.parametrize("page", LINKED_PAGES, ids=name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    prose = re.sub(r"`[^`\n]+`", "", text)
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)[^)]*\)", prose)
    paths = re.findall(r"`((?:src|tests|docs|examples|tools)/[\w./-]+)`", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [path for path in paths if not (ROOT / path).exists()]
    assert missing == []


def excerpts(page: Path) -> list[tuple[str, str]]:
    """Return the file that each excerpt of a page is said to be of, and the excerpt."""
    return [
        (snippet.mark.rpartition(" ")[2], snippet.text)
        for snippet in snippets(page)
        if snippet.mark.startswith("not run: an excerpt of ")
    ]


@pytest.mark.parametrize("page", [page for page in PAGES if excerpts(page)], ids=name)
def test_an_excerpt_stands_in_its_file(page: Path) -> None:
    """Each of its blocks does; blank lines and `...` stand for what is left out, and lines may break elsewhere."""
    for place, text in excerpts(page):
        source = "".join((ROOT / place).read_text().split())
        blocks = re.split(r"\n\s*(?:\.\.\.|…)?\s*\n", text)
        missing = [block for block in blocks if "".join(block.split()) not in source]
        assert missing == [], place


def table_of(page: Path, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading."""
    section = page.read_text().partition(f"{heading}\n")[2]
    table = re.search(r"^\|.*?(?:\n\n|\Z)", section, re.MULTILINE | re.DOTALL)
    assert table, heading
    rows = [line.strip("|").split("|") for line in table[0].strip().splitlines()]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_the_readme_lists_the_commands() -> None:
    expected = [[f"`pgflow {name}`", line] for name, (_, line) in COMMANDS.items()]
    assert table_of(README, "## Commands") == expected


def kinds(kind: type[errors.PgflowError]) -> Iterator[type[errors.PgflowError]]:
    for child in kind.__subclasses__():
        yield child
        yield from kinds(child)


def test_the_errors_are_all_explained() -> None:
    own = {kind for kind in kinds(errors.PgflowError) if "default_code" in vars(kind)}
    expected = {
        (kind.default_code, kind.__name__) for kind in own if kind.__module__ == "pgflow.errors"
    }
    rows = table_of(DOCS / "errors.md", "## Codes")
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    found = {(code.strip("`"), name.strip("`")) for code, name, *_ in rows}
    assert found == expected | {("PGF000", "PgflowError")}


def test_what_the_sql_raises_is_explained() -> None:
    section = (DOCS / "errors.md").read_text().partition("## Errors of the SQL functions")[2]
    cells = re.findall(r"^\| (`.+?`) \|", section.partition("A run can also fail")[0], re.MULTILINE)
    told = [text for cell in cells for text in re.findall(r"`([^`]+)`", cell)]
    forms = [re.compile(re.escape(text).replace("…", ".+")) for text in told if " " in text]
    source = "".join(function.text for function in SOURCES.functions)
    raised = {
        found.replace("''", "'").replace("%", "…")
        for found in re.findall(r"raise exception\s+'((?:[^']|'')+)'", source)
    }
    assert len(raised) == len(re.findall(r"raise exception", source))
    assert [
        text for text in sorted(raised) if not any(form.fullmatch(text) for form in forms)
    ] == []
    stale = [form.pattern for form in forms if not any(map(form.fullmatch, raised))]
    assert stale == []
    for code in set(re.findall(r"\[[A-Z_]{5,}\]", source)):
        assert f"`{code} " in section


def test_the_limits_are_those_of_the_code() -> None:
    units = {"": 1, "KiB": 1024, "MiB": 1024**2}
    found: dict[str, int | None] = {}
    for names, value in table_of(DOCS / "guarding.md", "## Limits: what a definition may ask for"):
        number, _, unit = value.replace(",", "").partition(" ")
        amount = None if number == "none" else int(number) * units[unit]
        found |= dict.fromkeys(re.findall(r"`(\w+)`", names), amount)
    assert found == asdict(Limits())


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_extras_are_all_listed() -> None:
    listed = [row[0].strip("`") for row in table_of(DOCS / "settings.md", "## Extras")]
    assert sorted(listed) == sorted(project()["project"]["optional-dependencies"])


def test_the_layers_are_those_that_are_checked() -> None:
    (contract,) = project()["tool"]["importlinter"]["contracts"]
    checked = [
        sorted(name for name in re.findall(r"(?<!\()\b[a-z]\w*", layer) if not name.startswith("_"))
        for layer in contract["layers"]
    ]
    shown = [
        sorted(name for name in re.findall(r"`(\w+)/?`", row[1]) if not name.startswith("_"))
        for row in table_of(DOCS / "architecture.md", "## Layers")
    ]
    assert shown == [names for names in checked if names]


def test_the_sql_reference_is_that_of_the_catalogue(connection: psycopg.Connection[Any]) -> None:
    text = (DOCS / "sql.md").read_text()
    for name, table in (
        ("functions", functions_table(connection)),
        ("views", views_table(connection)),
    ):
        shown = text.partition(f"<!-- {name}: generated -->\n")[2].partition("\n<!-- end -->")[0]
        assert shown == table, f"{name}: python -m tests.support.reference writes them anew"

"""What commands share: their options, the way to the database, the reading of arguments."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from pgflow.errors import DecodingError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from uuid import UUID

    from pgflow.database import Database
    from pgflow.flow import Flow

T = TypeVar("T")

EXCERPT = 70
VALUE_CODEC = "PGFLOW_VALUE_CODEC"
INPUT_HINT = (
    "Quote it for the shell, as in --input '{\"campaign_id\": 123}',"
    " or name a file: --input @input.json"
)

Dsn = Annotated[
    str | None,
    typer.Option(
        "--dsn",
        envvar="PGFLOW_DSN",
        show_default="a private server of this project",
        help="Address of the database.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")]
LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR"],
    typer.Option(help="What is logged to standard error."),
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="Lines at most.")]


def complete(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a command's asynchronous part."""
    return asyncio.run(coroutine)


@asynccontextmanager
async def open_database(dsn: str | None) -> AsyncIterator[Database]:
    """Connect to the given database, else to the project's embedded server, started if need be.

    The schema of the embedded one is kept up to date; that of another is its owner's affair. PGFLOW_VALUE_CODEC names
    the codec of sealed values, as `module:attribute`.
    """
    from pgflow._vault import load_value_codec  # noqa: PLC0415 - as below
    from pgflow.database import Database  # noqa: PLC0415 - psycopg takes longer than `pgflow --help`
    from pgflow.embedded import resolve_dsn  # noqa: PLC0415

    address = resolve_dsn(dsn)
    if dsn is None:
        from pgflow.schema import install  # noqa: PLC0415

        await asyncio.to_thread(install, address)
    codec = load_value_codec(os.environ.get(VALUE_CODEC))
    async with Database.connect(address, value_codec=codec) as database:
        yield database


def one_flow(target: str) -> Flow[Any]:
    """Import the flow that `module:flow` or `file.py:flow` names."""
    from pgflow.worker import load_flows  # noqa: PLC0415 - as above

    flows = load_flows(target)
    if len(flows) != 1:
        slugs = ", ".join(flow.slug for flow in flows) or "none"
        raise UsageError(
            f"{target} names {len(flows)} flows: {slugs}", hint="Name one: module:flow"
        )
    return flows[0]


def parse_run_id(text: str) -> UUID:
    """Read a run's id."""
    from uuid import UUID  # noqa: PLC0415 - some commands only

    try:
        return UUID(text)
    except ValueError:
        message = f"{text!r} is not the id of a run"
        raise UsageError(
            message, hint="An id has 32 hexadecimal digits. See what there is: pgflow runs"
        ) from None


def parse_input(text: str) -> Any:
    """Read the JSON given to --input: the text itself, `@file`, or `-` for standard input."""
    from pgflow.codec import parse_json  # noqa: PLC0415 - as above

    source, document = "--input", text
    if text == "-":
        source, document = "standard input", sys.stdin.read()
    elif text.startswith("@"):
        source, document = text[1:], _read(text[1:])
    try:
        return parse_json(document)
    except DecodingError as error:
        raise UsageError(
            f"{source}: {error.message}{_place(document, error.__cause__)}", hint=INPUT_HINT
        ) from None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the input from {path}: {error}") from None


def _place(document: str, cause: BaseException | None) -> str:
    """Show the line of a mistake, or a part of it if it is long, with a mark below the place."""
    place = (getattr(cause, "lineno", None), getattr(cause, "colno", None))
    match place:
        case (int(line), int(column)):
            lines = document.splitlines() or [""]
            start = max(0, column - EXCERPT // 2)
            excerpt = lines[min(line, len(lines)) - 1][start : start + EXCERPT]
            return f"\n    {excerpt}\n    {' ' * (column - 1 - start)}^"
        case _:
            return ""

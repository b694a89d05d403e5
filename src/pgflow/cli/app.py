"""The table of commands, and what becomes of an error: one message and exit code 2, not a traceback."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, NoReturn

import typer

from pgflow.errors import PgflowError, UsageError

USAGE = 2
INTERRUPTED = 130
"""What a shell reports for a command ended by SIGINT."""

COMMANDS = {
    "demo": ("demo", "Run the email campaign: 1,000 messages, two workers, one of them killed."),
    "new": ("new", "Make a starter project: a flow, its test, its settings."),
    "dev": ("dev", "Work on flows while they are written: reload at changes, show the runs."),
    "init": ("schema", "Install the schema, or upgrade it."),
    "sql": ("schema", "Print the schema as plain SQL, for other migration tools."),
    "worker": ("worker", "Perform the tasks of flows until stopped."),
    "run": ("run", "Start a run and follow it; the exit code is its outcome."),
    "runs": ("runs", "List the runs, the latest first."),
    "show": ("show", "Show a run: its steps, tasks, attempts and errors."),
    "cancel": ("lifecycle", "Cancel a run: what is queued never starts."),
    "retry": ("lifecycle", "Retry what failed in a run."),
    "prune": ("prune", "Delete runs that ended long ago."),
    "flows": ("flows", "List the flows, or show one."),
    "doctor": (
        "doctor",
        "Examine server, schema, workers and runs; name the mend of each finding.",
    ),
}
"""Name -> module of this package, line of help. The module has a function of the command's name."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    try:
        _refuse_undecodable(given)
        build(given)(args=given, prog_name="pgflow")
    except PgflowError as error:
        if debug:
            raise
        _complain(error)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader has left (`pgflow runs | head`); the interpreter must not flush into the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if debug:
            raise
        text = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        _complain(
            PgflowError(text, hint="This is a bug of pgflow. The command with --debug shows where.")
        )
    sys.exit(0)


def _refuse_undecodable(arguments: Sequence[str]) -> None:
    """Raise UsageError for an argument that is no text in the terminal's encoding: nothing could be done with it."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"not text in UTF-8: {argument!a}") from error


def _complain(error: PgflowError) -> NoReturn:
    from pgflow.live.text import printable  # noqa: PLC0415 - errors only

    sys.stderr.write(f"pgflow: {printable(str(error))}\n")
    sys.exit(USAGE)


def build(arguments: Sequence[str]) -> typer.Typer:
    """Return the application, in which only the command that the arguments call is more than a name.

    Importing and inspecting all commands would double the time of `pgflow --help`.
    """
    # Without rich's markup: its import alone would take as long as all of the help.
    app = typer.Typer(
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        no_args_is_help=True,
        help="Workflows that live in PostgreSQL.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    called = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, (module, help_line) in COMMANDS.items():
        command = _placeholder
        if name == called:
            command = getattr(import_module(f"pgflow.cli.{module}"), name)
        app.command(name, short_help=help_line)(command)
    return app


def _placeholder() -> None:
    """Stand for a command that is not called."""


def _print_version(value: bool) -> None:
    if value:
        from pgflow import __version__  # noqa: PLC0415 - as with every command

        typer.echo(__version__)
        raise typer.Exit


def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    _debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; anywhere on the command line.")
    ] = False,
) -> None:
    """Workflows that live in PostgreSQL."""

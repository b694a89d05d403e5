import subprocess
import sys
from importlib import import_module

import pytest

import pgflow

HEAVY = ("psycopg", "pydantic", "rich", "typer", "starlette", "orjson")


def loaded_after(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter holds after a statement."""
    code = f"import sys\n{statement}\nprint(*sys.modules, sep=chr(10))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_every_public_name_loads() -> None:
    for name in pgflow.__all__:
        assert getattr(pgflow, name) is not None, name


def test_the_lists_of_names_agree() -> None:
    assert sorted(pgflow.__all__) == sorted([*pgflow._HOME_OF, "__version__"])
    assert dir(pgflow) == sorted(pgflow.__all__)


def test_names_are_those_of_their_modules() -> None:
    for name, home in pgflow._HOME_OF.items():
        assert getattr(pgflow, name) is getattr(import_module(f"pgflow.{home}"), name)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'nonsense'"):
        getattr(pgflow, "non" + "sense")


@pytest.mark.parametrize(
    "statement",
    [
        "import pgflow",
        "from pgflow import Flow, at_most, RunFailed, RunStatus",
        "import pgflow.flow, pgflow.records, pgflow.errors",
    ],
)
def test_authoring_loads_nothing_heavy(statement: str) -> None:
    heavy = {name for name in loaded_after(statement) if name.partition(".")[0] in HEAVY}
    assert not heavy


@pytest.mark.parametrize(
    "statement",
    ["import pgflow.execute", "from pgflow.execute import Result", "from pgflow import Result"],
)
def test_execute_is_the_function_even_after_its_module_was_imported(statement: str) -> None:
    loaded_after(f"{statement}\nfrom pgflow import execute\nassert callable(execute)")

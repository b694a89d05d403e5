"""load_flows: targets name flows; a wrong one says what is wrong with it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from pgflow._targets import places_of
from pgflow.errors import DefinitionError, UsageError
from pgflow.worker import load_flows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = """
from pgflow import Flow
campaign = Flow("email_campaign")
other = Flow("other")
number = 1
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "targets_under_test.py"
    path.write_text(SOURCE)
    (tmp_path / "empty_target.py").write_text("")
    (tmp_path / "broken_target.py").write_text("import no_such_module_at_all")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield path
    for name in set(sys.modules) - before:
        if name.startswith(("targets_under", "empty_t", "broken_t")):
            del sys.modules[name]


def slugs(target: str) -> list[str]:
    return [flow.slug for flow in load_flows(target)]


def test_module_and_name(module: Path) -> None:
    assert slugs("targets_under_test:campaign") == ["email_campaign"]


def test_module_and_slug(module: Path) -> None:
    assert slugs("targets_under_test:email_campaign") == ["email_campaign"]


def test_module_alone_gives_all_its_flows(module: Path) -> None:
    assert slugs("targets_under_test") == ["email_campaign", "other"]


def test_file_and_name(module: Path) -> None:
    assert slugs(f"{module}:other") == ["other"]


def test_file_is_loaded_once_and_under_its_plain_name(module: Path) -> None:
    first = load_flows(f"{module}:other")[0]
    assert load_flows(f"{module}:other")[0] is first
    assert load_flows("targets_under_test:other")[0] is first


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("targets_under_test:campain", "did you mean 'campaign'?"),
        ("targets_under_test:campain", "Flows there: campaign, other"),
        ("targets_under_test:number", "'number' is not a flow"),
        ("no_such_place:flow", "there is no module 'no_such_place'"),
        ("no/such/file.py:flow", "there is no file no/such/file.py"),
        ("empty_target", "defines no flow"),
        ("broken_target:flow", "No module named 'no_such_module_at_all'"),
        (":flow", "names no module"),
    ],
)
def test_wrong_targets_are_explained(module: Path, target: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_flows(target)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        (
            "a = 1\ndef f(:\n    pass\n",
            ["SyntaxError: invalid syntax", "wrong_target.py:2", "  def f(:", "        ^"],
        ),
        (
            "a = 1\n\nb = 1 / 0\n",
            ["ZeroDivisionError: division by", "wrong_target.py:3", "  b = 1"],
        ),
        (
            "import json\njson.loads('x')\n",
            ["JSONDecodeError", "wrong_target.py:2", "  json.loads"],
        ),
        (
            "from pgflow import execute, Flow\nexecute(Flow('x'), concurrency=0)\n",
            ["", "wrong_target.py:2", "  execute("],
        ),
        (
            "import argparse\nargparse.ArgumentParser(exit_on_error=False).exit(2)\n",
            ["SystemExit: 2", "wrong_target.py:2", "  argparse."],
        ),
    ],
)
def test_a_mistake_is_shown_with_the_users_own_line(
    source: str, lines: list[str], module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(module.parent)
    (module.parent / "wrong_target.py").write_text(source)
    with pytest.raises(UsageError) as caught:
        load_flows("wrong_target.py")
    shown = caught.value.message.split("\n    ")
    assert shown[0].startswith("running wrong_target.py failed: ")
    assert len(shown) == len(lines)
    for line, part in zip(shown, lines, strict=True):
        assert part in line


def test_a_mistake_in_another_file_is_shown_there(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(module.parent)
    (module.parent / "broken_target.py").write_text("x = 1\nx.y\n")
    (module.parent / "targets_under_test_2.py").write_text("import broken_target\n")
    with pytest.raises(UsageError) as caught:
        load_flows("targets_under_test_2")
    assert "\n    broken_target.py:2\n      x.y" in str(caught.value)


def test_the_steps_of_a_definition_error_have_places(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(module.parent)
    module.write_text(
        "from pgflow import Flow\nflow = Flow('wrong')\n"
        "@flow.step()\ndef first(value: int) -> int: ...\n"
        "@flow.step(depends_on=(first, first))\ndef second(value: int) -> int: ...\n"
    )
    flows = load_flows("targets_under_test")
    with pytest.raises(DefinitionError) as caught:
        flows[0].validate()
    assert places_of(caught.value, flows) == ["targets_under_test.py:5: step 'second'"]

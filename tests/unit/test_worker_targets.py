"""load_flows: targets name flows; a wrong one says what is wrong with it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from pgflow.errors import UsageError
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

"""The list of mutants: each can be planted, and says what it plants. `make mutants` shows which test notices it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tools.mutants import ROOT, Mutant, Verdict, load, table

MUTANTS = [pytest.param(mutant, id=mutant.name) for mutant in load()]
SQL = ROOT / "src" / "pgflow" / "sql"


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_can_be_planted(mutant: Mutant) -> None:
    text = (SQL / mutant.file).read_text(encoding="utf-8")
    assert mutant.apply(text) != text


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_says_what_it_plants_and_where_to_look(mutant: Mutant) -> None:
    assert mutant.reason.endswith(".")
    assert mutant.tests
    assert [path for path in mutant.tests if not Path(ROOT, path).is_file()] == []


def test_there_are_enough_mutants_with_names_of_their_own() -> None:
    names = [mutant.name for mutant in load()]
    assert len(set(names)) == len(names) >= 36


MUTANT = Mutant("m", "f.sql", "a = b", "a = c", "A reason.", ("tests/sql",))


@pytest.mark.parametrize("text", ["select 1", "a = b and a = b"])
def test_a_text_that_is_not_there_once_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="mutant m"):
        MUTANT.apply(text)


def test_one_of_several_occurrences_can_be_meant() -> None:
    assert replace(MUTANT, occurrence=2).apply("a = b; a = b; a = b") == "a = b; a = c; a = b"
    with pytest.raises(ValueError, match="occurrence 4"):
        replace(MUTANT, occurrence=4).apply("a = b; a = b; a = b")


@pytest.mark.parametrize(
    "output", ['syntax error at or near "where"', "E   psycopg.errors.UndefinedColumn: column x"]
)
def test_a_mutant_that_is_no_sql_is_not_killed(output: str) -> None:
    broken = Verdict(MUTANT, "tests/sql/test_x.py::test", 1.0, output)
    assert (broken.word, broken.is_good) == ("broken", False)


def test_an_error_that_a_test_expects_breaks_no_mutant() -> None:
    output = "E   assert False = isinstance(None, <class 'psycopg.errors.UndefinedTable'>)"
    assert Verdict(MUTANT, "tests/sql/test_x.py::test", 1.0, output).word == "killed"


def test_a_test_that_failed_by_chance_has_killed_nothing() -> None:
    verdict = Verdict(MUTANT, "tests/races/test_x.py::test", 1.0, is_steady=False)
    assert (verdict.word, verdict.is_good) == ("unsteady", False)


def test_a_survivor_is_good_only_with_an_explanation() -> None:
    explained = replace(MUTANT, equivalent="No test can notice it.")
    assert not Verdict(MUTANT, None, 1.0).is_good
    assert Verdict(explained, None, 1.0).is_good
    assert not Verdict(explained, "tests/sql/test_x.py::test", 1.0).is_good


def test_the_table_names_the_test_that_noticed() -> None:
    line = table([Verdict(MUTANT, "tests/sql/test_x.py::test[a|b]", 2.4)]).splitlines()[-1]
    assert (
        line
        == "| [`m`](../src/pgflow/sql/f.sql) | A reason. | `sql/test_x.py::test[a\\|b]` | 2 s |"
    )

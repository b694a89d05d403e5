"""Redaction by path, in plain Python: values, and texts that quote them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from pgflow import DefinitionError, Flow
from pgflow._redaction import REDACTED, Redaction
from pgflow.records import RawJson

CARD = {"number": "4111 1111", "year": 2030}


@pytest.mark.parametrize(
    ("paths", "value", "expected"),
    [
        (["card.number"], {"card": CARD}, {"card": {"number": REDACTED, "year": 2030}}),
        (["card"], {"card": CARD, "id": 1}, {"card": REDACTED, "id": 1}),
        (["card.*"], {"card": CARD}, {"card": {"number": REDACTED, "year": REDACTED}}),
        (["number"], CARD, {"number": REDACTED, "year": 2030}),
        (["card.number"], {"number": "7"}, {"number": "7"}),
        (["items.*.token"], {"items": [{"token": "t", "n": 1}]}, {"items": [{"token": REDACTED, "n": 1}]}),
        (["items.*.token"], {"items": {"a": {"token": "t"}}}, {"items": {"a": {"token": REDACTED}}}),
        (["items.token"], {"items": [{"token": "t"}]}, {"items": [{"token": "t"}]}),
        (["items.*"], {"items": ["a", "b"]}, {"items": [REDACTED, REDACTED]}),
        # However a value is wrapped on its way: by its step, in a list, below another key.
        (["card.number"], {"fetch": [{"card": CARD}]}, {"fetch": [{"card": {"number": REDACTED, "year": 2030}}]}),
        (["*.password"], {"ada": {"password": "p"}}, {"ada": {"password": REDACTED}}),
        (["*.password"], {"password": "p"}, {"password": REDACTED}),
        (["*"], {"a": 1}, REDACTED),
        (["*"], "text", REDACTED),
        (["a.b"], {"a.b": 1, "a": 2}, {"a.b": REDACTED, "a": 2}),
        (["a"], None, None),
        (["a.a"], {"a": {"a": {"a": 1}}}, {"a": {"a": REDACTED}}),
    ],
)  # fmt: skip
def test_a_path_hides_what_it_leads_to(paths: list[str], value: Any, expected: Any) -> None:
    assert Redaction(paths).value(value) == expected


def test_json_is_hidden_by_the_name_of_its_step_too() -> None:
    redaction = Redaction(["get_token"])
    assert redaction.json(RawJson(b'"t"'), "get_token").parse() == REDACTED
    assert redaction.json(RawJson(b'"t"'), "other").parse() == "t"


def test_no_paths_are_no_redaction() -> None:
    assert Redaction.of((), None, []) is None
    both = Redaction.of(["a"], None, ["b", "a"])
    assert both is not None
    assert both.paths == ("a", "b")


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ("4111 1111", "no such card: 4111 1111"),
        ("4111 1111", "no such card: '4111 1111'!"),
        ('say "hi"\n', repr({"card": 'say "hi"\n'})),
        ('say "hi"\n', 'got "say \\"hi\\"\\n"'),
        ("naïve €", '"na\\u00efve \\u20ac"'),
        (4111, "KeyError: 4111"),
        (12.5, "amount 12.5"),
        (7, "pin 7 is wrong"),
        ({"inner": ["deep-secret"]}, "deep-secret"),
        ({"key-secret": 1}, "KeyError('key-secret')"),
    ],
)
def test_a_text_that_quotes_a_value_loses_it(secret: Any, message: str) -> None:
    secrets = Redaction(["card"]).secrets([{"card": secret}])
    scrubbed = secrets.scrub(message)
    assert REDACTED in scrubbed
    leaves = [secret] if not isinstance(secret, dict) else ["deep-secret", "key-secret"]
    for leaf in leaves:
        assert str(leaf) not in scrubbed.replace(REDACTED, "")


def test_short_values_go_as_whole_words_only() -> None:
    scrub = Redaction(["pin"]).secrets([{"pin": 7, "flag": True}]).scrub
    assert scrub("attempt 17 of 7") == f"attempt 17 of {REDACTED}"


def test_true_false_null_and_empty_texts_are_not_searched() -> None:
    scrub = Redaction(["a"]).secrets([{"a": [True, False, None, ""]}]).scrub
    assert scrub("True None is") == "True None is"


class Payment(BaseModel):
    card: str
    amount: int


def test_what_pydantic_quotes_goes_even_when_it_is_cut() -> None:
    long = "4111" * 40
    with pytest.raises(ValidationError) as caught:
        Payment.model_validate({"card": [long], "amount": long})
    text = Redaction(["nowhere"]).secrets([]).scrub(str(caught.value))
    assert "4111" not in text
    assert "valid string" in text


def test_python_values_are_searched_like_json() -> None:
    secrets = Redaction(["card"]).secrets([Payment(card="4111 1111", amount=1), object()])
    assert secrets.scrub("4111 1111 and 1") == f"{REDACTED} and 1"


@pytest.mark.parametrize(
    ("redact", "problem"),
    [
        ("card.number", "must be a list of paths"),
        ((5,), "redact has 5, which is no path"),
        (("a..b",), "redact has 'a..b', which is no path"),
        (("",), "redact has '', which is no path"),
        (("a*",), "is no path"),
        (("a\n",), "is no path"),
        (("x" * 501,), "is no path"),
        ([".".join("a" * 33)], "is no path"),
        (["a"] * 101, "redact has 101 paths, at most 100"),
    ],
)
def test_bad_paths_are_problems_of_the_definition(redact: Any, problem: str) -> None:
    flow: Flow[Any] = Flow("f", redact=redact)
    flow.step(name="a")(lambda _: None)
    with pytest.raises(DefinitionError) as caught:
        flow.definition()
    assert len(caught.value.problems) == 1
    assert problem in str(caught.value)


def test_paths_are_part_of_the_definition_and_no_part_of_the_shape() -> None:
    def flow(**options: Any) -> Flow[Any]:
        made: Flow[Any] = Flow("f", **options)
        made.step(name="a")(lambda _: None)
        return made

    assert flow(redact=["a", "b.*"]).definition()["options"]["redact"] == ["a", "b.*"]
    assert "redact" not in flow().definition()["options"]
    assert flow(redact=["a"]).shape_hash() == flow().shape_hash()

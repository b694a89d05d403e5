"""Plan.check: every problem of a plan at once, each with its place, its code and what mends it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from pgflow import PlanInvalid
from pgflow.plan import PLAN_LIMITS, Handlers, Plan, PlanProblem
from tests.support.plan_handlers import handlers
from tests.support.plan_mends import mended

FETCH: dict[str, Any] = {"slug": "fetch", "handler": "sales", "params": {"year": 2025}}
SUMS: dict[str, Any] = {"slug": "sums", "handler": "summarize", "inputs": {"rows": "fetch"}}
DOUBLED: dict[str, Any] = {
    "slug": "doubled",
    "handler": "double",
    "over": "fetch",
    "inputs": {"sale": "item"},
}


def plan(*steps: Any, **fields: Any) -> dict[str, Any]:
    return {"slug": "p", "steps": list(steps), **fields}


def found(source: Any, **options: Any) -> list[tuple[str, str]]:
    """Return pointers and codes."""
    problems = Plan.check(source, handlers, **options)
    return [(problem.pointer, problem.code) for problem in problems]


def only(source: Any, **options: Any) -> PlanProblem:
    (problem,) = Plan.check(source, handlers, **options)
    return problem


def step(**fields: Any) -> dict[str, Any]:
    return {"slug": "x", "handler": "whatever", **fields}


def test_a_good_plan_has_no_problems() -> None:
    assert found(plan(FETCH, DOUBLED, SUMS | {"inputs": {"rows": "doubled"}})) == []


@pytest.mark.parametrize(
    ("source", "pointer", "code", "mend"),
    [
        ("", "", "not-json", "one JSON object"),
        ("```json\n{}\n```", "", "not-json", "nothing around it"),
        ('{"slug": "p", "slug": "q"}', "", "not-json", "one JSON object"),
        ("[" * 5000, "", "not-json", "one JSON object"),
        (b"\xff", "", "not-json", "one JSON object"),
        ({"slug": {1, 2}, "steps": object()}, "", "not-json", "one JSON object"),
        ("[1]", "", "wrong-type", "A plan looks like"),
        (plan(FETCH, stepz=[]), "/stepz", "unknown-field", "Leave it out"),
        ({"steps": [FETCH]}, "/slug", "missing-field", "Add 'slug'"),
        ({"slug": "p", "steps": []}, "/steps", "no-steps", "A plan looks like"),
        (plan(FETCH | {"slug": 5}), "/steps/0/slug", "wrong-type", "string"),
        (plan(FETCH, "x"), "/steps/1", "wrong-type", "an object"),
        (plan(FETCH | {"timeout": "9"}), "/steps/0/timeout", "wrong-type", "integer"),
        (plan(FETCH | {"timeout": 0}), "/steps/0/timeout", "out-of-range", "greater than"),
        (plan(FETCH | {"timeout": True}), "/steps/0/timeout", "wrong-type", "integer"),
        (plan(FETCH, slug="my plan"), "/slug", "bad-slug", "Write 'my_plan'"),
        (plan(FETCH | {"slug": "9 lives"}), "/steps/0/slug", "bad-slug", "Write '_9_lives'"),
        (plan(FETCH | {"slug": "run"}), "/steps/0/slug", "bad-slug", "Write 'run_step'"),
        (plan(FETCH | {"slug": "item"}), "/steps/0/slug", "bad-slug", "Write 'item_step'"),
        (plan(FETCH, FETCH), "/steps/1/slug", "duplicate-step", "'fetch_2'"),
        (plan(FETCH | {"handler": "slaes"}), "/steps/0/handler", "unknown-handler", "'sales'"),
        (plan(FETCH | {"handler": "zzz"}), "/steps/0/handler", "unknown-handler", "'sales'"),
        (
            plan(FETCH | {"handler": "os.system"}),
            "/steps/0/handler",
            "unknown-handler",
            "one of 'sales'",
        ),
        (
            plan(FETCH, step(depends_on=["fetsh"])),
            "/steps/1/depends_on/0",
            "unknown-step",
            "Write 'fetch'",
        ),
        (
            plan(FETCH, step(depends_on=["fetch", "zzz"])),
            "/steps/1/depends_on/1",
            "unknown-step",
            "Take it out",
        ),
        (
            plan(FETCH, step(inputs={"value": "fetsh.0.total"})),
            "/steps/1/inputs/value",
            "unknown-step",
            "Write 'fetch.0.total'",
        ),
        (plan(step(depends_on=["run"])), "/steps/0/depends_on/0", "unknown-step", "Take it out"),
        (plan(step(depends_on=["x"])), "/steps/0/depends_on/0", "self-dependency", "Take it out"),
        (plan(step(inputs={"value": "x"})), "/steps/0/inputs/value", "self-dependency", "Name"),
        (
            plan(FETCH, step(depends_on=["fetch", "fetch"])),
            "/steps/1/depends_on/1",
            "duplicate-dependency",
            "once",
        ),
        (
            plan(step(depends_on=["y"]), step(slug="y", depends_on=["x"])),
            "/steps/0/depends_on/0",
            "cycle",
            "Take 'y' out of depends_on of step 'x'",
        ),
        (
            plan(FETCH, SUMS, DOUBLED | {"over": "sums"}),
            "/steps/2/over",
            "not-an-array",
            "Go over a step that returns an array: 'fetch'",
        ),
        (
            plan(FETCH, DOUBLED | {"inputs": {"sale": "item", "factor": "sums.total"}}, SUMS),
            "/steps/1/inputs/factor",
            "map-input",
            "take `over` away",
        ),
        (
            plan(FETCH, SUMS, DOUBLED | {"depends_on": ["sums"]}),
            "/steps/2/depends_on/0",
            "map-dependency",
            "Let 'fetch' depend on it",
        ),
        (
            plan(FETCH, step(over="fetch")),
            "/steps/1/inputs",
            "item-unused",
            "Bind a parameter to 'item'",
        ),
        (
            plan(FETCH, step(inputs={"value": "item"})),
            "/steps/1/inputs/value",
            "item-outside-map",
            "Add `over`",
        ),
        (
            plan(FETCH | {"max_failed_percent": 5}),
            "/steps/0/max_failed_percent",
            "maps-only",
            "Leave it out",
        ),
        (plan(step(inputs={"value": "$.a"})), "/steps/0/inputs/value", "bad-source", "slug"),
        (
            plan(step(params={"valu": 1})),
            "/steps/0/params/valu",
            "unknown-parameter",
            "Call it 'value'",
        ),
        (
            plan(step(params={"zzz": 1})),
            "/steps/0/params/zzz",
            "unknown-parameter",
            "it has 'value'",
        ),
        (
            plan(step(params={"value": 1}, inputs={"value": "run"})),
            "/steps/0/params/value",
            "bound-twice",
            "Leave one",
        ),
        (
            plan(FETCH, SUMS | {"inputs": {}}),
            "/steps/1/inputs/rows",
            "unbound-parameter",
            "Bind it in inputs to 'fetch'",
        ),
        (
            plan(FETCH, DOUBLED | {"inputs": {}}),
            "/steps/1/inputs/sale",
            "unbound-parameter",
            "to 'item'",
        ),
        (
            plan(FETCH | {"params": {"year": "soon"}}),
            "/steps/0/params/year",
            "bad-value",
            "integer",
        ),
        (
            plan(FETCH | {"params": {"year": 2025, "region": "nort"}}),
            "/steps/0/params/region",
            "bad-value",
            "Write 'north'",
        ),
        (
            plan(SUMS | {"inputs": {}, "params": {"rows": [{"month": "x", "total": "y"}]}}),
            "/steps/0/params/rows/0/total",
            "bad-value",
            "array of object (month, total)",
        ),
        (
            plan(FETCH, SUMS, SUMS | {"slug": "again", "inputs": {"rows": "sums"}}),
            "/steps/2/inputs/rows",
            "type-mismatch",
            "'fetch'",
        ),
        (
            plan(FETCH, SUMS, step(inputs={"value": "sums.totl"})),
            "/steps/2/inputs/value",
            "no-such-field",
            "Write 'sums.total'",
        ),
        (
            plan(FETCH, step(inputs={"value": "fetch.total"})),
            "/steps/1/inputs/value",
            "no-such-field",
            "Take the path away",
        ),
        (
            plan(FETCH | {"max_attempts": 21}),
            "/steps/0/max_attempts",
            "limit",
            "Write at most 20",
        ),
    ],
)
def test_a_problem_is_told_with_its_place_and_mend(
    source: Any, pointer: str, code: str, mend: str
) -> None:
    problem = only(source)
    assert (problem.pointer, problem.code) == (pointer, code)
    assert mend in problem.mend
    assert problem.reason
    assert not problem.reason.endswith((".", "?"))


def test_all_problems_come_at_once_in_the_order_of_their_places() -> None:
    bad = plan(
        {"slug": "fetch", "handler": "slaes", "params": {"year": 2025}, "timeout": -1},
        {"slug": "sums", "handler": "summarize", "depends_on": ["text", "fetsh"]},
        {"slug": "text", "handler": "letter", "params": {"titel": "t"}, "depends_on": ["sums"]}
        | {"inputs": {"total": "sums.total"}},
        7,
        notes="x",
    )
    assert found(bad) == [
        ("/notes", "unknown-field"),
        ("/steps/0/handler", "unknown-handler"),
        ("/steps/0/timeout", "out-of-range"),
        ("/steps/1/depends_on/0", "cycle"),
        ("/steps/1/depends_on/1", "unknown-step"),
        ("/steps/1/inputs/rows", "unbound-parameter"),
        ("/steps/2/params/titel", "unknown-parameter"),
        ("/steps/3", "wrong-type"),
    ]


def test_the_patches_mend_what_they_can() -> None:
    bad = plan(
        {"slug": "get it", "handler": "slaes", "params": {"yaer": 2025}},
        {"slug": "sums", "handler": "summarize", "depends_on": ["text", "get it", "zzz"]},
        {"slug": "text", "handler": "letter", "params": {"titel": "t"}, "depends_on": ["sums"]}
        | {"inputs": {"total": "sums.totl"}, "max_attempts": 1000},
    )
    for _ in range(3):
        bad = mended(bad, [problem.as_dict() for problem in Plan.check(bad, handlers)])
    good = Plan.read(bad, handlers)
    assert [one.dependencies for one in good.steps] == [[], ["get_it"], ["sums"]]
    assert good.steps[0].handler == "sales"
    assert good.steps[2].max_attempts == PLAN_LIMITS.max_attempts


def test_a_cycle_is_cut_where_a_step_waits_for_a_later_one() -> None:
    steps = [step(slug=name, depends_on=deps) for name, deps in
             (("a", ["c"]), ("b", ["a"]), ("c", ["b"]))]  # fmt: skip
    problem = only(plan(*steps))
    assert problem.pointer == "/steps/0/depends_on/0"
    assert problem.reason == "the steps wait for each other: a -> b -> c -> a"
    assert problem.patch == ({"op": "remove", "path": "/steps/0/depends_on/0"},)
    data = [step(slug="a", inputs={"value": "b"}), step(slug="b", inputs={"value": "a"})]
    problem = only(plan(*data))
    assert (problem.code, problem.patch) == ("cycle", ())
    assert "Bind this to another step" in problem.mend


def test_two_unbound_parameters_of_one_step_are_both_mended() -> None:
    registry = Handlers()

    @registry.register()
    def left() -> int:
        return 1

    @registry.register()
    def right() -> str:
        return ""

    @registry.register()
    def both(number: int, text: str) -> None: ...

    steps = [{"slug": name, "handler": name} for name in ("left", "right", "both")]
    bad = plan(*steps)
    assert len(Plan.check(bad, registry)) == 2
    good = mended(bad, [problem.as_dict() for problem in Plan.check(bad, registry)])
    assert good["steps"][2]["inputs"] == {"number": "left", "text": "right"}
    assert Plan.check(good, registry) == []


def test_what_cannot_be_known_is_not_refused() -> None:
    untyped = step(slug="any", inputs={"value": "run.a.b"})
    assert found(plan(untyped, SUMS | {"inputs": {"rows": "any.x.0"}})) == []
    assert found(plan(untyped, DOUBLED | {"over": "any"})) == []
    assert found(plan(DOUBLED | {"over": "run"})) == []


def test_the_error_has_everything_and_crosses_process_borders() -> None:
    with pytest.raises(PlanInvalid) as caught:
        Plan.read(plan(FETCH | {"handler": "slaes"}), handlers)
    error = caught.value
    assert str(error).startswith(
        "PGF102: flow 'p' has 1 problem:\n  - /steps/0/handler: step 'fetch'"
    )
    assert error.details[0].as_dict() == {
        "pointer": "/steps/0/handler",
        "code": "unknown-handler",
        "reason": "step 'fetch' names the handler 'slaes', which is not registered",
        "mend": "Write 'sales'.",
        "patch": [{"op": "replace", "path": "/steps/0/handler", "value": "sales"}],
    }
    copy = pickle.loads(pickle.dumps(error))
    assert copy.details == error.details


def test_pointers_escape_what_pointers_must() -> None:
    assert found(plan(step(params={"a/b~c": 1}))) == [
        ("/steps/0/params/a~1b~0c", "unknown-parameter")
    ]

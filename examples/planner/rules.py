"""How the stand-in plans: it takes the handlers that a goal names, and chains others to them by their types.

It knows no handler beforehand: names, words, parameters and outputs are all in the catalogue that it is sent.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]
STEM = 5
"""So many letters tell a word: explain, explains, explained."""


@dataclass(frozen=True)
class Handler:
    """An entry of the catalogue."""

    name: str
    required: dict[str, Schema]
    output: Schema

    @classmethod
    def of(cls, entry: dict[str, Any]) -> Handler:
        """Read an entry."""
        properties = entry["parameters"]["properties"]
        required = {name: bare(properties[name]) for name in entry["parameters"]["required"]}
        return cls(entry["name"], required, bare(entry["output"]))


def bare(node: Any) -> Any:
    """Return a schema without its words."""
    if isinstance(node, dict):
        return {key: bare(value) for key, value in node.items() if key != "description"}
    return [bare(part) for part in node] if isinstance(node, list) else node


class Composer:
    """Puts a plan together, from what is wanted back to what is known."""

    def __init__(self, goal: str, catalogue: list[Handler]) -> None:
        words = {word[:STEM] for word in re.findall(r"[a-z]+", goal.lower())}
        self.goal = goal
        self.years = [int(year) for year in re.findall(r"\b(20\d\d)\b(?!-)", goal)]
        self.months = re.findall(r"\b20\d\d-\d\d\b", goal)
        named = [one for one in catalogue if {part[:STEM] for part in one.name.split("_")} <= words]
        self.wanted = named
        # What the goal names comes first where several would do.
        self.known = named + [one for one in catalogue if one not in named]
        self.steps: dict[tuple[str, int], dict[str, Any]] = {}

    def plan(self) -> dict[str, Any]:
        """Return a step for each handler that is wanted, and for those that they need."""
        for handler in self.wanted:
            if not any(name == handler.name for name, _ in self.steps):
                self.step(handler)
        slug = "_".join([self.wanted[0].name, *map(str, self.years), *self.months]).replace(
            "-", "_"
        )
        return {"slug": slug, "description": self.goal, "steps": list(self.steps.values())}

    def step(self, handler: Handler, turn: int = 0) -> str:
        """Add a step, after those that it needs, and return its slug; there is one for each turn of a year."""
        key = (handler.name, turn)
        if key in self.steps:
            return str(self.steps[key]["slug"])
        params: dict[str, Any] = {}
        inputs: dict[str, str] = {}
        over = None
        for name, schema in handler.required.items():
            constant = self.constant(name, schema, turn)
            if constant is not None:
                params[name] = constant
                continue
            alike = [other for other, wanted in handler.required.items() if wanted == schema]
            source, is_item = self.source(schema)
            slug = self.step(source, alike.index(name))
            inputs[name] = "item" if is_item else slug
            over = slug if is_item else over
        slug = handler.name if not turn else f"{handler.name}_{turn + 1}"
        fields = {"params": params, "inputs": inputs, "over": over}
        given = {name: value for name, value in fields.items() if value}
        self.steps[key] = {"slug": slug, "handler": handler.name, **given}
        return slug

    def constant(self, name: str, schema: Schema, turn: int) -> Any:
        """Return what the goal says of a parameter, if it can say something."""
        if schema == {"type": "integer"} and self.years:
            return sorted(self.years)[min(turn, len(self.years) - 1)]
        if schema == {"type": "string"}:
            return self.months[0] if name == "month" and self.months else self.goal
        return None

    def source(self, schema: Schema) -> tuple[Handler, bool]:
        """Find what gives such a value, or a list of which it is an element."""
        for handler in self.known:
            if self.gives(handler) == schema:
                return handler, False
        return next(one for one in self.known if self.gives(one).get("items") == schema), True

    def gives(self, handler: Handler) -> Schema:
        """Return what a step of it gives: a list of outputs, if it goes over the elements of another list."""
        outputs = [one.output for one in self.known]
        goes_over = any(
            schema not in outputs and any(output.get("items") == schema for output in outputs)
            for schema in handler.required.values()
        )
        return {"type": "array", "items": handler.output} if goes_over else handler.output


def compose(goal: str, catalogue: list[Handler]) -> dict[str, Any]:
    """Return a plan for a goal."""
    return Composer(goal, catalogue).plan()


def slipped(plan: dict[str, Any]) -> dict[str, Any]:
    """Return a plan with slips: a misspelt handler, an input left out, and where there is room a cycle and a wrong name."""
    plan = copy.deepcopy(plan)
    first = plan["steps"][0]
    report = next(step for step in plan["steps"] if "sections" in step.get("inputs", {}))
    del report["inputs"]
    users = [step for step in plan["steps"] if first["slug"] in _sources(step)]
    if users:
        first["depends_on"] = [users[0]["slug"]]
    name = first["handler"]
    first["handler"] = name[:2] + name[3] + name[2] + name[4:]
    for step in plan["steps"]:
        if step.get("over") not in {None, first["slug"]}:
            step["over"] += "s"
            break
    return plan


def _sources(step: dict[str, Any]) -> set[str]:
    return {step.get("over", ""), *step.get("inputs", {}).values()}


def mended(plan: dict[str, Any], problems: list[dict[str, Any]]) -> dict[str, Any]:
    """Do what the reasons say: apply their patches, removals last and from below, so that indexes stay right."""
    plan = copy.deepcopy(plan)
    operations = [one for problem in problems for one in problem.get("patch", [])]
    removals = [one for one in operations if one["op"] == "remove"]
    for operation in [one for one in operations if one["op"] != "remove"] + removals[::-1]:
        owner, key = _place(plan, operation["path"])
        match operation["op"]:
            case "remove":
                del owner[key]
            case "move":
                source, old = _place(plan, operation["from"])
                owner[key] = source.pop(old)
            case _:
                owner[key] = operation["value"]
    return plan


def _place(plan: Any, pointer: str) -> tuple[Any, Any]:
    *way, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    for key in way:
        plan = plan[int(key)] if isinstance(plan, list) else plan[key]
    return plan, int(last) if isinstance(plan, list) else last

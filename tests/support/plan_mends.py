"""Applies the mends that come with the problems of a plan, as a model would."""

from __future__ import annotations

import copy
from typing import Any


def mended(plan: dict[str, Any], problems: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the plan with all patches applied; what is removed goes last, and from below, so that indexes stay right."""
    plan = copy.deepcopy(plan)
    operations = [one for problem in problems for one in problem.get("patch", [])]
    removed = [one for one in operations if one["op"] == "remove"]
    for operation in [one for one in operations if one not in removed] + removed[::-1]:
        _apply(plan, operation)
    return plan


def _apply(plan: dict[str, Any], operation: dict[str, Any]) -> None:
    owner, key = _place(plan, operation["path"])
    match operation["op"]:
        case "remove":
            del owner[key]
        case "move":
            source, old = _place(plan, operation["from"])
            owner[key] = source.pop(old)
        case _:
            owner[key] = operation["value"]


def _place(plan: Any, pointer: str) -> tuple[Any, Any]:
    *way, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    for key in way:
        plan = plan[int(key)] if isinstance(plan, list) else plan[key]
    return plan, int(last) if isinstance(plan, list) else last

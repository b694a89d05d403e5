"""PlanProblem: one thing that is wrong with a plan, where, why, and what to write instead."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgflow.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_MOST_GUESSES = 1000
_LONGEST_WORD = 140

Patch = tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class PlanProblem:
    """One reason why a plan is refused, in words that whoever wrote it can act on."""

    pointer: str
    """Where, as a JSON pointer into the plan: `/steps/2/depends_on/0`."""
    code: str
    """Which kind of problem, as listed in docs/plans.md: `unknown-handler`."""
    reason: str
    mend: str
    """What to write instead."""
    patch: Patch = ()
    """The mend as JSON Patch operations (RFC 6902), where there is only one that makes sense."""

    def __str__(self) -> str:
        return f"{self.pointer or 'the plan'}: {self.reason}. {self.mend}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, for a model or an HTTP answer."""
        plain: dict[str, Any] = {
            "pointer": self.pointer,
            "code": self.code,
            "reason": self.reason,
            "mend": self.mend,
        }
        return plain | ({"patch": list(self.patch)} if self.patch else {})


def pointer(*keys: object) -> str:
    """Write keys and indexes as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def replace(where: str, value: object) -> dict[str, Any]:
    """Return the operation that writes another value."""
    return {"op": "replace", "path": where, "value": value}


def add(where: str, value: object) -> dict[str, Any]:
    """Return the operation that adds a value."""
    return {"op": "add", "path": where, "value": value}


def remove(where: str) -> dict[str, Any]:
    """Return the operation that removes a value."""
    return {"op": "remove", "path": where}


def move(source: str, target: str) -> dict[str, Any]:
    """Return the operation that gives a value another place."""
    return {"op": "move", "from": source, "path": target}


def listed(words: Iterable[str], most: int = 12) -> str:
    """Write words as a list, the end of a long one left out."""
    quoted = [f"'{word}'" for word in words]
    rest = [f"and {len(quoted) - most} more"] if len(quoted) > most else []
    return ", ".join([*quoted[:most], *rest])


def slug_taken(slug: str) -> PlanProblem:
    """Say that a flow which is no plan has the plan's slug."""
    better = f"{slug[:120]}_plan"
    reason = f"there is a flow '{slug}', which is no plan and cannot be replaced by one"
    mend = f"Give the plan another slug, such as '{better}'."
    return PlanProblem("/slug", "slug-taken", reason, mend, (replace("/slug", better),))


def without_clashes(problems: Iterable[PlanProblem]) -> list[PlanProblem]:
    """Take away patches that touch what an earlier one touches, so that all can be applied one after the other."""
    touched: set[str] = set()
    above: set[str] = set()
    """The places that lead to what is touched."""
    kept: list[PlanProblem] = []
    for problem in problems:
        places = _places(problem.patch)
        ways = {place: _way_to(place) for place in places}
        if any(place in touched | above or touched & ways[place] for place in places):
            kept.append(dataclasses.replace(problem, patch=()))
            continue
        kept.append(problem)
        touched |= places
        above.update(*ways.values())
    return kept


def _places(patch: Patch) -> set[str]:
    """Return what a patch changes; an object that is added makes room, and changes nothing."""
    places = {operation["path"] for operation in patch if operation.get("value") != {}}
    return places | {operation["from"] for operation in patch if "from" in operation}


def _way_to(place: str) -> set[str]:
    parts = place.split("/")
    return {"/".join(parts[:length]) for length in range(1, len(parts))}


def likeliest(word: str, known: Collection[str]) -> str | None:
    """Return the known word that was most likely meant, if one is like it."""
    if len(known) > _MOST_GUESSES or len(word) > _LONGEST_WORD:
        return None
    hint = did_you_mean(word, known)
    return next((name for name in known if hint == f" - did you mean '{name}'?"), None)

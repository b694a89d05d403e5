"""What the stand-in says: a rule for each kind of reply, over the material that it was sent and nothing else."""

from __future__ import annotations

import re
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

Json: TypeAlias = dict[str, Any]

CLOSE = 0.02
"""How far from a claim a measurement may be."""
EMPTY = frozenset(
    {"a", "and", "are", "as", "by", "for", "in", "is", "it", "of", "on", "the", "what"}
)
GOOD = frozenset({"clean", "friendly", "good", "open", "reliable", "settled", "well"})
BAD = frozenset({"angry", "broken", "complaint", "dirty", "late", "missing", "poor", "unreliable"})


def reply(kind: str, material: Json) -> Json:
    """Write a reply of a kind."""
    return RULES[kind](material)


def words(text: str) -> set[str]:
    """Return the words that say something, without their plurals' s."""
    return {word.removesuffix("s") for word in re.findall(r"[a-z]+", text.lower())} - EMPTY


def meets(criterion: Json, value: float) -> bool:
    """Tell whether a value meets a criterion."""
    limit: float = criterion["limit"]
    return value >= limit if criterion["bound"] == "at least" else value <= limit


def phrase(criterion: Json) -> str:
    """Word what a criterion asks for."""
    return f"{criterion['bound']} {criterion['limit']:g} is asked for"


def recommend(favourable: bool) -> str:
    """Word a recommendation."""
    return "renew" if favourable else "do not renew"


def plan_research(material: Json) -> Json:
    """Look into each source whose description has words of the question."""
    brief = material["Brief"]
    question = words(brief["assignment"]["question"])
    shared = {source["name"]: words(source["about"]) & question for source in brief["sources"]}
    subtasks = [
        {"source": name, "question": f"What do the {name} say about: {', '.join(sorted(common))}?"}
        for name, common in shared.items()
        if common
    ]
    return {"subtasks": subtasks}


def find(material: Json) -> Json:
    """Average what has a criterion, weigh the words of what is text, and look at dates of expiry."""
    facts, assignment = material["facts"], material["Assignment"]
    told = [
        (
            f"{criterion['metric']} is {value:.3f} on average, {phrase(criterion)}",
            meets(criterion, value),
        )
        for criterion in assignment["criteria"]
        if (value := average(facts, criterion["metric"])) is not None
    ]
    years = re.findall(r"\b20\d\d\b", assignment["question"])
    for row in facts:
        if "note" in row:
            mood = len(words(row["note"]) & GOOD) - len(words(row["note"]) & BAD)
            told.append((f"{row['written_on']}: \u201c{row['note']}\u201d", mood >= 0))
        if "valid_until" in row:
            lasts = not years or row["valid_until"] >= f"{max(years)}-01-01"
            told.append((f"{row['certificate']} is valid until {row['valid_until']}", lasts))
    return {
        "source": material["SubTask"]["source"],
        "statement": "; ".join(statement for statement, _ in told) or "nothing is known",
        "supports": recommend(all(favourable for _, favourable in told)),
    }


def average(facts: list[Json], column: str) -> float | None:
    """Return the mean of a column, where there is one."""
    values = [row[column] for row in facts if row.get(column) is not None]
    return fmean(values) if values else None


def analyze(material: Json) -> Json:
    """Compare each claim with its criterion."""
    brief = material["Brief"]
    criteria, claims = brief["assignment"]["criteria"], brief["claims"]
    reasons = [
        f"{criterion['metric']} {claims[criterion['metric']]:g} is claimed, {phrase(criterion)}"
        for criterion in criteria
    ]
    favourable = all(meets(criterion, claims[criterion["metric"]]) for criterion in criteria)
    return {"recommendation": recommend(favourable), "reasons": reasons}


def plan_checks(material: Json) -> Json:
    """Check the claim behind each criterion."""
    brief = material["Brief"]
    metrics = [criterion["metric"] for criterion in brief["assignment"]["criteria"]]
    return {
        "checks": [{"metric": metric, "claimed": brief["claims"][metric]} for metric in metrics]
    }


def judge(material: Json) -> Json:
    """Compare a measurement with the claim and with the criterion."""
    check, measured = material["Check"], material["measured"]
    criterion = next(
        each for each in material["Assignment"]["criteria"] if each["metric"] == check["metric"]
    )
    near = abs(measured - check["claimed"]) <= CLOSE
    said = f"{check['metric']} {check['claimed']:g} is claimed, {measured:g} was measured, {phrase(criterion)}"
    return {
        **check,
        "measured": measured,
        "holds": near and meets(criterion, measured),
        "reason": said,
    }


def decide(material: Json) -> Json:
    """Follow a dissent, else the majority."""
    dossier = material["Dossier"]
    dissent = [verdict["reason"] for verdict in dossier["verdicts"] if not verdict["holds"]]
    analysis = dossier["analysis"]
    votes = [*(found["supports"] for found in dossier["findings"]), analysis["recommendation"]]
    favourable = votes.count("renew") * 2 > len(votes)
    reasons = [found["statement"] for found in dossier["findings"]] + analysis["reasons"]
    return {
        "recommendation": recommend(favourable and not dissent),
        "reasons": reasons,
        "dissent": dissent,
    }


RULES: dict[str, Callable[[Json], Json]] = {
    "ResearchPlan": plan_research,
    "Finding": find,
    "Analysis": analyze,
    "CheckPlan": plan_checks,
    "Verdict": judge,
    "Decision": decide,
}

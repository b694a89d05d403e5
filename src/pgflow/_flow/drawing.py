"""Pictures of a flow: Mermaid text for documents, a tree for the terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgflow._flow.step import Step

_DEEPEST = 40
"""Levels that are still indented: a chain of thousands must not draw a triangle."""


def mermaid(steps: Sequence[Step[Any]]) -> str:
    """Draw the steps as a Mermaid flowchart; maps have double sides, conditional steps a dashed one."""
    # Slugs such as `end` are words of Mermaid's own, so nodes are numbered.
    ids = {step.slug: f"s{position}" for position, step in enumerate(steps)}
    lines = ["flowchart TD"]
    for step in steps:
        label = f"{step.slug}{_condition(step, '<br/>')}"
        open_, close = ("[[", "]]") if step.step_type == "map" else ("[", "]")
        lines.append(f'  {ids[step.slug]}{open_}"{_escape(label)}"{close}')
    for step in steps:
        lines += [f"  {ids[dep]} --> {ids[step.slug]}" for dep in step.dependency_slugs]
    conditional = [ids[step.slug] for step in steps if _condition(step, " ")]
    if conditional:
        lines.append("  classDef conditional stroke-dasharray: 4 3")
        lines.append(f"  class {','.join(conditional)} conditional")
    return "\n".join(lines) + "\n"


def tree(slug: str, steps: Sequence[Step[Any]]) -> str:
    """Draw the steps as a tree; one that has several parents stands below the last of them.

    Its other parents refer to it by an arrow.
    """
    order = {step.slug: position for position, step in enumerate(steps)}
    children: dict[str, list[Step[Any]]] = {step.slug: [] for step in steps}
    home: dict[str, str] = {}
    for step in steps:
        for dep in step.dependency_slugs:
            children[dep].append(step)
        if step.dependencies:
            home[step.slug] = max(step.dependency_slugs, key=order.__getitem__)
    roots = [step for step in steps if not step.dependencies]
    lines = [slug]
    stack = [(step, "", 1, step is roots[-1]) for step in reversed(roots)]
    parent_of_line: list[str | None] = [None] * len(stack)
    while stack:
        step, indent, depth, last = stack.pop()
        parent = parent_of_line.pop()
        branch = "└─ " if last else "├─ "
        if parent is not None and home[step.slug] != parent:
            lines.append(f"{indent}{branch}→ {step.slug}")
            continue
        lines.append(f"{indent}{branch}{_describe(step, parent)}")
        below = children[step.slug]
        deeper = indent + ("   " if last else "│  ") if depth < _DEEPEST else indent
        for child in reversed(below):
            stack.append((child, deeper, depth + 1, child is below[-1]))
            parent_of_line.append(step.slug)
    return "\n".join(lines) + "\n"


def _describe(step: Step[Any], parent: str | None) -> str:
    others = [dep for dep in step.dependency_slugs if dep != parent]
    text = step.slug
    if step.step_type == "map":
        count = step.initial_tasks
        text += " [map]" if count is None else f" [map of {count}]"
    if others:
        text += f" (also after {', '.join(others)})"
    return text + _condition(step, " ")


def _condition(step: Step[Any], before: str) -> str:
    parts = [
        f"{word} {json.dumps(dict(step.options[name]), ensure_ascii=False)}"
        for name, word in (("if_", "if"), ("if_not", "if not"))
        if name in step.options
    ]
    return before + " and ".join(parts) if parts else ""


def _escape(label: str) -> str:
    return label.replace("#", "#35;").replace('"', "#quot;")

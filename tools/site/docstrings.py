"""Docstrings on the site: an example after `>>>` becomes a fence, which Markdown would take for quotations.

A default that is a constant of the module is shown as its value; `*bare`, which only refuses a decorator without
parentheses, is not shown.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from griffe import Attribute, Extension, Function, Object

if TYPE_CHECKING:
    from griffe import Module

EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\n).*)*", re.MULTILINE)


class Examples(Extension):
    """Called by griffe for each object that it has read."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(_fence, obj.docstring.value)

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """Rewrite the defaults, once everything is read."""
        _resolve(pkg)


def _resolve(parent: Object) -> None:
    for member in parent.members.values():
        if member.is_alias:
            continue
        if isinstance(member, Function):
            if "bare" in member.parameters:
                del member.parameters["bare"]
            for parameter in member.parameters:
                constant = member.module.members.get(str(parameter.default))
                if isinstance(constant, Attribute) and str(constant.value).isdecimal():
                    parameter.default = str(constant.value)
        elif isinstance(member, Object):
            _resolve(member)


def _fence(found: re.Match[str]) -> str:
    lines = [re.sub(r"^(?:>>>|\.\.\.) ?", "", line) for line in found[0].splitlines()]
    return "```python\n" + "\n".join(lines) + "\n```"

"""Finds flows by the names that commands use: `module:flow`, `path/to/file.py:flow`, or only the module or file.

A worker's target may also name the Handlers of plans.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgflow._plan.registry import Handlers
from pgflow.errors import UsageError, did_you_mean
from pgflow.flow import Flow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from pgflow._repertoire import Flows

_HINT = "A target looks like app.flows:campaign or flows.py:campaign."


def load_flows(target: str) -> list[Flow[Any]]:
    """Import a target's flow, or all flows of its module; UsageError says what is wrong with it.

    >>> [flow.slug for flow in load_flows("app.flows:campaign")]
    ['email_campaign']
    """
    place, _, name = target.rpartition(":") if ":" in target else (target, "", "")
    module = _import(place, target)
    known = {key: value for key, value in vars(module).items() if isinstance(value, Flow)}
    if not name:
        if not known:
            raise UsageError(f"{place} defines no flow", hint=_HINT)
        return list(dict.fromkeys(known.values()))
    found = getattr(module, name, None)
    if isinstance(found, Flow):
        return [found]
    by_slug = [flow for flow in known.values() if flow.slug == name]
    if by_slug:
        return by_slug[:1]
    what = "is not a flow" if found is not None else "does not exist"
    there = f" Flows there: {', '.join(sorted(known))}." if known else ""
    raise UsageError(
        f"'{name}' {what} in {place}{did_you_mean(name, known)}", hint=f"{_HINT}{there}"
    )


def load_work(targets: Sequence[str]) -> Flows:
    """Import what a worker is to serve: flows, or the one `module:handlers` that plans name.

    >>> load_work(["app.plans:handlers"])
    <handlers search, summarize>
    """
    flows: list[Flow[Any]] = []
    for target in targets:
        place, _, name = target.rpartition(":") if ":" in target else (target, "", "")
        found = getattr(_import(place, target), name, None) if name else None
        if not isinstance(found, Handlers):
            flows += load_flows(target)
        elif len(targets) == 1:
            return found
        else:
            raise UsageError(
                f"{target} are the handlers of plans, which need workers of their own",
                hint="Start one worker for the flows and one for the handlers.",
            )
    return flows


def _import(place: str, target: str) -> ModuleType:
    if not place:
        raise UsageError(f"'{target}' names no module", hint=_HINT)
    if place.endswith(".py") or "/" in place:
        return _import_file(Path(place))
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise UsageError(f"importing {place} failed: {error}") from error
        raise UsageError(f"there is no module '{place}'", hint=_HINT) from error
    except Exception as error:
        raise UsageError(f"importing {place} failed: {type(error).__name__}: {error}") from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file {path}", hint=_HINT)
    path = path.resolve()
    # Under its plain name, so that other processes, and the file itself, can import it as well.
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    loaded = sys.modules.get(path.stem)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file", hint=_HINT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[path.stem]
        raise UsageError(f"running {path} failed: {type(error).__name__}: {error}") from error
    return module

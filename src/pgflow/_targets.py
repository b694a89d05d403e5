"""Finds flows by the names that commands use: `module:flow`, `path/to/file.py:flow`, or only the module or file.

A worker's target may also name the Handlers of plans.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgflow._plan.registry import Handlers
from pgflow.errors import DefinitionError, UsageError, did_you_mean
from pgflow.flow import Flow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import ModuleType

_HINT = "A target looks like app.flows:campaign or flows.py:campaign."
_GUARD = "Put what runs the program under `if __name__ == '__main__':`."


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


def load_work(targets: Sequence[str]) -> list[Flow[Any]] | Handlers:
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
            raise _failed(f"importing {place}", error) from error
        raise UsageError(f"there is no module '{place}'", hint=_HINT) from error
    except (Exception, SystemExit) as error:
        raise _failed(f"importing {place}", error) from error


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
    except (Exception, SystemExit) as error:
        del sys.modules[path.stem]
        raise _failed(f"running {_short(str(path))}", error) from error
    return module


def places_of(error: DefinitionError, flows: Iterable[Flow[Any]]) -> list[str]:
    """Return `app.py:12: step 'greet'` for each step that the error names, where its function is known."""
    found = []
    for flow in flows:
        for step in flow._declared if flow.slug == error.flow else ():  # noqa: SLF001 - `steps` raises the error
            code = getattr(step.function, "__code__", None)
            if code is not None and any(
                text.startswith(f"step '{step.slug}'") for text in error.problems
            ):
                found.append(
                    f"{_short(code.co_filename)}:{code.co_firstlineno}: step '{step.slug}'"
                )
    return found


def _failed(what: str, error: Exception | SystemExit) -> UsageError:
    """Say what an import raised, and where: the user's own line, not the libraries' below it."""
    text = str(error)
    hint = _GUARD if isinstance(error, SystemExit) else None
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        text = error.msg
        lines = _mistake(error.filename, error.lineno, error.text or "", error.offset)
    else:
        own = [frame for frame in _frames(error) if _is_own(frame[0])]
        lines = _mistake(*own[-1]) if own else iter(())
    message = "\n    ".join([f"{what} failed: {type(error).__name__}: {text}", *lines])
    return UsageError(message, hint=hint)


def _mistake(
    filename: str, number: int, line: str | None = None, offset: int | None = None
) -> Iterator[str]:
    """Yield the place, the line there, and a mark below the column if it is known."""
    if line is None:
        import linecache  # noqa: PLC0415 - errors only

        line = linecache.getline(filename, number)
    yield f"{_short(filename)}:{number}"
    if line.strip():
        yield f"  {line.strip()}"
        if offset is not None:
            indent = len(line) - len(line.lstrip())
            yield f"  {' ' * max(0, offset - 1 - indent)}^"


def _frames(error: BaseException) -> Iterator[tuple[str, int]]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next


def _is_own(filename: str) -> bool:
    """Tell the user's files from installed ones and from this package."""
    installed = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    elsewhere = (*installed, str(Path(__file__).parent), "<frozen ")
    return not filename.startswith(elsewhere)


def _short(filename: str) -> str:
    """Return a path as one types it here."""
    path, here = Path(filename), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else filename

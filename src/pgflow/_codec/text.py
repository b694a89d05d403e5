"""Makes any text storable, and any error describable: a failure must always be recorded."""

from __future__ import annotations

import re

_LIMIT = 10_000
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def sanitise_text(text: object, limit: int = _LIMIT) -> str:
    """Return text that PostgreSQL can store, of at most about `limit` characters.

    NUL and lone surrogates become U+FFFD; what is no string, or fails to become one, is described.
    """
    whole = text if type(text) is str else _as_text(text)
    if len(whole) > limit:
        whole = f"{whole[:limit]}... ({len(whole) - limit} more characters)"
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", whole)


def describe_error(error: BaseException, limit: int = _LIMIT) -> str:
    """Return `ValueError: its text`, whatever the error's own methods do."""
    name = type(error).__name__
    text = _as_text(error)
    return sanitise_text(f"{name}: {text}" if text else name, limit)


def _as_text(value: object) -> str:
    try:
        # str.__str__ makes a plain string of a subclass, whose own methods could fail.
        return str.__str__(value if isinstance(value, str) else str(value))
    except (Exception, SystemExit) as failure:  # noqa: BLE001 - user code must not hide the error
        return f"<{type(value).__name__} whose __str__ raised {type(failure).__name__}>"

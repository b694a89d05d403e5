"""What an error of the server, or of the way to it, means: pass over it, excuse a handler, say what to do about it."""

from __future__ import annotations

from typing import NoReturn

import psycopg
from psycopg import errors as server

from pgflow.errors import ConnectionFailed, PermissionDenied, SchemaMismatch

_TRANSIENT_CLASSES = ("08", "40", "53", "57")
_TRANSIENT_STATES = frozenset({"25006", "55P03", "XX000"})
_SERVER_FAULTS = ("08", "25006", "53", "57P", "58")
UPGRADE_REPEATS = 5
"""Repeats of a call that an upgrade may have broken."""
_UNREACHABLE = ("08", "28", "3D000", "57P01", "57P02", "57P03")


def is_transient(error: BaseException) -> bool:
    """Tell whether the server or the way to it is to blame, so that the same call may succeed later."""
    if isinstance(error, ConnectionFailed):
        return True
    if not isinstance(error, psycopg.Error):
        return isinstance(error, OSError)
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return state.startswith(_TRANSIENT_CLASSES) or state in _TRANSIENT_STATES


def is_upgrade(error: BaseException) -> bool:
    """Tell whether a call may have been under way while the schema was upgraded: its parts do not fit together.

    The same call, made again, finds the new ones; if it does not, somebody has broken the schema.
    """
    known = error.__cause__ if isinstance(error, SchemaMismatch) else error
    return isinstance(
        known,
        server.DatatypeMismatch
        | server.FeatureNotSupported  # a cached plan whose result has another type now
        | server.UndefinedColumn
        | server.UndefinedFunction
        | server.UndefinedTable,
    )


def is_server_fault(error: BaseException) -> bool:
    """Tell whether the server broke a user's transaction: it went away, takes no writes, or has no room left."""
    if isinstance(error, ConnectionFailed):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate.startswith(_SERVER_FAULTS)


def is_unregistered(error: BaseException) -> bool:
    """Tell whether the server refused a claim because it does not know the worker (any more)."""
    return isinstance(error, server.ForeignKeyViolation)


def translated(error: psycopg.Error) -> Exception:
    """Return the pgflow error that says what to do about a server error, or the error itself."""
    text = error.diag.message_primary or str(error).strip()
    match error:
        case server.InsufficientPrivilege():
            return PermissionDenied(text)
        case server.InvalidSchemaName() | server.UndefinedFunction() | server.UndefinedTable() if (
            "pgflow" in text
        ):
            return SchemaMismatch(f"the schema lacks what this version needs: {text}")
        case psycopg.OperationalError() if error.sqlstate is None:
            return ConnectionFailed(text, hint=_connection_hint(text))
        case _ if (error.sqlstate or "").startswith(_UNREACHABLE):
            return ConnectionFailed(text, hint=_connection_hint(text))
    return error


def _connection_hint(text: str) -> str | None:
    # While connecting, libpq passes the server's words on, but not its code.
    if "database" in text and "does not exist" in text:
        return "Create the database first: createdb <name>"
    if "authentication" in text or "role" in text:
        return "Check the user and the password of the address."
    return None


def raise_translated(error: psycopg.Error) -> NoReturn:
    """Raise what `translated` returns."""
    better = translated(error)
    if better is error:
        raise error
    raise better from error

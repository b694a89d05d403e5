"""AES-GCM for values at rest: several keys, of which the newest seals and any opens. Needs the extra `crypto`."""

from __future__ import annotations

import os
from base64 import b64decode
from typing import TYPE_CHECKING

from pgflow.errors import UsageError

try:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError as error:  # pragma: no cover - depends on the environment
    raise UsageError(
        "AES-GCM needs the package cryptography", hint="Run: pip install 'py-pgflow[crypto]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AesGcmCodec"]

NONCE = 12
"""Bytes; drawn at random for each value, as long as one key seals fewer than about 2**32 values."""
_KEY_SIZES = (16, 24, 32)


class AesGcmCodec:
    """Seals with the last of its keys, opens with any of them: rotate by adding a key, and drop it when nothing needs it.

    A value is bound to its flow and step, so it cannot be put in place of another.

    >>> codec = AesGcmCodec({"2025": old_key, "2026": new_key})
    >>> async with Database.connect(dsn, value_codec=codec) as database: ...
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """Take {id: key of 16, 24 or 32 random bytes}, the newest last. Raises UsageError."""
        if not keys:
            raise UsageError("AesGcmCodec needs at least one key")
        for name, key in keys.items():
            if len(key) not in _KEY_SIZES:
                raise UsageError(
                    f"the key '{name}' has {len(key)} bytes, AES takes 16, 24 or 32",
                    hint="Make one: python -c 'import base64, os; print(base64.b64encode(os.urandom(32)).decode())'",
                )
        self._keys = {name: AESGCM(bytes(key)) for name, key in keys.items()}
        self._newest = next(reversed(self._keys))

    @classmethod
    def from_env(cls, name: str = "PGFLOW_KEYS") -> AesGcmCodec:
        """Read the keys from an environment variable: `id:base64` one after the other, the newest last.

        Raises UsageError, which never shows a key.
        """
        keys: dict[str, bytes] = {}
        for number, part in enumerate(os.environ.get(name, "").replace(",", " ").split(), 1):
            key_id, _, text = part.partition(":")
            try:
                keys[key_id] = b64decode(text, validate=True)
            except ValueError as error:
                hint = f"{name} looks like: 2025:<base64> 2026:<base64>"
                raise UsageError(f"key {number} of {name} is no base64", hint=hint) from error
        if not keys:
            raise UsageError(
                f"{name} holds no keys", hint=f"Set {name} to: 2026:<base64 of 32 bytes>"
            )
        return cls(keys)

    @property
    def key_id(self) -> str:
        """The id of the newest key."""
        return self._newest

    def encode(self, value: bytes, context: bytes) -> bytes:
        """Return the nonce and the sealed value."""
        nonce = os.urandom(NONCE)
        return nonce + self._keys[self._newest].encrypt(nonce, value, context)

    def decode(self, value: bytes, context: bytes, key_id: str) -> bytes:
        """Return the value; KeyError without that key, InvalidTag if it is not the one or not the place."""
        return self._keys[key_id].decrypt(value[:NONCE], value[NONCE:], context)

    def __repr__(self) -> str:
        return f"<AesGcmCodec of keys {', '.join(self._keys)}>"

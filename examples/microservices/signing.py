"""How the shop signs the events that it posts, so that a receiver knows them from anybody else's."""

import base64
import hashlib
import hmac
import os

SECRET = "WEBHOOK_SECRET"  # noqa: S105 - the name of a variable


def signature(body: bytes) -> str:
    """Sign the body of an event with the secret that the shop shares with the receiver."""
    secret = os.environ[SECRET].encode()
    return "v1," + base64.b64encode(hmac.digest(secret, body, hashlib.sha256)).decode()

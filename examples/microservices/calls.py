"""Calls from a handler to a service: where it is, the key that makes a repeated call safe, what an answer means."""

from __future__ import annotations

import json
import os
import ssl
from typing import Any

import httpx

from pgflow import NonRetryable, RetryAfter, current_task

from .signing import signature

TIMEOUT = 20.0
"""Seconds; less than the steps' timeout, so that a call tells why it failed."""
LATER = {408, 409, 425, 429}
"""Refusals that time may cure; those of 500 and above are such too."""
TLS = ssl.create_default_context()  # made once: it takes longer than a call


async def get(service: str, path: str) -> Any:
    """Read from a service."""
    return await _call(service, "GET", path)


async def post(service: str, path: str, body: dict[str, Any]) -> Any:
    """Have a service do something once, however often the attempt is repeated."""
    content = json.dumps(body).encode()
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": current_task().idempotency_key,
    }
    if service == "webhook":
        headers["Webhook-Signature"] = signature(content)
    return await _call(service, "POST", path, content=content, headers=headers)


async def _call(service: str, method: str, path: str, **options: Any) -> Any:
    address = os.environ[f"{service.upper()}_URL"]
    async with httpx.AsyncClient(
        base_url=address, timeout=TIMEOUT, verify=TLS, trust_env=False
    ) as client:
        response = await client.request(method, path, **options)
    if response.is_success:
        return response.json()
    reason = f"{service} answered {response.status_code}: {response.text[:200]}"
    delay = response.headers.get("Retry-After", "")
    if delay.isdigit():  # it may be a date as well
        raise RetryAfter(float(delay), reason)
    if response.is_client_error and response.status_code not in LATER:
        raise NonRetryable(reason)
    raise ConnectionError(reason)

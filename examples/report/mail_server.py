"""The user's mail server: aiosmtpd on a free port of the loopback interface, in a thread that ends with the block.

It takes the first message and cuts the connection before it says so: the sender's attempt fails after its effect.
Like servers on the internet it keeps one copy of a message that is delivered twice, by its Message-ID.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import threading
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Self

from aiosmtpd.smtp import SMTP

if TYPE_CHECKING:
    from email.message import EmailMessage

    from aiosmtpd.smtp import Envelope, Session

LOOPBACK = "127.0.0.1"


@dataclass
class Inbox:
    """What the server saw. Written by the server's thread only; read it when the run has ended."""

    cuts: int = 1
    """Connections still to be cut."""
    deliveries: list[tuple[str, str]] = field(default_factory=list)
    """Message-ID and SHA-256 of each message that came."""
    kept: dict[str, EmailMessage] = field(default_factory=dict)
    """Message-ID -> message."""

    # aiosmtpd finds its hook by this name and passes these arguments.
    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Store the message, unless a message with its id is stored already."""
        content = envelope.content
        assert isinstance(content, bytes), "aiosmtpd decodes only if asked to"
        message = email.message_from_bytes(content, policy=email.policy.default)
        message_id = str(message["Message-ID"])
        self.deliveries.append((message_id, sha256(content).hexdigest()))
        known = self.kept.setdefault(message_id, message) is not message
        if self.cuts:
            self.cuts -= 1
            assert isinstance(server.transport, asyncio.WriteTransport)
            server.transport.abort()
        return "250 2.0.0 Already have it" if known else "250 2.0.0 Delivered"


class MailServer:
    """Runs the server for the length of a `with` block."""

    def __init__(self) -> None:
        self.inbox = Inbox()
        self.url = ""
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        """Start listening; `url` is known from here on."""
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening, and end the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            self._loop.create_server(
                lambda: SMTP(self.inbox, hostname="localhost", loop=self._loop), LOOPBACK, 0
            )
        )
        self.url = f"smtp://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(self._finish())
        self._loop.close()

    async def _finish(self) -> None:
        sessions = asyncio.all_tasks() - {asyncio.current_task()}
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)

"""The demo's SMTP server: aiosmtpd on a free port of the loopback interface, in a thread of its own.

Like servers on the internet it answers slowly, refuses some recipients once and others for good, and
keeps one copy of a message that is delivered twice (by its Message-ID).
"""

import asyncio
import email
import threading
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiosmtpd.smtp import SMTP, Envelope, Session

LOOPBACK = "127.0.0.1"
BUSY_DOMAIN = "busy.example.org"
GONE_DOMAIN = "gone.example.org"


@dataclass(slots=True)
class Inbox:
    """What the server saw. Written by the server's thread only; read it when the run has ended."""

    delay: float
    """Seconds the server takes to accept a message."""
    accepted: dict[str, str] = field(default_factory=dict)
    """Message-ID -> recipient, one entry a message however often it came."""
    duplicates: Counter[str] = field(default_factory=Counter)
    """Message-ID -> deliveries after the first."""
    deferred: Counter[str] = field(default_factory=Counter)
    """Recipient -> refusals with 450, to be tried again."""
    refused: Counter[str] = field(default_factory=Counter)
    """Recipient -> refusals with 550, for good."""

    # aiosmtpd finds its hooks by these names and passes these arguments.
    async def handle_RCPT(  # noqa: N802
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        """Answer RCPT TO by the recipient's domain."""
        domain = address.rpartition("@")[2]
        if domain == GONE_DOMAIN:
            self.refused[address] += 1
            return "550 5.1.1 No such mailbox"
        if domain == BUSY_DOMAIN and not self.deferred[address]:
            self.deferred[address] += 1
            return "450 4.2.1 Mailbox busy, try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Store the message, unless a message with its id is stored already."""
        await asyncio.sleep(self.delay)
        content = envelope.content
        message = email.message_from_bytes(
            content if isinstance(content, bytes) else (content or "").encode()
        )
        message_id = str(message["Message-ID"])
        if message_id in self.accepted:
            self.duplicates[message_id] += 1
            return "250 2.0.0 Already have it"
        self.accepted[message_id] = envelope.rcpt_tos[0]
        return "250 2.0.0 Delivered"


class MailServer:
    """Run the server for the length of a `with` block."""

    def __init__(self, *, delay: float = 0.05) -> None:
        self.inbox = Inbox(delay)
        self.port = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="demo-mail-server", daemon=True)

    def __enter__(self) -> Self:
        """Start listening; `port` is known from here on."""
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening and end the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            self._loop.create_server(
                lambda: SMTP(self.inbox, hostname="localhost", loop=self._loop),
                host=LOOPBACK,
                port=0,
            )
        )
        self.port = server.sockets[0].getsockname()[1]
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

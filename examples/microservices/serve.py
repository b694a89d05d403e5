"""One service's process: `python -m PACKAGE.serve NAME --fd 5 --store FILE --delay 0.1`.

The socket comes from the keeper, already listening, so calls wait in it while the service is started again. Standard
input is a pipe from the keeper that nothing is ever written to: it ends when the keeper does, however that ended, and
then this process ends too.
"""

from __future__ import annotations

import argparse
import asyncio
import email
import email.policy
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from .services import SERVICES, application
from .store import Store

if TYPE_CHECKING:
    from aiosmtpd.smtp import SMTP, Envelope, Session


def end_with_the_keeper() -> None:
    """End this process when its standard input ends."""
    sys.stdin.buffer.read()
    # All that counts is committed already; nobody is left to say goodbye to.
    os._exit(0)


class Mailbox:
    """Keeps one copy of a message, by its Message-ID, however often it comes."""

    def __init__(self, store: Store, delay: float) -> None:
        self._store = store
        self._delay = delay

    # aiosmtpd finds its hook by this name and passes these arguments.
    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Store the message, then take the time that mail servers take."""
        content = envelope.content
        assert isinstance(content, bytes), "aiosmtpd decodes only if asked to"
        message = email.message_from_bytes(content, policy=email.policy.default)
        key = str(message["Message-ID"])
        seen = {"to": envelope.rcpt_tos, "subject": str(message["Subject"])}
        seen["text"] = message.get_content()
        call = await asyncio.to_thread(self._store.log_call, key, "DATA")
        await asyncio.to_thread(self._store.once, key, "mail", seen, lambda _: {"kept": key})
        await asyncio.sleep(self._delay)
        await asyncio.to_thread(self._store.log_answer, call, 250)
        return "250 2.0.0 Delivered"


async def serve_smtp(listener: socket.socket, store: Store, delay: float) -> None:
    """Serve SMTP until the process ends."""
    from aiosmtpd.smtp import SMTP  # noqa: PLC0415 - only this service needs it

    loop = asyncio.get_running_loop()
    mailbox = Mailbox(store, delay)
    server = await loop.create_server(
        lambda: SMTP(mailbox, hostname="localhost", loop=loop), sock=listener
    )
    await server.serve_forever()


async def serve_http(name: str, listener: socket.socket, store: Path, delay: float) -> None:
    """Serve HTTP until the process ends."""
    config = uvicorn.Config(application(name, store, delay), log_level="warning", lifespan="off")
    await uvicorn.Server(config).serve(sockets=[listener])


def main() -> None:
    """Serve until the keeper ends this process or itself."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=SERVICES)
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--delay", type=float, required=True)
    options = parser.parse_args()
    threading.Thread(target=end_with_the_keeper, daemon=True).start()
    listener = socket.socket(fileno=options.fd)
    if options.name == "mail":
        asyncio.run(serve_smtp(listener, Store(options.store), options.delay))
    else:
        asyncio.run(serve_http(options.name, listener, options.store, options.delay))


if __name__ == "__main__":
    main()

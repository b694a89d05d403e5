"""A proxy before PostgreSQL that understands its messages well enough to fail at an exact moment.

It knows which statement a request runs, holds a request back until it is whole, and knows when the server has
committed: ReadyForQuery, idle, and no error before it. So a reply that it drops is a commit in doubt, and counted.
It lives in a thread of its own, and serves synchronous and asynchronous tests alike.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Self, TypeVar

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.wire import CHUNK, hang_up, messages

if TYPE_CHECKING:
    from collections.abc import Coroutine

REPORTS = (
    *(b"pgflow.complete_and_claim(", b"pgflow.complete_tasks(", b"pgflow.fail_tasks("),
    *(b"pgflow.split_batches(", b"pgflow.release_tasks("),
)
CLAIMS = (b"pgflow.claim_tasks(",)
COMMITS = (b"COMMIT",)
STARTS = (b"pgflow.start_flow(",)
STEERING = (b"pgflow.cancel_run(", b"pgflow.retry_run(")

T = TypeVar("T")


class Fault(Enum):
    """What may become of a request."""

    CUT_BEFORE_SEND = auto()
    """The connection breaks, and the server never sees the request."""
    DROP_REPLY = auto()
    """The server commits; then the connection breaks, and the client never learns it."""
    DELAY = auto()
    """The request arrives late."""
    BLACK_HOLE = auto()
    """Nothing passes any more in either direction, for a while; then the connection breaks."""


@dataclass(eq=False)
class Armed:
    """A fault that waits for the next request to run one of some statements."""

    fault: Fault
    statements: tuple[bytes, ...]
    """Parts of statements; none of them stands for any request."""
    seconds: float = 0.0
    fired: threading.Event = field(default_factory=threading.Event)

    def meets(self, statement: bytes) -> bool:
        return not self.statements or any(part in statement for part in self.statements)


@dataclass(slots=True)
class _Request:
    """One request, answered by one ReadyForQuery."""

    statement: bytes = b""
    armed: Armed | None = None
    has_failed: bool = False
    reply: bytearray = field(default_factory=bytearray)
    """What has come of a reply that may be dropped."""


class Proxy:
    """Listens on 127.0.0.1 while its block lasts; its methods may be called from any thread.

    >>> with Proxy(dsn) as proxy:
    ...     fault = proxy.arm(Fault.DROP_REPLY, REPORTS)
    """

    def __init__(self, dsn: str) -> None:
        parts = conninfo_to_dict(dsn)
        self._host = str(parts.get("host") or "localhost")
        self._port = int(parts.get("port") or 5432)
        self._dsn = dsn
        self._armed: list[Armed] = []
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self.counts: Counter[str] = Counter()
        """Connections, statements (requests that ran one), and how often each fault happened; `in_doubt` of those
        are the replies that were lost after a commit."""
        self.lost_replies: Counter[str] = Counter()
        """Replies lost after a commit, by the statement's part that was waited for."""

    @property
    def dsn(self) -> str:
        """Address of the database through the proxy: in clear, so that it can be read."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        plain = {"sslmode": "disable", "gssencmode": "disable"}
        return make_conninfo(self._dsn, host="127.0.0.1", port=port, **plain)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._wait_for(asyncio.start_server(self._serve, "127.0.0.1", 0))
        return self

    def __exit__(self, *_: object) -> None:
        self._wait_for(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def arm(self, fault: Fault, statements: tuple[bytes, ...] = (), seconds: float = 0.0) -> Armed:
        """Have a fault happen to the next request that runs one of these statements; `seconds` for delays and black holes."""
        armed = Armed(fault, statements, seconds)
        self._loop.call_soon_threadsafe(self._armed.append, armed)
        return armed

    def cut(self, share: float = 1.0) -> None:
        """Break a share of the connections, at once."""
        self._loop.call_soon_threadsafe(self._cut, share)

    def heal(self) -> None:
        """Let everything pass from now on; connections in a black hole break."""
        self._loop.call_soon_threadsafe(self._heal)

    def _wait_for(self, call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result(30)

    def _cut(self, share: float) -> None:
        links = sorted(self._links, key=id)
        for link in links[: round(share * len(links))]:
            self.counts["cut"] += 1
            link.cut()

    def _heal(self) -> None:
        self._armed.clear()
        for link in list(self._links):
            if link.is_swallowed:
                link.cut()

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        works = [link.work for link in self._links]
        self._cut(1.0)
        await asyncio.gather(*works, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._host.startswith("/"):
                path = f"{self._host}/.s.PGSQL.{self._port}"
                upstream = await asyncio.open_unix_connection(path, limit=CHUNK)
            else:
                upstream = await asyncio.open_connection(self._host, self._port, limit=CHUNK)
        except OSError:
            hang_up(writer)
            return
        self.counts["connections"] += 1
        work = asyncio.current_task()
        assert work is not None
        link = _Link(self, work, (reader, writer), upstream)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)

    def fate_of(self, statement: bytes) -> Armed | None:
        """Return the fault that waits for this statement, and disarm it."""
        self.counts["statements"] += 1
        for armed in self._armed:
            if armed.meets(statement):
                self._armed.remove(armed)
                return armed
        return None

    def arm_again(self, armed: Armed) -> None:
        """Give a fault back that could not happen."""
        self._armed.append(armed)

    def count(self, armed: Armed) -> None:
        """Record that a fault happened."""
        self.counts[armed.fault.name.lower()] += 1
        armed.fired.set()


class _Link:
    """One client's connection and ours to the server."""

    def __init__(
        self,
        proxy: Proxy,
        work: asyncio.Task[None],
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.work = work
        self.is_swallowed = False
        self._proxy = proxy
        self._client = client
        self._server = server
        self._statements: dict[bytes, bytes] = {}
        self._requests: deque[_Request] = deque()
        self._is_cut = False

    async def run(self) -> None:
        """Pass messages on until either side hangs up."""
        ways = [asyncio.create_task(self._upwards()), asyncio.create_task(self._downwards())]
        try:
            with suppress(OSError):
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self.cut()

    def cut(self) -> None:
        """Break both connections."""
        if not self._is_cut:
            self._is_cut = True
            hang_up(self._client[1])
            hang_up(self._server[1])

    async def _upwards(self) -> None:
        reader, writer = self._client[0], self._server[1]
        start = await reader.readexactly(4)
        start += await reader.readexactly(struct.unpack("!I", start)[0] - 4)
        self._requests.append(
            _Request()
        )  # the server says that it is ready when it has let the client in
        writer.write(start)
        held = bytearray()
        request, is_run, statement = _Request(), False, b""
        async for kind, message in messages(reader):
            held += message
            match kind:
                case b"P":
                    name, statement, _ = bytes(message[5:]).split(b"\0", 2)
                    self._statements[name] = statement
                case b"B":
                    name = bytes(message[5:]).split(b"\0", 2)[1]
                    statement = self._statements.get(name, b"")
                case b"E":
                    is_run = True
                case b"Q":
                    statement, is_run = bytes(message[5:-1]), True
                case _:
                    pass
            if kind in {b"Q", b"S"}:
                request.statement = statement if is_run else b""
                if is_run and not await self._meet_fate(request):
                    return
                self._requests.append(request)
                request, is_run = _Request(), False
            if kind in {b"Q", b"S", b"H", b"X", b"p"}:
                writer.write(held)
                held.clear()
                await writer.drain()

    async def _meet_fate(self, request: _Request) -> bool:
        """Do what is to happen before the request is sent; return false when it is not sent at all."""
        armed = self._proxy.fate_of(request.statement)
        if armed is None:
            return True
        match armed.fault:
            case Fault.DROP_REPLY:
                request.armed = armed
            case Fault.DELAY:
                self._proxy.count(armed)
                await asyncio.sleep(armed.seconds)
            case Fault.CUT_BEFORE_SEND:
                self._proxy.count(armed)
                return False
            case Fault.BLACK_HOLE:
                self._proxy.count(armed)
                self.is_swallowed = True
                await asyncio.sleep(armed.seconds)
                return False
        return True

    async def _downwards(self) -> None:
        reader, writer = self._server[0], self._client[1]
        async for kind, message in messages(reader):
            if self.is_swallowed:
                continue
            request = self._requests[0] if self._requests else _Request()
            if kind == b"E":
                request.has_failed = True
            if kind == b"Z" and self._requests:
                self._requests.popleft()
            if request.armed is None:
                writer.write(message)
            else:
                request.reply += message
            if kind == b"Z":
                if request.armed is not None:
                    if self._is_lost(request, message):
                        return
                    self._proxy.arm_again(request.armed)
                    writer.write(request.reply)
                await writer.drain()
            elif len(message) > CHUNK:
                await writer.drain()

    def _is_lost(self, request: _Request, ready: bytes) -> bool:
        """Tell whether the reply belongs to a commit; count it if so."""
        armed = request.armed
        assert armed is not None
        if request.has_failed or ready[5:6] != b"I":
            return False
        self._proxy.count(armed)
        self._proxy.counts["in_doubt"] += 1
        parts = [part for part in armed.statements if part in request.statement]
        self._proxy.lost_replies[(parts[0] if parts else b"other").decode()] += 1
        return True

"""uvicorn's server and protocol with what they lack: a stop without a word, limits of time.

Imported when a server is made: h11 and uvicorn take longer to load than most commands run.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from guildlite.errors import GuildliteError
from guildlite.http.errors import envelope


class Server(uvicorn.Server):
    """uvicorn's server; `ended_by` is the first signal that came, 0 without one."""

    on_ready: Callable[[], None] | None = None
    ended_by = 0

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.on_ready and not self.should_exit:
            self.on_ready()

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        # Streams that outlive the grace are cancelled, which is meant and needs no traceback.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets=sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # uvicorn raises the signal again after a clean stop; the exit status is our caller's.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.ended_by = self.ended_by or sig
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True


class JoinedWrites:
    """A transport that sends what is written in one turn of the event loop at once.

    uvicorn writes head and body of an answer apart, and a system call costs as much as reading a
    small request. Nothing is held back beyond the turn, so that streams lose nothing; the empty
    write with which it ends an answer sends at once.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []
        self._planned: asyncio.Handle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not data:
            self._flush()
            return
        self._parts.append(data)
        if self._planned is None:
            self._planned = self._loop.call_soon(self._flush)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._planned is not None:
            self._planned.cancel()
            self._planned = None
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            self._transport.write(data)


class LimitedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with limits of time for receiving a request.

    h11 rather than httptools: httptools takes HTTP/0.9 and targets that name another host.
    """

    #: How long a client may take to send the head of a request, and its body.
    header_timeout_s: float
    request_timeout_s: float
    #: Connections beyond these are closed at once: each takes a file descriptor, of which the
    #: server needs some to read runs.
    most_connections: int

    _deadline: asyncio.TimerHandle | None = None
    _waits_for: object = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]
        if len(self.connections) > self.most_connections:
            self.transport.close()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Keep one deadline for what the client still owes: its head, then its body."""
        state = self.conn.their_state
        if state is self._waits_for:
            return
        self._unwatch()
        if state is h11.IDLE or state is h11.SEND_BODY:
            limit_s = self.header_timeout_s if state is h11.IDLE else self.request_timeout_s
            self._waits_for = state
            self._deadline = self.loop.call_later(limit_s, self._too_slow)

    def _unwatch(self) -> None:
        self._waits_for = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the request took too long to arrive")

    def send_400_response(self, msg: str) -> None:
        self._refuse(HTTPStatus.BAD_REQUEST, "this is not an HTTP/1.1 request")

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer by hand, unless an answer is under way or nothing was ever asked."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        between = cycle is None or cycle.response_complete
        asked = self.conn.trailing_data[0] or self.conn.their_state is not h11.IDLE
        if asked and (between or not cycle.response_started):
            body = json.dumps(envelope(GuildliteError(message))).encode()
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()


def limited_protocol(
    header_timeout_s: float, request_timeout_s: float, most_connections: int
) -> type[LimitedProtocol]:
    """Return the protocol with these limits; uvicorn makes its instances itself."""
    limits = {
        "header_timeout_s": header_timeout_s,
        "request_timeout_s": request_timeout_s,
        "most_connections": most_connections,
    }
    return type("LimitedProtocol", (LimitedProtocol,), limits)

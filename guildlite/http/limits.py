"""What uvicorn's protocols lack: limits of time and number, and fewer system calls."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from guildlite.errors import GuildliteError
from guildlite.http.errors import envelope

#: What a client owes; compared by identity.
HEAD, BODY = "head", "body"


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
            self.flush()
            return
        self._parts.append(data)
        if self._planned is None:
            self._planned = self._loop.call_soon(self.flush)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Send what was written."""
        if self._planned is not None:
            self._planned.cancel()
            self._planned = None
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            self._transport.write(data)


class Limits(asyncio.Protocol):
    """Limits of time for receiving a request, and of connections; mixed into a protocol of uvicorn.

    Whoever mixes it in calls `admit` once connected, says what the client owes in `owes`, and calls
    `watch` whenever that may have changed.
    """

    #: How long a client may take to send the head of a request, and its body.
    header_timeout_s: float
    request_timeout_s: float
    #: Connections beyond these are closed at once: each takes a file descriptor, of which the
    #: server needs some to read runs.
    most_connections: int

    transport: Any
    connections: set[Any]
    loop: asyncio.AbstractEventLoop
    _deadline: asyncio.TimerHandle | None = None
    _waits_for: object = None

    def owes(self) -> str | None:
        """Return HEAD or BODY, whichever the client still has to send; None for neither."""
        raise NotImplementedError

    def may_refuse(self) -> bool:
        """Say whether a refusal would answer what was asked, and nothing else."""
        raise NotImplementedError

    def admit(self) -> None:
        """Begin to watch a new connection, or close it when there are too many."""
        if len(self.connections) > self.most_connections:
            self.transport.close()
        else:
            self.watch()

    def watch(self) -> None:
        """Keep one deadline for what the client still owes: its head, then its body."""
        owed = self.owes()
        if owed is self._waits_for:
            return
        self.unwatch()
        if owed is not None:
            limit_s = self.header_timeout_s if owed is HEAD else self.request_timeout_s
            self._waits_for = owed
            self._deadline = self.loop.call_later(limit_s, self._too_slow)

    def unwatch(self) -> None:
        """Forget the deadline."""
        self._waits_for = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self.refuse(HTTPStatus.REQUEST_TIMEOUT, "the request took too long to arrive")

    def send_400_response(self, msg: str) -> None:
        """Answer what uvicorn calls an invalid request."""
        self.refuse(HTTPStatus.BAD_REQUEST, "this is not an HTTP/1.1 request")

    def refuse(self, status: HTTPStatus, message: str) -> None:
        """Close the connection, with an answer by hand where one is due."""
        if self.transport.is_closing():
            return
        if self.may_refuse():
            body = json.dumps(envelope(GuildliteError(message))).encode()
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()


def with_limits(
    protocol: Any, header_timeout_s: float, request_timeout_s: float, most_connections: int
) -> Any:
    """Return `protocol`, a class with `Limits` mixed in, with these limits."""
    limits = {
        "header_timeout_s": header_timeout_s,
        "request_timeout_s": request_timeout_s,
        "most_connections": most_connections,
    }
    return type("LimitedProtocol", (protocol,), limits)

"""Passing one request on to a server of our own on loopback, and its answer back as it comes.

The upstream is one fixed port; nothing of a request decides where it goes. What a client sends to
prove who it is stays here, and what the upstream says about security is replaced by the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import h11

from guildlite.http import Receive, Scope, Send

#: Seconds until the head of an answer, and between two parts of it.
TIMEOUT_S = 120.0
_CHUNK_BYTES = 64 * 1024

_Headers = list[tuple[bytes, bytes]]

#: Those of one connection (RFC 9110 7.6.1), which `Connection` may add to.
_HOP_BY_HOP = frozenset(
    [b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
     b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"]
)  # fmt: skip
#: Who asks and from where: the guard has judged that, and the upstream is not to know it.
_PRIVATE = frozenset(
    [b"host", b"cookie", b"authorization", b"origin", b"referer", b"forwarded", b"content-length",
     b"expect"]
)  # fmt: skip
#: What only the viewer says on its own origin; `Date` comes from our own server.
_OURS = frozenset(
    [b"set-cookie", b"content-security-policy", b"content-security-policy-report-only",
     b"x-frame-options", b"strict-transport-security", b"clear-site-data", b"server", b"date"]
)  # fmt: skip


class NoAnswer(Exception):
    """Nobody listens any more, or what came is no answer; nothing was sent to the client yet."""


class Upstream:
    """A server on a port of loopback. `headers` go with every request and cannot be forged."""

    def __init__(self, port: int, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.port = port
        self._headers = list(headers)

    async def forward(self, scope: Scope, receive: Receive, send: Send, target: bytes) -> None:
        """Ask for `target` (path and query as sent) what the client asked; stream the answer.

        A client that hangs up ends the request upstream. Raises NoAnswer, or ConnectionAbortedError
        for an answer that ends too early.
        """
        body = await _body(receive)
        if body is None:
            return
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError as error:
            raise NoAnswer() from error
        request = self._request(scope, target, body)
        answer = asyncio.ensure_future(self._answer(request, body, reader, writer, send))
        gone = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                answer.result()
        finally:
            answer.cancel()
            gone.cancel()
            await asyncio.gather(answer, gone, return_exceptions=True)
            # At once, with whatever is still on its way: nobody waits for it.
            writer.transport.abort()

    def _request(self, scope: Scope, target: bytes, body: bytes) -> h11.Request:
        own = {name.lower() for name, _ in self._headers}
        dropped = _PRIVATE | own | _hop_by_hop(scope["headers"])
        headers = [
            (name, value)
            for name, value in scope["headers"]
            if name not in dropped and not name.startswith(b"x-forwarded-")
        ]
        headers += [*self._headers, (b"host", b"127.0.0.1:%d" % self.port)]
        headers.append((b"connection", b"close"))
        if body or scope["method"] not in ("GET", "HEAD"):
            headers.append((b"content-length", b"%d" % len(body)))
        return h11.Request(method=scope["method"], target=target, headers=headers)

    async def _answer(
        self,
        request: h11.Request,
        body: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        send: Send,
    ) -> None:
        connection = h11.Connection(h11.CLIENT)
        started = False
        try:
            parts = (request, h11.Data(data=body), h11.EndOfMessage())
            writer.write(b"".join(connection.send(part) or b"" for part in parts))
            await writer.drain()
            async for event in _events(connection, reader):
                if isinstance(event, h11.Response):
                    started = True
                    await send(self._start(event))
                elif isinstance(event, h11.Data):
                    data = bytes(event.data)
                    await send({"type": "http.response.body", "body": data, "more_body": True})
        except (OSError, asyncio.TimeoutError, h11.RemoteProtocolError) as error:
            if not started:
                raise NoAnswer() from error
            # A body shorter than announced tells the client so.
            raise ConnectionAbortedError("the answer was cut off") from error
        await send({"type": "http.response.body", "body": b""})

    def _start(self, response: h11.Response) -> dict[str, object]:
        received = list(response.headers)
        dropped = _OURS | _hop_by_hop(received)
        headers = [
            (name, value)
            for name, value in received
            if name not in dropped and not name.startswith(b"access-control-")
        ]
        headers += self.answer_headers(received)
        return {"type": "http.response.start", "status": response.status_code, "headers": headers}

    def answer_headers(self, received: _Headers) -> _Headers:
        """Return headers to add to an answer with these; for subclasses."""
        return []


async def _events(
    connection: h11.Connection, reader: asyncio.StreamReader
) -> AsyncIterator[h11.Event]:
    """Yield the parts of one answer up to its end."""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            chunk = await asyncio.wait_for(reader.read(_CHUNK_BYTES), TIMEOUT_S)
            connection.receive_data(chunk)
        elif isinstance(event, h11.EndOfMessage):
            return
        elif isinstance(event, h11.ConnectionClosed):
            raise ConnectionResetError("closed without an answer")
        else:
            assert not isinstance(event, type)
            yield event


async def _body(receive: Receive) -> bytes | None:
    """Return the whole body, which the guard has read and counted; None for a client that left."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


async def _left(receive: Receive) -> None:
    """Return when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _hop_by_hop(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    named = [value for name, value in headers if name == b"connection"]
    words = (word.strip().lower() for value in named for word in value.split(b","))
    return _HOP_BY_HOP.union(words)

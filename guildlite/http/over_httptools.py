"""HTTP/1.1 read by httptools, in a third of the time that h11 takes.

It reads more than HTTP/1.1 as it is spoken to a server, and forgets no limits because it has none:
other versions, targets that are no paths, heads without end and trailers are refused or dropped
here, so that what reaches the guard is what h11 would let through.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http import httptools_impl

from guildlite.http.limits import BODY, HEAD, JoinedWrites, Limits, with_limits
from guildlite.http.over_h11 import H11Protocol

#: Of a head that is not complete yet; h11 has the same limit.
MAX_HEAD_BYTES = 64 * 1024
_VERSIONS = ("1.1", "1.0")


class HttptoolsProtocol(Limits, httptools_impl.HttpToolsProtocol):
    """uvicorn's protocol over httptools, with limits of time and size."""

    #: The part of a request that is being received; None after its end.
    _part: str | None = HEAD
    _head_bytes = 0
    #: Whether nothing more is read here.
    _closed = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]
        self.admit()

    def connection_lost(self, exc: Exception | None) -> None:
        self.unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        self._unset_keepalive_if_required()
        if self._part is not BODY:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._hand_over(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._break_off()
        else:
            self._after_feeding()

    def _after_feeding(self) -> None:
        if self._part is HEAD and self._head_bytes > MAX_HEAD_BYTES:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self.refuse(status, "the head of the request is too long")
        else:
            self.watch()

    def _break_off(self) -> None:
        """Read no more; what was asked before the fault is answered."""
        self._closed = True
        if self._part is BODY or self._answered():
            self.send_400_response("")
        else:
            self.cycle.keep_alive = False

    def _hand_over(self, rest: bytes) -> None:
        """Leave the connection to h11, from the request that offers an upgrade on.

        Java's client and `curl --http2` offer one with every first request. Nothing is upgraded
        here, and httptools has given the request up, with its body.
        """
        if not self._answered():
            self._break_off()
            return
        head = [self.parser.get_method() + b" " + self.url + b" HTTP/1.1"]
        head += [name + b": " + value for name, value in self.headers]
        self.unwatch()
        self.connections.discard(self)
        protocol = with_limits(
            H11Protocol, self.header_timeout_s, self.request_timeout_s, self.most_connections
        )(
            config=self.config,
            server_state=self.server_state,
            app_state=self.app_state,
            _loop=self.loop,
        )
        self._closed = True
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        protocol.data_received(b"\r\n".join([*head, b"", rest]))

    def owes(self) -> str | None:
        if self._part is BODY:
            return BODY
        # Nobody waits for the next request while an answer is on its way, nor before it begins.
        begun = self._part is HEAD or self._head_bytes > 0
        return HEAD if begun and self._answered() else None

    def may_refuse(self) -> bool:
        if self._part is BODY:
            return not self.pipeline and not self.cycle.response_started
        return self._answered() and self._head_bytes > 0

    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    # What the parser calls

    def on_message_begin(self) -> None:
        self._part = HEAD
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        # A trailer would be read as a header that was there when the guard looked.
        if self._part is HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        if version not in _VERSIONS:
            raise ValueError("not a version that is spoken here")
        if version == "1.1" and not any(name == b"host" for name, _ in self.headers):
            raise ValueError("a request of HTTP/1.1 names its host")
        if not self.url.startswith(b"/"):
            raise ValueError("not a path on this server")
        if self.parser.should_upgrade():
            return
        self._part = BODY
        self._head_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._part = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.transport.flush()
        self.watch()

"""Binding, serving and stopping cleanly: uvicorn with the time limits it lacks."""

from __future__ import annotations

import errno
import json
import logging
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from guildlite.errors import GuildliteError, UsageError
from guildlite.http.asgi import WILDCARD, Application
from guildlite.http.errors import envelope

if TYPE_CHECKING:
    import asyncio


log = logging.getLogger("guildlite.http")


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes any free one.

    Raises UsageError for an address that is not this machine's, GuildliteError for a port that is
    in use (the hint names a free one) or forbidden.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"port {port} does not exist", hint="ports are 0 to 65535")
    try:
        return _bind(host, port)
    except socket.gaierror as error:
        raise UsageError(f"`{host}` is not an address of this machine") from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(f"`{host}` is not an address of this machine") from error
        if error.errno == errno.EACCES:
            raise GuildliteError(
                f"port {port} is not open to this user", hint="take one above 1023 with `--port`"
            ) from error
        if error.errno != errno.EADDRINUSE:
            raise GuildliteError(f"port {port} cannot be used: {error.strerror}") from error
        free = _free_port(host, port)
        raise GuildliteError(f"port {port} is in use", hint=f"--port {free}") from error


def _bind(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    # With the protocol named asyncio sets TCP_NODELAY; without, every answer waits 40 ms.
    sock = socket.socket(family, kind, protocol)
    try:
        # Without this a restart waits a minute for old connections; a listener still wins.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    return sock


def _free_port(host: str, taken: int) -> int:
    """Return a port near `taken` that could be bound just now."""
    for port in (*range(taken + 1, min(taken + 50, 65536)), 0):
        try:
            with _bind(host, port) as sock:
                return int(sock.getsockname()[1])
        except OSError:
            continue
    return 0


def base_url(host: str, port: int) -> str:
    """Return the address people use for a server bound to `host`."""
    if host in WILDCARD:
        host = socket.gethostname()
    elif host == "127.0.0.1":
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class HttpServer:
    """One uvicorn on one listening socket; `run` blocks until a signal or `stop`.

    header_timeout_s, request_timeout_s: how long a client may take to send the head, and all, of
        a request before its connection is closed. uvicorn itself waits for ever.
    keep_alive_s: how long an idle connection is kept.
    grace_s: how long requests in progress may take to finish once the server stops.
    """

    def __init__(
        self,
        app: Application,
        sock: socket.socket,
        *,
        header_timeout_s: float = 10.0,
        request_timeout_s: float = 60.0,
        keep_alive_s: int = 30,
        grace_s: int = 10,
    ) -> None:
        import uvicorn

        self.port = int(sock.getsockname()[1])
        self._sock = sock
        config = uvicorn.Config(
            app,
            http=_protocol(header_timeout_s, request_timeout_s),
            ws="none",
            loop="asyncio",
            lifespan="auto",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=keep_alive_s,
            timeout_graceful_shutdown=grace_s,
        )
        self._server = _server_class()(config)

    def run(self, on_ready: Callable[[], None] | None = None) -> int:
        """Serve; return the number of the signal that ended it, 0 after `stop`.

        `on_ready` is called once, when connections are being accepted. In a thread other than
        the main one signals are left alone.
        """
        self._server.on_ready = on_ready
        logger = logging.getLogger("uvicorn.error")
        level = logger.level
        try:
            self._server.run(sockets=[self._sock])
        except SystemExit as error:
            raise GuildliteError("the server could not start") from error
        finally:
            logger.setLevel(level)
            self._sock.close()
        return int(self._server.ended_by)

    def stop(self) -> None:
        """Ask `run` to return; may be called from any thread."""
        self._server.should_exit = True


def run_server(
    app: Application,
    host: str,
    port: int,
    *,
    on_ready: Callable[[str], None] | None = None,
    grace_s: int = 10,
) -> int:
    """Bind, serve until a signal, return its number; `on_ready` gets the base URL."""
    server = HttpServer(app, listen(host, port), grace_s=grace_s)
    return server.run((lambda: on_ready(base_url(host, server.port))) if on_ready else None)


def _server_class() -> Any:
    """Return uvicorn's Server with our way of stopping; made here so that importing stays cheap."""
    import uvicorn

    class Server(uvicorn.Server):
        on_ready: Callable[[], None] | None = None
        ended_by = 0

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if self.on_ready and not self.should_exit:
                self.on_ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # Streams that outlive the grace are cancelled, which is meant and needs no traceback.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            await super().shutdown(sockets=sockets)

        @contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            # uvicorn raises the signal again after a clean stop; the exit status is our caller's.
            import threading

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

    return Server


def _protocol(header_timeout_s: float, request_timeout_s: float) -> Any:
    """Return uvicorn's h11 protocol with time limits for receiving a request.

    h11 rather than httptools: httptools takes HTTP/0.9 and targets that name another host.
    """
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Protocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None
        _waits_for: object = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
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
                limit_s = header_timeout_s if state is h11.IDLE else request_timeout_s
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

    return Protocol

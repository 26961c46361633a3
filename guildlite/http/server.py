"""Binding, serving and stopping cleanly."""

from __future__ import annotations

import errno
import logging
import signal
import socket
from collections.abc import Callable

from guildlite.errors import INTERRUPTED, GuildliteError, UsageError
from guildlite.http.asgi import WILDCARD, Application


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
    most_connections: how many are kept at once; another one is closed unanswered.
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
        most_connections: int = 600,
        grace_s: int = 10,
    ) -> None:
        import uvicorn

        from guildlite.http.transport import Server, limited_protocol

        self.port = int(sock.getsockname()[1])
        self._sock = sock
        config = uvicorn.Config(
            app,
            http=limited_protocol(header_timeout_s, request_timeout_s, most_connections),
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
        self._server = Server(config)

    def run(
        self,
        on_ready: Callable[[], None] | None = None,
        drain: Callable[[], bool] | None = None,
    ) -> int:
        """Serve; return the number of the signal that ended it, 0 after `stop`.

        on_ready: called once, when connections are being accepted.
        drain: called when the server is to stop, again and again until it says that all is
            answered; until then, at most for `grace_s`, connections are accepted as before.

        In a thread other than the main one signals are left alone.
        """
        self._server.on_ready, self._server.drain = on_ready, drain
        logger = logging.getLogger("uvicorn.error")
        level = logger.level
        try:
            self._server.run(sockets=[self._sock])
        except SystemExit as error:
            raise GuildliteError("the server could not start") from error
        finally:
            logger.setLevel(level)
            self._sock.close()
        return self._server.ended_by

    def stop(self) -> None:
        """Ask `run` to return; may be called from any thread."""
        self._server.should_exit = True


def exit_status(ended_by: int) -> int:
    """Return the exit status of a command whose server a signal ended: INTERRUPTED or 0."""
    return INTERRUPTED if ended_by == signal.SIGINT else 0

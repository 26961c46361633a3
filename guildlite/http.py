"""What both servers share: the guard before everything, one shape for errors, and starting uvicorn.

`Guard` is plain ASGI and outermost. A request reaches the routes only when its Host, Origin, size
and token are right; its body is then complete, so a handler never waits for a client. `Tokens`
holds the secret of one start. `install_error_handlers` makes every error
`{"error": message, "hint": ..., ...}`. `run_server` binds, serves and stops cleanly.

Who must be kept out: other users of the machine (token), and web pages in the user's own browser
that aim at loopback (Host, Origin, Sec-Fetch-Site, and no CORS header anywhere).
"""

from __future__ import annotations

import errno
import hmac
import json
import logging
import re
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, MutableMapping
from contextlib import contextmanager
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

from guildlite.errors import GuildliteError, UsageError

if TYPE_CHECKING:
    import asyncio

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
#: Bind addresses that stand for every interface of the machine.
WILDCARD = frozenset({"0.0.0.0", "::", ""})

#: For pages that load only what the package ships.
CSP = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'"
)
#: Path and query together; the longest address of the viewer holds a page's state, below 4 KiB.
MAX_TARGET_BYTES = 8192

_SAFE_METHODS = frozenset({"GET", "HEAD"})
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:/@\\\s]+))(?::\d{1,5})?")
_REQUEST_ID = "guildlite.request_id"

log = logging.getLogger("guildlite.http")


# Errors


class RequestError(GuildliteError):
    """A request that is not answered.

    `details` stand beside the message in the envelope (`field`, `index`, `expected`, `got`); they
    say what kind of thing came, never the caller's data. `headers` go out with the answer.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
        **details: object,
    ) -> None:
        super().__init__(message, hint=hint)
        self.http_status = status
        self.headers = dict(headers or {})
        self.details = details


def envelope(error: GuildliteError, *, request_id: str | None = None) -> dict[str, object]:
    """Return the JSON object that tells a client of `error`."""
    body: dict[str, object] = {"error": error.message}
    if error.hint:
        body["hint"] = error.hint
    if isinstance(error, RequestError):
        body.update(error.details)
    if request_id:
        body["request_id"] = request_id
    return body


def internal_error() -> RequestError:
    """Return what a client is told of a fault of ours; the cause is in the log only."""
    return RequestError("the server failed to answer this request", status=500)


ErrorPage = Callable[["Request", int, dict[str, object]], "Response | None"]


def install_error_handlers(app: Starlette, *, page: ErrorPage | None = None) -> None:
    """Make every error of `app` answer with the envelope.

    `page` may answer a request that wants HTML instead; it returns None to decline. Unexpected
    exceptions answer 500 with a request id, under which the log has the traceback.
    """
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    async def known(request: Request, error: GuildliteError) -> Response:
        request_id = None
        if error.http_status == HTTPStatus.INTERNAL_SERVER_ERROR:
            request_id = _report(request.scope, error)
        return answer(request, error, request_id)

    async def by_framework(request: Request, error: HTTPException) -> Response:
        return answer(request, _of_framework(request, error))

    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return answer(request, _of_validation(error))

    async def unexpected(request: Request, error: Exception) -> Response:
        return answer(request, internal_error(), _report(request.scope, error))

    def answer(request: Request, error: GuildliteError, request_id: str | None = None) -> Response:
        from starlette.responses import JSONResponse

        body = envelope(error, request_id=request_id)
        headers = error.headers if isinstance(error, RequestError) else {}
        response = page(request, error.http_status, body) if page else None
        if response is None:
            response = JSONResponse(body, status_code=error.http_status)
        response.headers.update(headers)
        return response

    app.add_exception_handler(GuildliteError, known)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, by_framework)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, invalid)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, unexpected)


def _of_framework(request: Request, error: Any) -> RequestError:
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.NOT_FOUND and error.detail == HTTPStatus.NOT_FOUND.phrase:
        return RequestError("there is nothing at this address", status=404, headers=headers)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = headers.get("allow") or headers.get("Allow")
        return RequestError(
            f"`{request.method[:16]}` is not possible here",
            status=405,
            hint=f"this address takes {allowed}" if allowed else None,
            headers=headers,
        )
    return RequestError(str(error.detail), status=error.status_code, headers=headers)


def _of_validation(error: Any) -> RequestError:
    """Put the first fault FastAPI found in our words, without the caller's data."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first.get("loc", ()))[:200]
    expected = str(first.get("msg", "a valid value"))[:200]
    got = json_kind(first.get("input"))
    if first.get("type") == "missing":
        got = "nothing"
    message = f"`{field}` is not valid" if field else "the request is not valid"
    return RequestError(message, status=422, field=field, expected=expected, got=got)


def json_kind(value: object) -> str:
    """Say what kind of JSON value this is, without saying the value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    for kind, words in _KINDS:
        if isinstance(value, kind):
            return words
    return type(value).__name__


_KINDS: tuple[tuple[type, str], ...] = (
    (int, "an integer"),
    (float, "a number"),
    (str, "a string"),
    (list, "a list"),
    (dict, "an object"),
)


def _report(scope: Scope, error: Exception) -> str:
    """Log a fault of ours, once a request; return the id under which it stands in the log."""
    request_id: str | None = scope.get(_REQUEST_ID)
    if request_id is None:
        request_id = scope[_REQUEST_ID] = secrets.token_hex(8)
        log.error("request %s failed", request_id, exc_info=error)
    return request_id


# Tokens


def new_token() -> str:
    """Return 256 random bits as text that fits a URL, a header and a cookie."""
    return secrets.token_urlsafe(32)


class Tokens:
    """The secret of one server start, and the one-time codes that stand for it in a URL.

    A URL is seen by shoulders, histories and logs, so it carries a code that works once. The
    browser gets the secret itself as a cookie, scripts send it as `Authorization: Bearer`.
    """

    #: Codes printed and not yet used; the oldest makes room.
    MAX_CODES = 32

    def __init__(self, secret: str | None = None) -> None:
        self.secret = secret or new_token()
        self._codes: dict[str, None] = {}

    def issue_code(self) -> str:
        """Return a new code for `?token=CODE`."""
        while len(self._codes) >= self.MAX_CODES:
            self._codes.pop(next(iter(self._codes)), None)
        code = new_token()
        self._codes[code] = None
        return code

    def redeem(self, code: str) -> bool:
        """Say whether `code` was issued and not used yet; it is used now."""
        # Looked up by hash: the time taken says nothing useful about 256 random bits.
        return self._codes.pop(code, self) is None

    def matches(self, given: str) -> bool:
        """Compare with the secret in constant time."""
        return hmac.compare_digest(given.encode(), self.secret.encode())


# The guard


class Guard:
    """Outermost ASGI layer: refuses what must not reach the routes, and reads the body whole.

    bind_host: where the server listens. Requests must name it, or loopback, as their Host. A
        wildcard address has no name to compare, so it takes any Host and demands `tokens`.
    tokens: when given, everything but `open_paths` needs the secret.
    content_types: what a request with a body may be declared as; None for anything.
    max_body_bytes: counted while it arrives, whatever Content-Length says.
    csp: Content-Security-Policy of answers that bring none of their own.
    sign_in: hint for people who come without the token.
    """

    def __init__(
        self,
        app: Application,
        *,
        bind_host: str = "127.0.0.1",
        tokens: Tokens | None = None,
        open_paths: Iterable[str] = (),
        content_types: Iterable[str] | None = ("application/json",),
        max_body_bytes: int = 1024 * 1024,
        csp: str = CSP,
        sign_in: str = "send `Authorization: Bearer TOKEN`, or open the link the server printed",
    ) -> None:
        if bind_host not in LOOPBACK and tokens is None:
            raise ValueError("a server beyond loopback needs a token")
        self.app = app
        self.tokens = tokens
        self.max_body_bytes = max_body_bytes
        self.sign_in = sign_in
        self._hosts = None if bind_host in WILDCARD else LOOPBACK | {bind_host.lower()}
        self._open_paths = frozenset(open_paths)
        self._content_types = None if content_types is None else frozenset(content_types)
        self._headers = [
            (b"content-security-policy", csp.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = self._with_headers(message.get("headers", ()))
            await send(message)

        try:
            headers = self._check(scope)
            if await self._sign_in(scope, headers, send_with_headers):
                return
            body = await self._body(headers, receive)
        except RequestError as error:
            await _send_error(scope, error, send_with_headers)
            return
        if body is None:
            return
        try:
            await self.app(scope, _replay(body, receive), send_with_headers)
        except Exception as error:
            # The framework's handler has answered by now, unless the fault lies outside of it.
            request_id = _report(scope, error)
            if not started:
                await _send_error(scope, internal_error(), send_with_headers, request_id)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            headers = self._check(scope)
            self._authorise(scope, headers)
        except RequestError:
            # Closing before accepting makes the server answer 403.
            await send({"type": "websocket.close", "code": 1008})
            return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> dict[bytes, bytes]:
        """Return the headers of a request that is not refused for where or how it was sent."""
        headers = _single_headers(scope["headers"])
        self._check_target(scope)
        host = self._check_host(headers)
        if scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS:
            _check_origin(headers, host)
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise RequestError("a compressed body is not accepted", status=415)
        self._check_content_type(headers)
        return headers

    def _check_target(self, scope: Scope) -> None:
        path = scope.get("raw_path") or scope["path"].encode()
        if len(path) + len(scope["query_string"]) > MAX_TARGET_BYTES:
            raise RequestError("the address is too long", status=414)
        if not path.startswith(b"/"):
            raise RequestError("the address must be a path on this server")

    def _check_host(self, headers: dict[bytes, bytes]) -> str:
        """Return the Host as sent, in lower case; a page that rebound its name to us is refused."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        match = _HOST.fullmatch(host)
        name = (match[1] or match[2]) if match else None
        if name is None or (self._hosts is not None and name not in self._hosts):
            raise RequestError(
                "this server does not answer to that host name",
                status=421,
                hint="use the address it printed when it started",
            )
        return host

    def _check_content_type(self, headers: dict[bytes, bytes]) -> None:
        if self._content_types is None or not _has_body(headers):
            return
        given = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if given.decode("latin-1") not in self._content_types:
            expected = ", ".join(sorted(self._content_types))
            raise RequestError(
                "the content type is not accepted here", status=415, expected=expected
            )

    async def _sign_in(self, scope: Scope, headers: dict[bytes, bytes], send: Send) -> bool:
        """Demand the token; True when the one-time code was exchanged and the answer is sent."""
        if self.tokens is None:
            return False
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        codes = [value for name, value in query if name == "token"]
        if not codes or scope["method"] != "GET":
            self._authorise(scope, headers)
            return False
        # A used link still works where the cookie is, as when a browser restores its tabs.
        cookie = []
        if self.tokens.redeem(codes[0]):
            cookie = [(b"set-cookie", self._cookie(scope))]
        else:
            self._authorise(scope, headers)
        rest = urlencode([pair for pair in query if pair[0] != "token"])
        # One leading slash and no backslash, or a browser would read it as another host.
        path = quote("/" + scope["path"].lstrip("/\\"))
        location = f"{path}?{rest}" if rest else path
        await _send(send, 303, [(b"location", location.encode()), *cookie], b"")
        return True

    def _authorise(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        if self.tokens is None or scope["path"] in self._open_paths:
            return
        scheme, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() == "bearer" and self.tokens.matches(given.strip()):
            return
        name = _cookie_name(scope)
        for pair in headers.get(b"cookie", b"").decode("latin-1").split(";"):
            key, _, value = pair.strip().partition("=")
            if key == name and self.tokens.matches(value):
                return
        raise RequestError(
            "this server needs its token",
            status=401,
            hint=self.sign_in,
            headers={"www-authenticate": "Bearer"},
        )

    def _cookie(self, scope: Scope) -> bytes:
        assert self.tokens is not None
        value = f"{_cookie_name(scope)}={self.tokens.secret}; Path=/; HttpOnly; SameSite=Strict"
        return value.encode()

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
        """Return the whole body, or None when the client left before sending it."""
        if not _has_body(headers):
            return b""
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared[:20]) > self.max_body_bytes:
            raise self._too_large()
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self.max_body_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                return bytes(body)

    def _too_large(self) -> RequestError:
        return RequestError(
            "the request body is too large", status=413, expected=f"{self.max_body_bytes} bytes"
        )

    def _with_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        own = list(headers)
        present = {name.lower() for name, _ in own}
        return own + [header for header in self._headers if header[0] not in present]


def _single_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers by name; those that decide who is asking may come only once."""
    single: dict[bytes, bytes] = {}
    for name, value in headers:
        if name not in single:
            single[name] = value
        elif name == b"cookie":
            single[name] += b"; " + value
        elif name in (b"host", b"origin", b"authorization", b"sec-fetch-site", b"content-type"):
            raise RequestError(f"the request has more than one `{name.decode()}` header")
        else:
            single[name] += b", " + value
    return single


def _check_origin(headers: dict[bytes, bytes], host: str) -> None:
    origin = headers.get(b"origin")
    site = headers.get(b"sec-fetch-site", b"none")
    own = (f"http://{host}", f"https://{host}")
    if origin is not None and origin.decode("latin-1").lower() not in own:
        raise RequestError("requests from other sites are not accepted", status=403)
    if site not in (b"same-origin", b"none"):
        raise RequestError("requests from other sites are not accepted", status=403)


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


def _cookie_name(scope: Scope) -> str:
    """Return the cookie's name; cookies ignore ports, so the port is in it."""
    server = scope.get("server") or ("", 0)
    return f"gl-{server[1]}"


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a receive that gives `body` once and then waits for the client to leave."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _send_error(
    scope: Scope, error: RequestError, send: Send, request_id: str | None = None
) -> None:
    accepts = dict(scope["headers"]).get(b"accept", b"")
    headers = [(name.encode(), value.encode()) for name, value in error.headers.items()]
    if scope["method"] == "GET" and b"text/html" in accepts:
        headers.append((b"content-type", b"text/html; charset=utf-8"))
        body = _error_page(error).encode()
    else:
        headers.append((b"content-type", b"application/json"))
        body = json.dumps(envelope(error, request_id=request_id)).encode()
    await _send(send, error.http_status, headers, body)


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


def _error_page(error: GuildliteError) -> str:
    hint = f"<p>{escape(error.hint)}</p>" if error.hint else ""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="color-scheme" content="light dark"><title>guildlite</title>'
        f"<h1>{error.http_status}</h1><p>{escape(error.message)}</p>{hint}</html>"
    )


# The server


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

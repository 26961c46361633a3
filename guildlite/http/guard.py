"""The guard before everything: a request reaches the routes only when its Host, Origin, size and
token are right, and its body is then complete, so that a handler never waits for a client.

Who must be kept out: other users of the machine (token), and web pages in the user's own browser
that aim at loopback (Host, Origin, Sec-Fetch-Site, and no CORS header anywhere).
"""

from __future__ import annotations

import hmac
import json
import logging
import re
import secrets
from collections.abc import Iterable
from html import escape
from urllib.parse import parse_qsl, quote, urlencode

from guildlite.errors import GuildliteError, UsageError
from guildlite.http.asgi import LOOPBACK, WILDCARD, Application, Message, Receive, Scope, Send
from guildlite.http.errors import RequestError, envelope, internal_error, report

#: For pages that load only what the package ships.
CSP = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'"
)
#: Path and query together; the longest address of the viewer holds a page's state, below 4 KiB.
MAX_TARGET_BYTES = 8192

_SAFE_METHODS = frozenset({"GET", "HEAD"})
# Any site's page can send these without asking first; its Origin keeps it out all the same.
_FORM_TYPES = frozenset({"multipart/form-data", "application/x-www-form-urlencoded"})
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:/@\\\s]+))(?::\d{1,5})?")

#: Fewer characters would be found by trying.
MIN_SECRET = 16
# What RFC 6750 allows after `Bearer`.
_SECRET = re.compile(r"[\w.~+/=-]+", re.ASCII)

log = logging.getLogger("guildlite.http")


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
        """Take a secret that somebody chose, or make one. Raises UsageError for a bad one."""
        self.secret = new_token() if secret is None else _checked(secret)
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


def _checked(secret: str) -> str:
    fault = None
    if len(secret) < MIN_SECRET:
        fault = "is too short to keep others out"
    elif not _SECRET.fullmatch(secret):
        fault = "holds characters that a header or a cookie cannot carry"
    if fault:
        raise UsageError(f"the token {fault}", hint=f"give {MIN_SECRET} or more letters and digits")
    return secret


# The guard


class Guard:
    """Outermost ASGI layer: refuses what must not reach the routes, and reads the body whole.

    bind_host: where the server listens. Requests must name it, or loopback, as their Host. A
        wildcard address has no name to compare, so it takes any Host and demands `tokens`.
    tokens: when given, everything but `open_paths` needs the secret.
    content_types: what a request with a body may be declared as; None for anything.
    form_prefixes: paths that begin so also take what a form in a page sends, with its Origin.
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
        form_prefixes: Iterable[str] = (),
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
        self._form_prefixes = tuple(form_prefixes)
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
            request_id = report(scope, error)
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
        self._check_content_type(scope["path"], headers)
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

    def _check_content_type(self, path: str, headers: dict[bytes, bytes]) -> None:
        if self._content_types is None or not _has_body(headers):
            return
        accepted = self._content_types
        if path.startswith(self._form_prefixes):
            accepted |= _FORM_TYPES
        given = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if given.decode("latin-1") not in accepted:
            expected = ", ".join(sorted(accepted))
            raise RequestError(
                "the content type is not accepted here", status=415, expected=expected
            )
        if given.decode("latin-1") in _FORM_TYPES and b"origin" not in headers:
            # Every browser says where a form is from; what does not can send JSON.
            raise RequestError("a form without an Origin is not accepted", status=403)

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

"""The guard, the error envelope, and a server that starts and stops cleanly.

Requests are written byte by byte on a socket: no client library sends what an attacker sends.
"""

from __future__ import annotations

import json
import logging
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from support.servers import ROOT, running

from guildlite import http
from guildlite.errors import GuildliteError, UsageError


def make_app() -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None)
    http.install_error_handlers(app)

    @app.get("/")
    async def index() -> Response:
        return Response("home", headers={"content-security-policy": "own"})

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        return Response(await request.body(), media_type="application/octet-stream")

    @app.get("/typed")
    async def typed(limit: int) -> int:
        return limit

    @app.get("/known")
    async def known() -> None:
        raise http.RequestError("too much", status=429, hint="wait", field="x", index=[1])

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("the secret cause")

    return app


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    guard = http.Guard(
        make_app(), content_types=("application/json", "text/plain"), max_body_bytes=1000
    )
    with running(guard) as port:
        yield port


@pytest.fixture
def impatient() -> Iterator[int]:
    """A server that waits half a second for a request."""
    guard = http.Guard(make_app(), content_types=["text/plain"])
    with running(guard, header_timeout_s=0.5, request_timeout_s=0.5) as port:
        yield port


def send(port: int, data: bytes) -> tuple[int, bytes]:
    """Send raw bytes; return the status (0 when the server just closed) and all that came."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    return (int(answer.split(b" ", 2)[1]) if answer else 0), answer


def ask(port: int, line: str, *headers: str, body: bytes = b"", host: str | None = "") -> int:
    """Send one request and return its status; `host` None leaves the header out."""
    lines = [f"{line} HTTP/1.1", *headers, "Connection: close"]
    if host is not None:
        lines.append(f"Host: {host or f'localhost:{port}'}")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return exchange(port, "\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def exchange(port: int, data: bytes) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(data)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    return int(answer.split(b" ", 2)[1])


# Host


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9", "[::1]", "[::1]:80"])
def test_names_of_loopback_are_answered_with_any_port(port: int, host: str) -> None:
    assert ask(port, "GET /", host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "localhost.evil.example", "localhost:1:2", "localhost@evil.example", "a b",
        "127.0.0.1.", "2130706433", "[::1", "localhost/", "0.0.0.0", "localhost:port",
    ],
)  # fmt: skip
def test_other_hosts_are_refused(port: int, host: str) -> None:
    assert ask(port, "GET /", host=host) in (400, 421)


def test_a_rebound_name_cannot_read_anything(port: int) -> None:
    assert ask(port, "GET /", host=f"rebind.example:{port}") == 421


def test_exactly_one_host_is_needed(port: int) -> None:
    assert exchange(port, b"GET / HTTP/1.0\r\n\r\n") == 421
    assert ask(port, "GET /", "Host: evil.example") == 400
    assert ask(port, "GET /", host=None) == 400


def test_targets_that_name_another_server_are_refused(port: int) -> None:
    assert ask(port, "GET http://evil.example/") == 400
    assert ask(port, "OPTIONS *") == 400


def test_long_targets_are_refused(port: int) -> None:
    assert ask(port, "GET /?" + "a" * 8000) == 200
    assert ask(port, "GET /?" + "a" * 9000) == 414


# Origin


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Origin: http://localhost:{port}", 200),
        ("Origin: http://localhost:1", 403),
        ("Origin: http://evil.example", 403),
        ("Origin: null", 403),
        ("Sec-Fetch-Site: same-origin", 200),
        ("Sec-Fetch-Site: none", 200),
        ("Sec-Fetch-Site: same-site", 403),
        ("Sec-Fetch-Site: cross-site", 403),
    ],
)
def test_only_own_pages_may_change_things(port: int, header: str, status: int) -> None:
    header = header.format(port=port)
    assert ask(port, "POST /echo", header, "Content-Type: application/json", body=b"1") == status


def test_every_method_but_get_and_head_needs_the_own_origin(port: int) -> None:
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
        assert ask(port, f"{method} /echo", "Origin: http://evil.example") == 403


def test_links_from_other_sites_may_open_a_page(port: int) -> None:
    assert ask(port, "GET /", "Origin: http://evil.example", "Sec-Fetch-Site: cross-site") == 200


# Bodies


def test_content_types_are_those_allowed(port: int) -> None:
    assert (
        ask(port, "POST /echo", "Content-Type: Application/JSON; charset=utf-8", body=b"1") == 200
    )
    assert ask(port, "POST /echo", "Content-Type: multipart/form-data", body=b"1") == 415
    assert ask(port, "POST /echo", body=b"1") == 415
    assert ask(port, "POST /echo") == 200


def test_compressed_bodies_are_refused(port: int) -> None:
    assert ask(port, "POST /echo", "Content-Encoding: gzip", body=b"1") == 415


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


CHUNKED = (
    b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def test_a_declared_body_over_the_limit_is_refused(port: int) -> None:
    assert ask(port, "POST /echo", "Content-Type: text/plain", body=b"x" * 1000) == 200
    assert ask(port, "POST /echo", "Content-Type: text/plain", body=b"x" * 1001) == 413
    huge = "Content-Length: " + "9" * 40
    assert ask(port, "POST /echo", "Content-Type: text/plain", huge) in (400, 413)


def test_a_chunked_body_is_counted_while_it_arrives(port: int) -> None:
    status, answer = send(port, CHUNKED + chunked(b"a" * 500, b"b" * 500, b""))
    assert (status, answer[-1000:]) == (200, b"a" * 500 + b"b" * 500)
    # The last chunk never comes: what is there is already too much.
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(CHUNKED + chunked(b"a" * 600, b"b" * 600))
        assert sock.recv(12) == b"HTTP/1.1 413"


def test_a_client_that_leaves_in_the_middle_leaves_no_trace(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(CHUNKED + chunked(b"a" * 100))
    assert ask(port, "GET /") == 200
    assert caplog.records == []


# Time


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\nHost: loc", b"HTTP/1.1 408"),
        (b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
         b"Content-Length: 10\r\n\r\n12345", b"HTTP/1.1 408"),
    ],
)  # fmt: skip
def test_half_sent_requests_are_closed(impatient: int, sent: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", impatient), timeout=20) as sock:
        sock.sendall(sent)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer[: len(status)] == status
    assert bool(answer) == bool(status)


def test_a_connection_may_rest_between_two_requests(impatient: int) -> None:
    with socket.create_connection(("127.0.0.1", impatient), timeout=20) as sock:
        stream = sock.makefile("rb")
        for pause_s in (0, 0.8):
            time.sleep(pause_s)
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
            while stream.readline() != b"\r\n":
                pass
            assert stream.read(4) == b"home"


def test_what_is_not_http_gets_the_envelope(port: int) -> None:
    status, answer = send(port, b"\x16\x03\x01 hello\r\n\r\n")
    assert status == 400
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]


# Headers and errors


def test_answers_carry_the_strict_headers(port: int) -> None:
    with httpx.Client(base_url=f"http://localhost:{port}", trust_env=False) as client:
        for path in ("/health", "/nothing", "/broken"):
            headers = client.get(path).headers
            assert "default-src 'self'" in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert headers["cross-origin-opener-policy"] == "same-origin"
            assert "server" not in headers
            assert "access-control-allow-origin" not in headers
        assert client.get("/").headers.get_list("content-security-policy") == ["own"]


def test_every_error_has_one_shape(port: int) -> None:
    with httpx.Client(base_url=f"http://localhost:{port}", trust_env=False) as client:
        assert client.get("/known").json() == {
            "error": "too much", "hint": "wait", "field": "x", "index": [1],
        }  # fmt: skip
        assert client.get("/known").status_code == 429
        missing = client.get("/nothing")
        assert (missing.status_code, set(missing.json())) == (404, {"error"})
        wrong = client.get("/echo")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
        assert wrong.json()["hint"] == "this address takes POST"
        invalid = client.get("/typed?limit=many")
        assert invalid.status_code == 422
        assert invalid.json()["field"] == "query.limit"
        assert invalid.json()["got"] == "a string"
        assert "many" not in invalid.text
        assert client.get("/typed").json()["got"] == "nothing"


def test_a_fault_is_told_by_its_number_and_logged_once(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    answer = httpx.get(f"http://localhost:{port}/broken", trust_env=False)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    faults = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(faults) == 1
    assert answer.json()["request_id"] in faults[0].getMessage()
    assert faults[0].exc_info


def test_a_fault_outside_of_the_framework_is_caught_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        if scope["type"] == "http":
            raise RuntimeError("the secret cause")

    with running(http.Guard(app)) as port:
        answer = httpx.get(f"http://localhost:{port}/", trust_env=False)
    assert answer.status_code == 500
    assert answer.json()["error"]
    assert len(caplog.records) == 1


# Tokens


@pytest.fixture(scope="module")
def tokens() -> http.Tokens:
    return http.Tokens()


@pytest.fixture(scope="module")
def locked_port(tokens: http.Tokens) -> Iterator[int]:
    with running(http.Guard(make_app(), tokens=tokens, open_paths=["/health"])) as port:
        yield port


@pytest.fixture
def locked(locked_port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://localhost:{locked_port}", trust_env=False) as client:
        yield client


def test_without_the_token_only_open_paths_answer(locked: httpx.Client) -> None:
    for path in ("/", "/known", "/nothing", "/openapi.json", "/health/", "//health"):
        assert locked.get(path).status_code == 401
    assert locked.post("/echo").status_code == 401
    assert locked.get("/").headers["www-authenticate"] == "Bearer"
    assert locked.get("/health").json() == {"status": "ok"}


def test_scripts_send_the_token_as_a_header(locked: httpx.Client, tokens: http.Tokens) -> None:
    for scheme in ("Bearer", "bearer"):
        assert (
            locked.get("/", headers={"authorization": f"{scheme} {tokens.secret}"}).text == "home"
        )
    for wrong in ("Bearer x", f"Basic {tokens.secret}", tokens.secret, "Bearer \xff"):
        answer = locked.get("/", headers={b"authorization": wrong.encode("latin-1")})
        assert answer.status_code == 401


def test_the_link_gives_a_cookie_once(locked: httpx.Client, tokens: http.Tokens) -> None:
    code = tokens.issue_code()
    assert code != tokens.secret
    answer = locked.get(f"/known?a=1&token={code}&b=2%203")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/known?a=1&b=2+3"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"gl-{locked.base_url.port}=")
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert locked.get("/").text == "home"
    # With the cookie a used link goes on working, elsewhere it does not.
    assert locked.get(f"/?token={code}").status_code == 303
    locked.cookies.clear()
    assert locked.get(f"/?token={code}").status_code == 401
    assert locked.get(f"/?token={tokens.secret}").status_code == 401


@pytest.mark.parametrize("path", ["//evil.example/a", "/\\evil.example/a", "/%2f/evil.example/a"])
def test_the_link_never_leads_elsewhere(
    locked: httpx.Client, tokens: http.Tokens, path: str
) -> None:
    request = f"GET {path}?token={tokens.issue_code()}"
    head = f"{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    _, answer = send(locked.base_url.port or 0, head)
    assert b"\r\nlocation: /evil.example/a\r\n" in answer


def test_only_get_uses_up_a_code(locked: httpx.Client, tokens: http.Tokens) -> None:
    code = tokens.issue_code()
    assert locked.head(f"/?token={code}").status_code == 401
    assert locked.post(f"/echo?token={code}").status_code == 401
    assert locked.get(f"/?token={code}").status_code == 303


@pytest.mark.parametrize(
    "secret", ["", "0123456789abcde", "0123456789 abcdef", "é" * 16, "a\n" * 9]
)
def test_a_secret_that_keeps_nobody_out_is_refused(secret: str) -> None:
    with pytest.raises(UsageError, match="the token "):
        http.Tokens(secret)


def test_a_secret_of_16_letters_and_digits_is_enough() -> None:
    assert http.Tokens("0123456789abcdef").matches("0123456789abcdef")


def test_the_oldest_of_many_codes_makes_room() -> None:
    tokens = http.Tokens()
    codes = [tokens.issue_code() for _ in range(tokens.MAX_CODES + 1)]
    assert not tokens.redeem(codes[0])
    assert tokens.redeem(codes[1])
    assert not tokens.redeem(codes[1])


def test_people_without_the_token_get_a_page(locked: httpx.Client) -> None:
    answer = locked.get("/", headers={"accept": "text/html,*/*"})
    assert answer.headers["content-type"].startswith("text/html")
    assert "this server needs its token" in answer.text


def test_beyond_loopback_a_token_is_not_optional() -> None:
    with pytest.raises(ValueError, match="token"):
        http.Guard(make_app(), bind_host="0.0.0.0")


def test_tokens_hold_256_bits() -> None:
    assert len(http.new_token()) >= 43
    assert http.new_token() != http.new_token()


# WebSocket


@pytest.mark.parametrize(
    ("headers", "reaches"),
    [
        ([(b"host", b"localhost:1"), (b"origin", b"http://localhost:1")], True),
        ([(b"host", b"localhost:1"), (b"origin", b"http://evil.example")], False),
        ([(b"host", b"evil.example"), (b"origin", b"http://evil.example")], False),
    ],
)
def test_websockets_are_checked_like_posts(
    headers: list[tuple[bytes, bytes]], reaches: bool
) -> None:
    import asyncio

    reached, sent = [], []

    async def app(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        reached.append(scope["path"])

    async def receive() -> http.Message:
        return {"type": "websocket.connect"}

    async def record(message: http.Message) -> None:
        sent.append(message["type"])

    scope = {"type": "websocket", "path": "/live", "query_string": b"", "headers": headers}
    asyncio.run(http.Guard(app)(scope, receive, record))
    assert bool(reached) == reaches
    assert sent == ([] if reaches else ["websocket.close"])


# Starting and stopping


def test_a_port_in_use_names_a_free_one() -> None:
    with http.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(GuildliteError) as caught:
            http.listen("127.0.0.1", port)
        assert caught.value.message == f"port {port} is in use"
        free = int((caught.value.hint or "").removeprefix("--port "))
        assert free != port
        http.listen("127.0.0.1", free).close()


def test_addresses_that_cannot_be_bound_are_named() -> None:
    with pytest.raises(UsageError, match="port 70000 does not exist"):
        http.listen("127.0.0.1", 70000)
    # TEST-NET-1, which no machine has.
    with pytest.raises(UsageError, match=r"`192\.0\.2\.1` is not an address of this machine"):
        http.listen("192.0.2.1", 0)


def test_answers_do_not_wait_for_more_to_send() -> None:
    with http.listen("127.0.0.1", 0) as sock:
        assert sock.proto == socket.IPPROTO_TCP


def test_urls_are_those_people_can_open() -> None:
    assert http.base_url("127.0.0.1", 6333) == "http://localhost:6333"
    assert http.base_url("::1", 6333) == "http://[::1]:6333"
    assert http.base_url("0.0.0.0", 6333) == f"http://{socket.gethostname()}:6333"


_STREAM = """
import asyncio, sys
from guildlite import http

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/once":
        await send({"type": "http.response.body", "body": b"tick"})
        return
    while True:
        await send({"type": "http.response.body", "body": b"tick", "more_body": True})
        await asyncio.sleep(0.02)

server = http.HttpServer(http.Guard(app), http.listen("127.0.0.1", 0), grace_s=1)
sys.exit(server.run(lambda: print(server.port, flush=True)))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_signal_stops_without_a_word(number: signal.Signals, streaming: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _STREAM],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    port = int(process.stdout.readline())
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    path = b"/" if streaming else b"/once"
    client.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
    assert client.recv(12) == b"HTTP/1.1 200"
    process.send_signal(number)
    _, complaints = process.communicate(timeout=30)
    client.close()
    assert complaints == ""
    assert process.returncode == number


def test_connections_beyond_the_limit_are_closed_and_others_get_in_later() -> None:
    guard = http.Guard(make_app(), content_types=["text/plain"])
    with running(guard, header_timeout_s=0.5, most_connections=2) as port:
        held = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(2)]
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            assert sock.recv(1) == b""
        for sock in held:
            assert sock.recv(1) == b""  # nothing was asked in half a second
            sock.close()
        assert ask(port, "GET /") == 200

"""What the server takes for a request, over h11 and over httptools; expectations are RFC 9112's.

Requests are written byte by byte on a socket: no client library sends what an attacker sends.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
from support.servers import running

from guildlite import http
from guildlite.http import transport

HOST = b"Host: localhost\r\n"
#: The application tells of each request, so that one that was smuggled in shows.
TOLD = b"told "


async def tell(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
    """Answer with method, path, names of headers and body."""
    if scope["type"] != "http":
        return
    body = (await receive())["body"]
    names = b",".join(name for name, _ in scope["headers"])
    line = f"{scope['method']} {scope['path']} ".encode() + names
    answer = TOLD + line + b" [" + body + b"]"
    headers = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture(scope="module", params=["h11", "httptools"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    with pytest.MonkeyPatch.context() as patch, served(request.param, patch) as port:
        yield port


def served(library: str, patch: pytest.MonkeyPatch) -> AbstractContextManager[int]:
    pytest.importorskip(library)
    if library == "h11":
        from guildlite.http.over_h11 import H11Protocol

        patch.setattr(transport, "_protocol", lambda: H11Protocol)
    guard = http.Guard(tell, content_types=None, max_body_bytes=1000)
    return running(guard, header_timeout_s=1.5, request_timeout_s=1.5)


def send(port: int, *parts: bytes, pause_s: float = 0.0, wait: bool = False) -> bytes:
    """Send the parts one by one; return all that comes until the server closes.

    wait: keep the sending half open, so that it is the server who closes.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=8) as sock:
        try:
            for part in parts:
                sock.sendall(part)
                time.sleep(pause_s)
            if not wait:
                sock.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError, OSError):
            pass
        received = b""
        try:
            while part := sock.recv(65536):
                received += part
        except ConnectionResetError:
            pass
        return received


def answers(received: bytes) -> list[int]:
    """Return the statuses in what came."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def post(*headers: bytes, body: bytes = b"") -> bytes:
    return b"POST /a HTTP/1.1\r\n" + HOST + b"".join(h + b"\r\n" for h in headers) + b"\r\n" + body


SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /\r\n\r\n",
        b"GET / HTTP/0.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET evil HTTP/1.1\r\n" + HOST + b"\r\n",
        b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
        b"CONNECT evil.example:80 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"no colon\r\n\r\n",
        post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello"),
        post(b"Content-Length: -5", body=b"hello"),
        post(b"Content-Length: +5", body=b"hello"),
        post(b"Content-Length: 0x5", body=b"hello"),
        post(b"Transfer-Encoding: chunked", body=b"z\r\nhello\r\n0\r\n\r\n"),
        post(b"Transfer-Encoding: chunked", body=b"-5\r\nhello\r\n0\r\n\r\n"),
        post(b"Transfer-Encoding: gzip", body=b"hello"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_request_is_refused(port: int, request_: bytes) -> None:
    received = send(port, request_)
    assert answers(received) in ([400], [421], [501]), received
    assert TOLD not in received


@pytest.mark.parametrize(
    "request_",
    [
        post(b"Content-Length: 4", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED),
        post(b"Transfer-Encoding: chunked", b"Content-Length: 4", body=b"0\r\n\r\n" + SMUGGLED),
        post(b"Transfer-Encoding: xchunked", b"Content-Length: 3", body=b"abc" + SMUGGLED),
        post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + SMUGGLED),
    ],
)
def test_nothing_is_smuggled_behind_two_lengths(port: int, request_: bytes) -> None:
    received = send(port, request_)
    if b"Content-Length: 4" in request_ and answers(received) == [200, 200]:
        # h11 believes the chunks, as the RFC allows, and so does whoever reads by the RFC.
        assert b" []" in received.split(TOLD)[1]
        return
    assert b"/smuggled" not in received
    assert len(answers(received)) <= 1


def test_a_trailer_is_no_header(port: int) -> None:
    body = b"5\r\nhello\r\n0\r\nAuthorization: Bearer x\r\nHost: evil.example\r\n\r\n"
    received = send(port, post(b"Transfer-Encoding: chunked", body=body))
    assert received.endswith(b"told POST /a host,transfer-encoding [hello]")


def test_a_head_without_end_is_cut_off(port: int) -> None:
    head = b"GET / HTTP/1.1\r\n" + HOST
    received = send(port, head, *[b"X: " + b"a" * 8000 + b"\r\n"] * 12, pause_s=0.02, wait=True)
    assert answers(received) in ([400], [431])
    assert TOLD not in received


def test_blank_lines_for_ever_are_no_request(port: int) -> None:
    begin = time.monotonic()
    get = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
    received = send(port, get, *[b"\r\n"] * 40, pause_s=0.1)
    assert answers(received)[0] == 200
    assert len(answers(received)) <= 2
    assert time.monotonic() - begin < 20


def test_requests_sent_at_once_are_answered_in_order(port: int) -> None:
    get = b"GET /%d HTTP/1.1\r\n" + HOST + b"\r\n"
    last = get[:-2] % 3 + b"Connection: close\r\n\r\n"
    middle = post(b"Content-Length: 2", body=b"hi")
    received = send(port, get % 1 + middle + last, wait=True)
    told = [part.split(b"]")[0] for part in received.split(TOLD)[1:]]
    assert [line.split()[1] for line in told] == [b"/1", b"/a", b"/3"]
    assert told[1].endswith(b"[hi")


def test_a_body_in_small_pieces_arrives_whole(port: int) -> None:
    parts = [post(b"Content-Length: 10"), b"01234", b"5678", b"9"]
    assert send(port, *parts, pause_s=0.02).endswith(b"[0123456789]")
    chunks = [
        post(b"Transfer-Encoding: chunked"),
        b"3\r\nab",
        b"c\r\n",
        b"2\r\nde\r\n0\r\n",
        b"\r\n",
    ]
    assert send(port, *chunks, pause_s=0.02).endswith(b"[abcde]")


def test_an_offer_to_upgrade_changes_nothing(port: int) -> None:
    # Java's client and `curl --http2` begin every connection so.
    offer = post(
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
        b"Content-Length: 2",
        body=b"hi",
    )
    last = b"GET /next HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n"
    received = send(port, offer + last, wait=True)
    assert answers(received) == [200, 200]
    assert b"[hi]" in received
    assert b"told GET /next" in received


def test_a_client_that_asks_first_is_told_to_go_on(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(post(b"Expect: 100-continue", b"Content-Length: 2"))
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"hi")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_what_was_asked_before_a_fault_is_answered(port: int) -> None:
    received = send(port, post(b"Content-Length: 2", body=b"hi") + b"]}\r\n\r\n", wait=True)
    assert answers(received)[0] == 200
    assert received.count(TOLD) == 1


def test_a_connection_of_http_1_0_ends_with_the_answer(port: int) -> None:
    received = send(port, b"GET / HTTP/1.0\r\n" + HOST + b"\r\n", wait=True)
    assert answers(received) == [200]
    assert b"\r\nconnection: close\r\n" in received.lower()


def test_a_client_that_goes_on_sending_after_the_answer_is_cut_off(port: int) -> None:
    begin = time.monotonic()
    received = send(port, post(b"Content-Length: 100000"), *[b"a" * 100] * 40, pause_s=0.1)
    assert answers(received) == [413]
    assert time.monotonic() - begin < 20

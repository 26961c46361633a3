"""Attacks on the viewer that need no browser: what is sent, how, how much and how many."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from support.run_dirs import START, make_run
from support.servers import running
from support.viewing import SECRET, make_project, viewing

from guildlite.http import Tokens
from guildlite.runs import Run
from guildlite.runs.facts import write_fact
from guildlite.web.app import create_app

#: Breaks out of text, an attribute, a script or a comment; reorders; speaks to terminals and to
#: templates.
PAYLOAD = (
    "</title></textarea><img src=x onerror=alert(1)>'\"--><script>alert(2)</script>"
    "\u202e\x1b]0;t\x07{{7*7}}"
)
SECTIONS = ("", "/scalars", "/media", "/system", "/output", "/files", "/source")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in which every text that a script or a user can choose is hostile."""
    place = make_project(tmp_path_factory.mktemp("place"))
    name = PAYLOAD.replace("/", "|")
    run = make_run(
        place.store,
        "expert",
        flags={name: PAYLOAD, "lr": PAYLOAD},
        series={PAYLOAD: [1.0, 2.0], f"sys/{PAYLOAD}": [1.0], "loss": [1.0]},
        out=[PAYLOAD, f"\x1b[31m{PAYLOAD}", "epoch 1 of 2 " + PAYLOAD],
        err=[f"Error: {PAYLOAD}"],
        attrs={name: PAYLOAD, "git.commit": PAYLOAD, "packages": json.dumps([PAYLOAD])},
        label=PAYLOAD,
        code=1,
    )
    run.set_note(PAYLOAD)
    (run.path / f"{name}.txt").write_text(PAYLOAD)
    (run.path / f"{name}.d").mkdir()
    (run.path / f"{name}.d" / "x.png").write_bytes(b"\x89PNG")
    (run.path / f"{name}.png").write_bytes(b"\x89PNG")
    run.paths.sources.mkdir(exist_ok=True)
    (run.paths.sources / f"{name}.py").write_text(PAYLOAD)
    (run.paths.sources / "git.diff").write_text(
        f"--- {PAYLOAD}\n+++ {PAYLOAD}\n@@ -1 +1 @@\n-{PAYLOAD}"
    )
    run.paths.errors.write_text(f"2026-11-20T17:45:02Z {PAYLOAD}\n")
    odd = make_run(place.store, name[:60], operation=PAYLOAD, started=START + 60)
    write_fact(odd.paths.exit.with_name("ignored.json"), {})
    return run


@pytest.fixture(scope="module")
def client(run: Run) -> Iterator[httpx.Client]:
    with viewing(run.path.parents[1]) as client:
        yield client


class Page(HTMLParser):
    """Reads a page as a browser does, and keeps what could act."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.acting: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        own = (values.get("src") or "").startswith(("/static/", "/runs/", "/api/"))
        if tag in ("script", "img", "iframe", "object", "embed") and not own:
            self.acting.append(f"{tag} {attrs}")
        if tag in ("base", "style") or (
            tag == "meta" and values.get("http-equiv") not in (None, "refresh")
        ):
            self.acting.append(tag)
        self.acting += [
            f"{name} on {tag}" for name in values if name.startswith("on") or name == "style"
        ]
        for name in ("href", "action", "formaction"):
            target = values.get(name)
            if target is not None and not re.match(r"/(?![/\\])|#|\?", target):
                self.acting.append(f"{tag} leads to {target}")


def addresses(run: Run) -> list[str]:
    pages = [f"/runs/{run.id}{section}" for section in SECTIONS]
    pages += [
        "/runs",
        "/compare",
        f"/compare?run={run.id}",
        f"/new?from={run.id}",
        "/new",
        "/runs?trash=1",
    ]
    return pages


def test_hostile_text_is_text_on_every_page(client: httpx.Client, run: Run) -> None:
    words = ("q", "tags", "sort", "op", "stream", "dir", "file", "page", "name", "run", "back")
    texts = dict.fromkeys(words, PAYLOAD) | {"tags": PAYLOAD + "[", "re": "1"}
    for address in addresses(run):
        for params in (None, texts, {"q": PAYLOAD}, {"op": PAYLOAD}, {"flag.lr": PAYLOAD}):
            query = httpx.QueryParams(params or {})
            joined = address + ("&" if "?" in address else "?") + str(query) if params else address
            page = client.get(joined)
            assert page.status_code < 500, joined
            assert Page(page.text).acting == [], joined
            assert "\u202e" not in page.text
            assert "\x1b" not in page.text
            assert params is not None or "{{7*7}}" in page.text or "/runs/" not in address


@pytest.mark.parametrize("path", ["/runs/{}", "/api/v1/runs/{}", "/runs/{}/files/x", "/{}"])
def test_hostile_addresses_are_answered_as_text(client: httpx.Client, path: str) -> None:
    from urllib.parse import quote

    for accept in ("text/html", "application/json"):
        answer = client.get(path.format(quote(PAYLOAD, safe="")), headers={"accept": accept})
        assert answer.status_code in (404, 421, 422)
        if "html" in answer.headers["content-type"]:
            assert Page(answer.text).acting == []
        else:
            assert answer.headers["content-type"].startswith("application/json")
            answer.json()
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_the_policy_allows_is_ours_alone(client: httpx.Client, run: Run) -> None:
    for address in addresses(run):
        policy = client.get(address).headers["content-security-policy"]
        parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        assert parts["default-src"] == "'self'"
        assert parts["frame-ancestors"] == "'none'"
        assert parts["base-uri"] == "'none'"
        assert parts["form-action"] == "'self'"
        assert "unsafe" not in policy
        assert "*" not in policy


# Links out of the run, made while it is looked at


def test_a_link_put_in_the_way_leads_nowhere(
    client: httpx.Client, run: Run, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    os.symlink(secret, run.path / "inside.txt")
    os.symlink(tmp_path, run.path / "folder")
    os.link(secret, run.path / "hard.txt")  # that is the file itself, of the same owner
    try:
        for path in ("inside.txt", "folder/secret.txt"):
            assert client.get(f"/runs/{run.id}/files/{path}").status_code == 404
        assert client.get(f"/runs/{run.id}/files", params={"dir": "folder"}).status_code == 404
        listing = client.get(f"/runs/{run.id}/files").text
        assert listing.count("a link, not followed") == 2
    finally:
        for name in ("inside.txt", "folder", "hard.txt"):
            (run.path / name).unlink()


# How much, how slowly, how many


def raw(port: int, data: bytes) -> bytes:
    """Send bytes as they are; return the first of the answer, b"" when it was just closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        try:
            sock.sendall(data)
            return sock.recv(4096)
        except (ConnectionResetError, BrokenPipeError):
            return b""


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[int]:
    make_project(tmp_path)
    app = create_app(tmp_path, None, tokens=Tokens(SECRET))
    with running(app, header_timeout_s=1, request_timeout_s=1, most_connections=8) as port:
        yield port


def head(port: int, line: str, *more: str) -> bytes:
    lines = [
        f"{line} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Authorization: Bearer {SECRET}",
        *more,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def test_sizes_have_limits(guarded: int) -> None:
    assert status(raw(guarded, head(guarded, "GET /runs"))) == 200
    assert status(raw(guarded, head(guarded, "GET /runs?q=" + "a" * 9000))) == 414
    assert status(raw(guarded, head(guarded, "GET /runs", "X: " + "a" * 200_000))) in (0, 400, 431)
    many = [f"X-{number}: 1" for number in range(20_000)]
    assert status(raw(guarded, head(guarded, "GET /runs", *many))) in (0, 400, 431)
    origin = f"Origin: http://127.0.0.1:{guarded}"
    form = "Content-Type: application/x-www-form-urlencoded"
    huge = head(guarded, "POST /new", origin, form, "Content-Length: 99999999999")
    assert status(raw(guarded, huge)) == 413
    chunks = head(guarded, "POST /new", origin, form, "Transfer-Encoding: chunked")
    body = b"".join(b"10000\r\n" + b"a" * 65536 + b"\r\n" for _ in range(40))
    assert status(raw(guarded, chunks + body)) in (0, 413)


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: -1",),
        ("Content-Length: 0x10",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: chunked", "Content-Length: 5"),
    ],
)
def test_bodies_whose_length_is_unclear_are_refused(guarded: int, headers: tuple[str, ...]) -> None:
    origin = f"Origin: http://127.0.0.1:{guarded}"
    sent = head(guarded, "POST /runs/mark", origin, "Content-Type: application/json", *headers)
    answer = raw(guarded, sent + b"0\r\n\r\nGET /runs HTTP/1.1\r\n\r\n")
    assert status(answer) in (400, 403, 413, 415, 501)
    # What follows is no second request.
    assert len(re.findall(rb"HTTP/1\.1 \d", answer)) == 1


@pytest.mark.parametrize(
    "method", ["TRACE", "CONNECT", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"]
)
def test_other_methods_do_nothing(guarded: int, method: str) -> None:
    target = "127.0.0.1:80" if method == "CONNECT" else "/runs"
    answer = raw(guarded, head(guarded, f"{method} {target}"))
    assert status(answer) in (400, 404, 405)
    assert b"access-control-allow" not in answer.lower()


def test_slow_and_silent_clients_make_room_again(guarded: int) -> None:
    """Connections beyond the limit are closed at once, half-sent ones soon: others get in."""
    sockets = [socket.create_connection(("127.0.0.1", guarded), timeout=20) for _ in range(30)]
    try:
        for number, sock in enumerate(sockets):
            try:
                if number % 2:
                    sock.sendall(b"GET /runs HTTP/1.1\r\nHost: 127")
            except OSError:
                continue  # closed already
        for sock in sockets:
            try:
                answer = sock.recv(4096)
            except ConnectionResetError:
                answer = b""
            assert answer == b"" or status(answer) == 408
    finally:
        for sock in sockets:
            sock.close()
    for _ in range(50):
        if status(raw(guarded, head(guarded, "GET /runs"))) == 200:
            return
    pytest.fail("nobody gets in any more")


# Who is asking


def test_a_token_in_the_address_is_a_code_that_works_once(guarded: int) -> None:
    for word in (SECRET, SECRET[:-1], "", "x" * 5000):
        line = f"GET /runs?token={word} HTTP/1.1\r\nHost: 127.0.0.1:{guarded}\r\n\r\n"
        # The secret itself is no code: it would stay in histories and logs.
        assert status(raw(guarded, line.encode())) == 401


def test_a_forwarded_port_is_answered_and_its_pages_can_change_things(tmp_path: Path) -> None:
    """`ssh -L 9000:localhost:6333`: the browser speaks of another port than the server has."""
    store = make_project(tmp_path).store
    run = make_run(store)
    with viewing(tmp_path) as client:
        for host in ("localhost:9000", "127.0.0.1:9000", "[::1]:9000"):
            own = {"host": host, "origin": f"http://{host}"}
            assert client.get("/runs", headers=own).status_code == 200
            changed = client.post("/runs/mark", data={"run": run.id, "back": "/runs"}, headers=own)
            assert changed.status_code == 303
            assert changed.headers["location"] == "/runs"
            other = {"host": host, "origin": "http://localhost:6333"}
            assert client.post("/runs/mark", data={"run": run.id}, headers=other).status_code == 403


def test_only_what_is_a_theme_reaches_the_page(client: httpx.Client) -> None:
    for value in ('"><script>alert(1)</script>', 'dark"', "DARK", "x" * 4000):
        page = client.get("/runs", headers={"cookie": f"gl_theme={value}"}).text
        assert "data-theme" not in page.partition("<head>")[0]
    assert 'data-theme="dark"' in client.get("/runs", headers={"cookie": "gl_theme=dark"}).text

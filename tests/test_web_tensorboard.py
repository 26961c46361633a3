"""TensorBoard behind the viewer: real processes, started, restarted, gone; and who gets there."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from starlette.responses import Response
from support.boards import EVENTS, board_processes, make_board_run, record, wait_for_board
from support.event_files import header, records, scalars, version
from support.processes import wait_for
from support.run_dirs import START, make_run
from support.servers import running
from support.viewing import SECRET, Place, make_project, viewing

from guildlite.http import Guard, Receive, Scope, Send
from guildlite.transfer.imports import Importer
from guildlite.web.proxy import NoAnswer, Upstream
from guildlite.web.tensorboard import board as board_module
from guildlite.web.tensorboard import boards as tensorboard_module
from guildlite.web.tensorboard.board import Board
from guildlite.web.tensorboard.boardprocess import UNIMPORTABLE
from guildlite.web.tensorboard.eventlinks import PROJECTOR_CONFIG, EventLinks

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("tensorboard")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GUILDLITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def place(tmp_path: Path, cache: Path) -> Place:
    return make_project(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, httpx.Client]]:
    """A project of three runs, one of them without event files, and a viewer of it."""
    directory = tmp_path_factory.mktemp("board")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUILDLITE_CACHE", str(directory / "cache"))
        place = make_project(directory)
        make_board_run(place.store)
        make_board_run(place.store, started=START + 60, count=3)
        make_run(place.store, started=START + 120)
        with viewing(directory) as client:
            yield place, client
    assert not list((directory / "cache/tensorboard").iterdir())


@pytest.fixture(scope="module")
def client(shared: tuple[Place, httpx.Client]) -> httpx.Client:
    wait_for_board(shared[1])
    return shared[1]


def run_ids(place: Place) -> list[str]:
    """Return the runs of `shared`, oldest first, without those that tests add."""
    return sorted(run.id for run in place.store.list())[:3]


def pids(processes: list[psutil.Process]) -> list[int]:
    return [each.pid for each in processes]


def own_origin(client: httpx.Client) -> dict[str, str]:
    """Return what a browser says of a form in a page of ours."""
    return {"origin": str(client.base_url).rstrip("/")}


def losses(
    client: httpx.Client, *runs: str, prefix: str = "/tensorboard"
) -> dict[str, list[float]]:
    answer = client.post(
        f"{prefix}/data/plugin/scalars/scalars_multirun",
        data={"tag": "loss", "runs": list(runs)},
        headers=own_origin(client),
    )
    assert answer.status_code == 200
    return {run: [value for _, _, value in points] for run, points in answer.json().items()}


# A real TensorBoard


def test_it_shows_the_runs_that_have_event_files(
    shared: tuple[Place, httpx.Client], client: httpx.Client
) -> None:
    first, second, without = run_ids(shared[0])
    shown = client.get("/tensorboard/data/runs").json()
    assert sorted(shown)[:2] == [first, second]
    assert without not in shown
    # Values of forms pass the guard here.
    assert losses(client, first, second) == {
        first: [step / 2 for step in range(20)],
        second: [0, 0.5, 1],
    }


def test_one_run_has_a_board_of_its_own_and_a_page_waits_for_it(
    shared: tuple[Place, httpx.Client], client: httpx.Client
) -> None:
    run = run_ids(shared[0])[1]
    answer = client.get(f"/tensorboard/?run={run}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/tensorboard/runs/{run}/")
    page = client.get(answer.headers["location"])
    assert page.status_code == 503
    assert "TensorBoard is starting" in page.text
    assert page.headers["refresh"] == "1"
    assert "unsafe" not in page.headers["content-security-policy"]
    # What TensorBoard's own page asks for waits by itself.
    assert client.get(f"/tensorboard/runs/{run}/data/runs").json() == [run]


def test_its_pages_have_a_policy_of_their_own(client: httpx.Client) -> None:
    policy = client.get("/tensorboard/").headers.get_list("content-security-policy")
    assert len(policy) == 1
    parts = dict(part.strip().split(" ", 1) for part in policy[0].split(";"))
    assert parts["default-src"] == "'self'"
    assert parts["script-src"] == "'self' 'unsafe-eval'"
    assert parts["frame-ancestors"] == "'self'"
    assert "//" not in policy[0]
    # A plugin's frame has a script within its page, named by its digest.
    frame = client.get("/tensorboard/data/plugin_entry.html?name=projector")
    assert frame.status_code == 200
    scripts = frame.headers["content-security-policy"].partition("script-src ")[2].partition(";")[0]
    assert scripts.startswith("'self' 'unsafe-eval' 'sha256-")
    assert "unsafe" not in client.get("/runs").headers["content-security-policy"]


def test_fonts_are_at_the_root_of_the_site(client: httpx.Client) -> None:
    known = "oMMgfZMQthOryQo9n22dcuvvDin1pK8aKteLpeZ5c0A.woff2"
    answer = client.get(f"/font-roboto/{known}")
    assert (answer.status_code, answer.content[:4]) == (200, b"wOF2")
    assert client.get("/font-roboto/none.woff2").status_code == 404


def test_the_guard_stands_before_it(client: httpx.Client) -> None:
    path = "/tensorboard/data/runs"
    assert client.get(path, headers={"host": "evil.example"}).status_code == 421
    assert client.get(path, headers={"authorization": "Bearer no"}).status_code == 401
    foreign = {"origin": "http://evil.example"}
    assert client.post(path, headers=foreign, data={"a": "1"}).status_code == 403
    cross = {"sec-fetch-site": "cross-site"}
    assert client.post(path, headers=cross, data={"a": "1"}).status_code == 403
    assert (
        client.post(path, content=b"x", headers={"content-type": "text/plain"}).status_code == 415
    )
    own = own_origin(client)
    assert client.post(path, headers=own, data={"a": "x" * 2**20}).status_code == 413
    assert client.put(path, headers=own).status_code == 405
    # Elsewhere forms stay out.
    assert client.post("/api/v1/code", headers=own, data={"a": "1"}).status_code == 415


def test_nobody_else_gets_an_answer_at_its_port(client: httpx.Client) -> None:
    (process, *_) = board_processes(os.getpid())
    ports = {each.laddr.port for each in process.net_connections() if each.status == "LISTEN"}
    assert ports
    for port in ports:
        answer = httpx.get(f"http://127.0.0.1:{port}/data/runs")
        assert (answer.status_code, answer.text) == (403, "this TensorBoard belongs to a viewer\n")
    # Arguments can be read by everyone.
    assert not any(len(word) > 30 and "/" not in word for word in process.cmdline())


def test_what_it_cannot_show_is_said(
    shared: tuple[Place, httpx.Client], client: httpx.Client
) -> None:
    page = client.get(f"/tensorboard/runs/{run_ids(shared[0])[2]}/")
    assert page.status_code == 404
    assert "None of these runs has" in page.text
    assert "refresh" not in page.headers
    assert "There is no run" in client.get("/tensorboard/runs/no-such-run/").text
    assert client.get("/tensorboard/runs/%2e%2e%2f/").status_code == 404
    assert client.get("/tensorboard/runs/,/").status_code == 404


def test_pages_lead_to_it(shared: tuple[Place, httpx.Client], client: httpx.Client) -> None:
    first, second, _ = run_ids(shared[0])
    assert f'href="/tensorboard/runs/{first}/"' in client.get(f"/runs/{first}").text
    assert 'href="/tensorboard/"' in client.get("/runs").text
    compare = client.get(f"/compare?run={first},{second}").text
    assert f'href="/tensorboard/runs/{first},{second}/"' in compare


def test_a_new_run_appears(shared: tuple[Place, httpx.Client], client: httpx.Client) -> None:
    run = make_board_run(shared[0].store, started=START + 300)
    wait_for("the new run", lambda: run.id in client.get("/tensorboard/data/runs").json())


def test_a_dead_one_is_started_again(place: Place, tmp_path: Path) -> None:
    run = make_board_run(place.store)
    before = pids(board_processes(os.getpid()))

    def ours() -> list[psutil.Process]:
        return [each for each in board_processes(os.getpid()) if each.pid not in before]

    with viewing(tmp_path) as client:
        wait_for_board(client)
        (first,) = ours()
        first.kill()
        wait_for("its end", lambda: first.pid not in pids(ours()))
        wait_for_board(client)
        (second,) = ours()
        # Without its data server a TensorBoard answers nothing but errors.
        for reader in second.children():
            reader.kill()
            wait_for("its end", lambda: second.pid not in pids(ours()))
            wait_for("the news", lambda: "data server died" in client.get("/tensorboard/").text)
            wait_for_board(client)
        assert client.get("/tensorboard/data/runs").json() == [run.id]


def test_the_one_used_least_makes_room(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard_module, "MOST_BOARDS", 1)
    run = make_board_run(place.store)
    before = pids(board_processes(os.getpid()))
    with viewing(tmp_path) as client:
        wait_for_board(client)
        assert client.get(f"/tensorboard/runs/{run.id}/data/runs").json() == [run.id]
        assert len(set(pids(board_processes(os.getpid()))) - set(before)) == 1
        assert client.get("/tensorboard/data/runs").json() == [run.id]


VIEWER = """
import sys
from pathlib import Path
from guildlite.web import serve_viewer
serve_viewer(Path(sys.argv[1]), port=0, open_browser=False, read_only=True,
             out=lambda line: print(line, flush=True))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_none_outlives_its_viewer(place: Place, tmp_path: Path, how: signal.Signals) -> None:
    make_board_run(place.store)
    viewer = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", VIEWER, os.fspath(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "GL_TOKEN": SECRET},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert viewer.stdout is not None
        base = viewer.stdout.readline().split()[-1].partition("/?")[0]
        headers = {"authorization": f"Bearer {SECRET}", "accept": "text/html"}
        with httpx.Client(base_url=base, headers=headers, timeout=30) as client:
            wait_for_board(client)
        (process,) = board_processes(viewer.pid)
        assert "GL_TOKEN" not in process.environ()
        family = [process, *process.children(recursive=True)]
    finally:
        viewer.send_signal(how)
        viewer.communicate(timeout=30)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive


# The process by itself


def die(board: Board) -> int:
    """Wait for the end of a process that cannot import TensorBoard; return its pid."""
    process = board._process
    assert process is not None
    assert process.wait(30) == UNIMPORTABLE
    return process.pid


def test_what_it_said_is_kept_and_it_is_tried_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "site/tensorboard"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('protobuf is too old')\n")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    board = Board(tmp_path)
    try:
        board.ensure()
        first = die(board)
        board.ensure()  # at once
        assert die(board) != first
        board.ensure()
        trouble = board.trouble
        assert trouble is not None
        assert trouble.message == "TensorBoard cannot be imported in this environment"
        assert trouble.lines == ("ImportError: protobuf is too old",)
        assert trouble.retry_s is not None
        assert trouble.retry_s <= 2
        board.ensure()
        assert board._process is None  # not yet
        monkeypatch.setattr(board, "_retry_at", 0.0)
        board.ensure()
        die(board)
        board.ensure()
        trouble = board.trouble
        assert trouble is not None
        assert trouble.retry_s is not None
        assert 2 < trouble.retry_s <= 4
    finally:
        board.stop()


def test_a_missing_tensorboard_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_module, "find_spec", lambda name: None)
    board = Board(tmp_path)
    board.ensure()
    assert board.trouble == (
        "TensorBoard is not installed in this environment",
        "`pip install tensorboard`",
        (),
        None,
    )


# The log directory


@pytest.fixture
def links(place: Place) -> Iterator[EventLinks]:
    links = EventLinks(place.store.list)
    yield links
    links.close()


def tree(links: EventLinks) -> dict[str, str]:
    """Return every link below the log directory with its target."""
    return {
        str(path.relative_to(links.folder)): os.readlink(path)
        for path in links.folder.rglob("*")
        if path.is_symlink()
    }


def test_only_sound_files_are_linked(place: Place, links: EventLinks) -> None:
    sound = make_board_run(place.store)
    mixed = make_board_run(place.store, started=START + 1)
    (mixed.path / "eval").mkdir()
    # A length that claims 1 TiB under its right checksum ends TensorBoard's data server.
    (mixed.path / "eval" / EVENTS).write_bytes(records(version()) + header(2**40))
    (mixed.path / "eval" / "unreadable.tfevents").write_bytes(b"no event file at all" * 10)
    record(mixed)
    os.mkfifo(mixed.path / "eval" / "pipe.tfevents")
    unreadable = make_board_run(place.store, started=START + 2)
    unreadable.paths.manifest.unlink()
    without_db = make_board_run(place.store, started=START + 3)
    without_db.paths.db.write_bytes(b"not a database" * 100)
    links.refresh()
    assert tree(links) == {f"{run.id}/{EVENTS}": str(run.path / EVENTS) for run in (sound, mixed)}


def test_an_imported_run_is_linked_to_where_its_files_are(
    place: Place, links: EventLinks, tmp_path: Path
) -> None:
    logdir = tmp_path / "elsewhere"
    logdir.mkdir()
    (logdir / EVENTS).write_bytes(records(version(), *scalars(3)))
    Importer(place.store.root).look([logdir])
    (run,) = place.store.list()
    links.refresh()
    assert tree(links) == {f"{run.id}/{EVENTS}": str(logdir / EVENTS)}


@pytest.mark.parametrize("name", [f"../{EVENTS}", f"a/../../{EVENTS}", "/etc/passwd"])
def test_nothing_outside_a_run_is_linked(place: Place, links: EventLinks, name: str) -> None:
    run = make_board_run(place.store)
    (run.path.parent / EVENTS).write_bytes(records(version(), *scalars(3)))
    db = sqlite3.connect(run.paths.db)
    db.execute("UPDATE source SET path = ?", (name,))
    db.commit()
    db.close()
    links.refresh()
    assert tree(links) == {}


def test_links_follow_the_runs(place: Place, links: EventLinks) -> None:
    links.refresh()
    assert links.empty
    run = make_board_run(place.store)
    links.refresh()
    assert list(tree(links)) == [f"{run.id}/{EVENTS}"]
    (run.path / "late").mkdir()
    (run.path / "late" / EVENTS).write_bytes(records(version(), *scalars(2)))
    record(run)
    links.refresh()
    assert sorted(tree(links)) == [f"{run.id}/{EVENTS}", f"{run.id}/late/{EVENTS}"]
    run.path.rename(run.path.parent / "other")
    links.refresh()
    assert sorted(tree(links)) == [f"other/{EVENTS}", f"other/late/{EVENTS}"]
    assert not (links.folder / run.id).exists()


def test_a_folder_with_embeddings_is_linked_as_a_whole(place: Place, links: EventLinks) -> None:
    run = make_board_run(place.store)
    links.refresh()
    (run.path / PROJECTOR_CONFIG).write_text('embeddings { tensor_path: "00000/tensors.tsv" }')
    links.refresh()
    assert tree(links) == {run.id: str(run.path)}
    (run.path / PROJECTOR_CONFIG).unlink()
    links.refresh()
    assert tree(links) == {f"{run.id}/{EVENTS}": str(run.path / EVENTS)}


def test_what_a_killed_viewer_left_is_removed(place: Place, cache: Path, links: EventLinks) -> None:
    run = make_board_run(place.store)
    left = cache / "tensorboard" / "left"
    (left / "runs").mkdir(parents=True)
    (left / "runs" / run.id).symlink_to(run.path)
    (left / "lock").touch()
    another = EventLinks(place.store.list)
    assert not left.exists()
    assert (run.path / EVENTS).exists()
    assert links.folder.exists()  # its owner lives
    another.close()


# The proxy, before servers that say exactly what a test wants


class Scripted:
    """A server for one connection: keeps what it was sent, and answers when it is told to."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(30)
        self.port = self._listener.getsockname()[1]

    def accept(self) -> tuple[socket.socket, bytes]:
        """Return the connection and its request."""
        connection, _ = self._listener.accept()
        connection.settimeout(30)
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        while length is not None and len(body) < int(length[1]):
            body += connection.recv(65536)
        return connection, head + b"\r\n\r\n" + body

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def upstream() -> Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.close()


@pytest.fixture
def proxied(upstream: Scripted) -> Iterator[httpx.Client]:
    forwarder = Upstream(upstream.port, [(b"x-secret", b"ours")])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        target: bytes = scope["raw_path"] + b"?" + scope["query_string"]
        try:
            await forwarder.forward(scope, receive, send, target)
        except NoAnswer:
            await Response("no answer", 502)(scope, receive, send)

    with (
        running(Guard(app, content_types=None)) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        yield client


def answer_with(upstream: Scripted, *parts: bytes) -> tuple[threading.Thread, list[bytes]]:
    """Answer the next request in a thread; the list gets what was asked."""
    asked: list[bytes] = []

    def answer() -> None:
        connection, request = upstream.accept()
        asked.append(request)
        with connection:
            for part in parts:
                connection.sendall(part)

    thread = threading.Thread(target=answer)
    thread.start()
    return thread, asked


def test_what_proves_who_asks_stays_here(upstream: Scripted, proxied: httpx.Client) -> None:
    thread, asked = answer_with(
        upstream,
        b"HTTP/1.0 200 OK\r\nSet-Cookie: a=b\r\nContent-Security-Policy: x\r\nKeep-Alive: 1\r\n"
        b"Connection: x-gone\r\nX-Gone: 1\r\nAccess-Control-Allow-Origin: *\r\nX-Kept: 1\r\n\r\n",
        b"end",
    )
    answer = proxied.post(
        "/a%2Fb?c=%20",
        content=b"body",
        headers={
            "cookie": "gl-1=secret",
            "authorization": "Bearer secret",
            "connection": "x-private",
            "x-private": "1",
            "x-secret": "forged",
            "x-kept": "1",
        },
    )
    thread.join()
    head, _, body = asked[0].lower().partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    sent = dict(each.split(b": ", 1) for each in lines)
    assert (line, body) == (b"post /a%2fb?c=%20 http/1.1", b"body")
    assert sent[b"x-secret"] == b"ours"
    assert sent[b"host"] == b"127.0.0.1:%d" % upstream.port
    assert sent[b"x-kept"] == b"1"
    assert not sent.keys() & {b"cookie", b"authorization", b"x-private", b"origin"}
    assert (answer.status_code, answer.text) == (200, "end")
    assert answer.headers["x-kept"] == "1"
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert not {"set-cookie", "x-gone", "access-control-allow-origin"} & answer.headers.keys()


def test_an_answer_streams(upstream: Scripted, proxied: httpx.Client) -> None:
    seen = threading.Event()

    def answer() -> None:
        connection, _ = upstream.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
            # The rest only once the beginning has arrived at the other end.
            assert seen.wait(30)
            connection.sendall(b"later")

    thread = threading.Thread(target=answer)
    thread.start()
    with proxied.stream("GET", "/") as response:
        chunks = response.iter_raw()
        assert next(chunks) == b"first"
        seen.set()
        assert b"".join(chunks) == b"later"
    thread.join()


def test_a_client_that_hangs_up_ends_the_request(upstream: Scripted, proxied: httpx.Client) -> None:
    ended = threading.Event()

    def answer() -> None:
        connection, _ = upstream.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
            try:
                assert connection.recv(1) == b""
            except ConnectionResetError:
                pass
            ended.set()

    thread = threading.Thread(target=answer)
    thread.start()
    with proxied.stream("GET", "/") as response:
        next(response.iter_raw())
    assert ended.wait(30)
    thread.join()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200", b"nonsense\r\n\r\n"])
def test_no_answer_is_said(upstream: Scripted, proxied: httpx.Client, said: bytes) -> None:
    thread, _ = answer_with(upstream, said)
    answer = proxied.get("/")
    thread.join()
    assert answer.status_code == 502
    assert answer.text == "no answer"
    upstream.close()
    assert proxied.get("/").status_code == 502


def test_an_answer_cut_off_is_not_taken_for_whole(
    upstream: Scripted, proxied: httpx.Client
) -> None:
    thread, _ = answer_with(upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
    with pytest.raises(httpx.RemoteProtocolError):
        proxied.get("/")
    thread.join()

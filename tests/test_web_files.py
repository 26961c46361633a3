"""Files of a run through the viewer: nothing outside the run, nothing that runs in the browser."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.run_dirs import make_run
from support.viewing import get_raw, make_project, viewing

from guildlite.http import RequestError
from guildlite.runs import Run
from guildlite.web.files import list_folder, open_inside, read_text


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run directory with something to reach, and a secret beside it."""
    (tmp_path / "secret.txt").write_text("secret")
    root = tmp_path / "run"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "sub" / "deep" / "a.txt").write_text("inside")
    (root / "plain.txt").write_text("hello")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "inner.txt").symlink_to(root / "plain.txt")
    (root / "out").symlink_to(tmp_path)
    (root / "sub" / "up").symlink_to("..")
    os.mkfifo(root / "pipe")
    return root


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        ".",
        "..",
        "../secret.txt",
        "sub/../../secret.txt",
        "sub/../plain.txt",
        "./plain.txt",
        "sub//deep/a.txt",
        "sub/",
        "sub",
        "/etc/passwd",
        "plain.txt/",
        "plain.txt/x",
        "plain.txt\0",
        "\0",
        "..\\secret.txt",
        "sub\\deep\\a.txt",
        "link.txt",
        "inner.txt",
        "out/secret.txt",
        "sub/up/plain.txt",
        "pipe",
        "missing",
        "x" * 5000,
    ],
)
def test_only_regular_files_inside_are_opened(root: Path, path: str) -> None:
    with pytest.raises(RequestError) as caught:
        open_inside(root, path)
    assert caught.value.http_status == 404


def test_a_socket_is_no_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        monkeypatch.chdir(root)  # a socket's path has room for 100 characters
        sock.bind("sock")
    with pytest.raises(RequestError):
        open_inside(root, "sock")


def test_what_is_inside_is_opened(root: Path) -> None:
    with open_inside(root, "sub/deep/a.txt") as file:
        assert file.read() == b"inside"
    assert read_text(root, "plain.txt", 3) == ("hel", False)
    assert read_text(root, "plain.txt", 5) == ("hello", True)


def test_the_run_directory_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    with open_inside(tmp_path / "alias", "plain.txt") as file:
        assert file.read() == b"hello"


def test_a_folder_lists_folders_first_and_says_what_is_a_link(root: Path) -> None:
    folder = list_folder(root, "")
    assert [(entry.name, entry.kind) for entry in folder.entries] == [
        ("sub", "folder"),
        ("inner.txt", "link"),
        ("link.txt", "link"),
        ("out", "link"),
        ("pipe", "other"),
        ("plain.txt", "file"),
    ]
    assert list_folder(root, "sub").entries[0].path == "sub/deep"
    for path in ("..", "out", "sub/up", "plain.txt"):
        with pytest.raises(RequestError):
            list_folder(root, path)


# Over HTTP


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def run(place: Path) -> Run:
    run = make_run(make_project(place).store)
    (run.path / "page.html").write_text("<script>alert(1)</script>")
    (run.path / "evil.svg").write_text("<svg onload='alert(1)'/>")
    (run.path / "numbers.txt").write_text("0123456789")
    (run.path / "model.onnx").write_bytes(bytes(range(256)) * 4096)
    (run.path / "empty.txt").write_bytes(b"")
    (run.path / "image.png").write_bytes(b"\x89PNG")
    (run.path / 'na"me; é.bin').write_bytes(b"x")
    return run


@pytest.fixture(scope="module")
def client(run: Run, place: Path) -> Iterator[httpx.Client]:
    with viewing(place) as client:
        yield client


@pytest.mark.parametrize(
    ("name", "media_type", "attached"),
    [
        ("page.html", "text/plain; charset=utf-8", False),
        ("evil.svg", "text/plain; charset=utf-8", False),
        ("numbers.txt", "text/plain; charset=utf-8", False),
        ("image.png", "image/png", False),
        ("model.onnx", "application/octet-stream", True),
        ("na%22me%3B%20%C3%A9.bin", "application/octet-stream", True),
    ],
)
def test_files_are_inert(
    client: httpx.Client, run: Run, name: str, media_type: str, attached: bool
) -> None:
    answer = client.get(f"/runs/{run.id}/files/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == media_type
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert ("content-disposition" in answer.headers) == attached
    if attached:
        assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")


@pytest.mark.parametrize(
    "path",
    [
        "../../../../etc/passwd",
        "..%2f..%2fproject.yml",
        "%2e%2e/%2e%2e/project.yml",
        "%2fetc%2fpasswd",
        "..%5cproject.yml",
        "numbers.txt%00.png",
        "gl.d",
        "",
    ],
)
def test_no_address_leaves_the_run(client: httpx.Client, run: Run, path: str) -> None:
    assert get_raw(client, f"/runs/{run.id}/files/{path}") == 404


@pytest.mark.parametrize("run_id", ["..", "%2e%2e", ".", "..%2fruns", "gl.d", "a%00b"])
def test_no_run_id_is_a_path(client: httpx.Client, run_id: str) -> None:
    for address in (f"/runs/{run_id}/files/project.yml", f"/api/v1/runs/{run_id}/files"):
        assert get_raw(client, address) == 404


@pytest.mark.parametrize(
    ("header", "status", "body", "content_range"),
    [
        ("bytes=0-3", 206, "0123", "bytes 0-3/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=-99", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=8-99", 206, "89", "bytes 8-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=5-2", 200, "0123456789", None),
        ("bytes=0-1,4-5", 200, "0123456789", None),
        ("lines=1-2", 200, "0123456789", None),
        ("bytes=" + "9" * 40 + "-", 200, "0123456789", None),
        ("bytes=-", 200, "0123456789", None),
    ],
)
def test_one_byte_range(
    client: httpx.Client,
    run: Run,
    header: str,
    status: int,
    body: str | None,
    content_range: str | None,
) -> None:
    answer = client.get(f"/runs/{run.id}/files/numbers.txt", headers={"range": header})
    assert answer.status_code == status
    assert answer.headers.get("content-range") == content_range
    if body is not None:
        assert answer.text == body
        assert answer.headers["content-length"] == str(len(body))


def test_whole_empty_and_head(client: httpx.Client, run: Run) -> None:
    whole = client.get(f"/runs/{run.id}/files/model.onnx")
    assert whole.content == bytes(range(256)) * 4096
    assert client.get(f"/runs/{run.id}/files/empty.txt").content == b""
    ranged = client.get(f"/runs/{run.id}/files/empty.txt", headers={"range": "bytes=0-0"})
    assert ranged.status_code == 416
    head = client.head(f"/runs/{run.id}/files/numbers.txt")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "10")
    conditional = {"range": "bytes=0-1", "if-range": '"x"'}
    answer = client.get(f"/runs/{run.id}/files/numbers.txt", headers=conditional)
    assert answer.status_code == 200


def test_the_list_links_to_what_can_be_opened(client: httpx.Client, run: Run) -> None:
    page = client.get(f"/runs/{run.id}/files").text
    assert f'href="/runs/{run.id}/files/na%22me%3B%20%C3%A9.bin"' in page
    assert f'href="/runs/{run.id}/files?dir=gl.d"' in page
    listed = client.get(f"/api/v1/runs/{run.id}/files?dir=gl.d/meta").json()
    assert "manifest.json" in [entry["name"] for entry in listed["entries"]]
    assert client.get(f"/runs/{run.id}/files?dir=..").status_code == 404
    assert client.get(f"/runs/{run.id}/files/gl.d/run.db").content.startswith(b"SQLite format 3")


def test_a_file_needs_the_token(run: Run, client: httpx.Client) -> None:
    stranger = {"authorization": "Bearer guess"}
    answer = client.get(f"/runs/{run.id}/files/numbers.txt", headers=stranger)
    assert answer.status_code == 401

"""`gl view` as a process: what it prints, who is let in, how it ends, and who finds it again."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from support.run_dirs import make_run
from support.viewing import make_project

from guildlite.errors import GuildliteError, UsageError
from guildlite.platform import ProcessIdentity
from guildlite.web import serve_viewer
from guildlite.web.state import Running, find_running, forget_running, write_running

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import json, sys
from pathlib import Path
from guildlite.web import serve_viewer
sys.exit(serve_viewer(Path(sys.argv[1]), out=lambda line: print(line, flush=True),
                      **json.loads(sys.argv[2])))
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setenv("GUILDLITE_CACHE", str(cache))
    monkeypatch.delenv("GL_TOKEN", raising=False)
    return cache


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "digits"
    directory.mkdir()
    make_run(make_project(directory).store)
    return directory


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(directory: Path, **options: object) -> subprocess.Popen[str]:
        words = json.dumps({"port": 0, "open_browser": False, **options})
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", SCRIPT, os.fspath(directory), words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def url_in(line: str) -> str:
    found = re.search(r"http://\S+", line)
    assert found is not None, line
    return found[0]


def test_the_printed_address_lets_in_once(project: Path, start: Start) -> None:
    process = start(project)
    line = first_line(process)
    assert line.startswith("viewing digits at http://localhost:")
    with httpx.Client(follow_redirects=True) as browser:
        assert browser.get(url_in(line)).status_code == 200
        assert httpx.get(url_in(line)).status_code == 401
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130


def test_a_second_viewer_prints_the_first_ones_address(project: Path, start: Start) -> None:
    first = start(project)
    base = url_in(first_line(first)).partition("/?")[0]
    second = start(project / "runs")  # somewhere inside the same project
    line = first_line(second)
    assert second.wait(30) == 0
    assert url_in(line).startswith(f"{base}/?token=")
    with httpx.Client(follow_redirects=True) as browser:
        assert browser.get(url_in(line)).status_code == 200
    first.terminate()
    assert first.wait(30) == 0
    assert find_running(project) is None


def test_a_killed_viewer_is_not_believed(project: Path, start: Start) -> None:
    first = start(project)
    first_line(first)
    assert find_running(project) is not None
    first.kill()
    first.wait()
    assert find_running(project) is None
    again = start(project)
    assert first_line(again).startswith("viewing digits at ")


def test_scripts_use_the_secret_they_chose(
    project: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GL_TOKEN", "0123456789abcdef")
    base = url_in(first_line(start(project))).partition("/?")[0]
    headers = {"authorization": "Bearer 0123456789abcdef"}
    assert httpx.get(f"{base}/api/v1/health", headers=headers).json()["project"] == "digits"


@pytest.mark.parametrize(
    ("token", "fault"),
    [("", "too short"), ("short", "too short"), ("ä" * 20, "header"), ("a;b" * 10, "cookie")],
)
def test_a_weak_secret_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, token: str, fault: str
) -> None:
    monkeypatch.setenv("GL_TOKEN", token)
    with pytest.raises(UsageError, match=fault):
        serve_viewer(project, port=0, open_browser=False, out=print)


def test_a_port_in_use_names_a_free_one(project: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(GuildliteError, match="is in use") as caught:
            serve_viewer(project, port=port, open_browser=False, out=print)
    assert re.fullmatch(r"--port \d+", caught.value.hint or "")


def test_a_bad_project_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "project.yml").write_text("modls: {}\n")
    with pytest.raises(UsageError, match=r"project\.yml:1:1"):
        serve_viewer(tmp_path, port=0, open_browser=False, out=print)


def test_read_only_changes_no_file(tmp_path: Path, start: Start) -> None:
    directory = tmp_path / "plain"
    directory.mkdir()
    run = make_run(make_project(directory).store, ended=False)
    run.paths.heartbeat.touch()

    def stamps() -> dict[str, int]:
        files = (path for path in directory.rglob("*") if path.is_file())
        return {str(path): path.stat().st_mtime_ns for path in files}

    before = stamps()
    line = first_line(start(directory, read_only=True))
    with httpx.Client(follow_redirects=True) as browser:
        assert browser.get(url_in(line)).status_code == 200
        base = url_in(line).partition("/?")[0]
        assert "lost" in browser.get(f"{base}/runs/{run.id}").text
    assert stamps() == before


# The file that says which viewer is running


def make_running(directory: Path, **changes: object) -> Running:
    mine = ProcessIdentity.of(os.getpid())
    values = {"directory": str(directory), "url": "http://localhost:1", "connect_host": "127.0.0.1"}
    return Running(**{**values, "port": 1, "secret": "s", "process": mine, **changes})  # type: ignore[arg-type]


def test_the_file_is_for_its_owner_alone(tmp_path: Path, cache: Path) -> None:
    write_running(make_running(tmp_path))
    (file,) = (cache / "viewers").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert find_running(tmp_path) == make_running(tmp_path)
    forget_running(tmp_path)
    assert find_running(tmp_path) is None


def test_only_the_living_process_that_wrote_it_is_believed(tmp_path: Path) -> None:
    mine = ProcessIdentity.of(os.getpid())
    for other in (mine._replace(start="0"), mine._replace(boot="x"), mine._replace(host="x")):
        write_running(make_running(tmp_path, process=other))
        assert find_running(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"process": {"pid": 1}}', "null"])
def test_a_damaged_file_is_as_none(tmp_path: Path, cache: Path, text: str) -> None:
    write_running(make_running(tmp_path))
    (file,) = (cache / "viewers").iterdir()
    file.write_text(text)
    assert find_running(tmp_path) is None


def test_nobody_or_a_stranger_on_the_port_gives_no_code(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert make_running(tmp_path, port=port).request_code() is None


def test_without_a_cache_there_is_only_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GUILDLITE_CACHE", str(tmp_path / "file" / "below"))
    write_running(make_running(tmp_path))
    assert find_running(tmp_path) is None


def test_importing_the_face_loads_no_framework() -> None:
    code = "import sys, guildlite.web; print([m for m in sys.modules if m in set(sys.argv[1:])])"
    heavy = ["fastapi", "starlette", "jinja2", "uvicorn", "pydantic", "yaml", "asyncio"]
    done = subprocess.run(
        [sys.executable, "-c", code, *heavy], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

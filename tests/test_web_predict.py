"""The page of `gl serve` behind the viewer: real processes, and who gets there."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

pytest.importorskip("onnxruntime")
from support.models import save_doubler
from support.processes import wait_for
from support.run_dirs import START, make_run
from support.viewing import SECRET, Place, make_project, viewing

from guildlite.runs import Run
from guildlite.serve import behind_command, model_files
from guildlite.web import predict as predict_module
from guildlite.web.predict import ModelServers

SERVERS = ModelServers(model_files, behind_command())
ROOT = Path(predict_module.__file__).parents[2]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_project(tmp_path)


def make_model_run(place: Place, *, started: float = START) -> Run:
    run = make_run(place.store, started=started)
    save_doubler(run.path / "model.onnx")
    return run


def wait_for_page(client: httpx.Client, run: Run) -> httpx.Response:
    """Load the page as a browser does, again and again until it is there."""
    deadline = time.monotonic() + 60
    while True:
        answer = client.get(f"/runs/{run.id}/predict/")
        if answer.status_code == 200:
            return answer
        assert answer.status_code == 503, answer.text
        assert "refresh" in answer.headers, answer.text
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)


def servers(parent: int) -> list[psutil.Process]:
    """Return the prediction servers that a process started and that live."""
    found = []
    for process in psutil.Process(parent).children():
        with contextlib.suppress(psutil.Error):
            if any(word.endswith("behind.py") for word in process.cmdline()):
                found.append(process)
    return found


@pytest.fixture
def shared(place: Place, tmp_path: Path) -> Iterator[tuple[Run, httpx.Client]]:
    run = make_model_run(place)
    with viewing(tmp_path, models=SERVERS) as client:
        wait_for_page(client, run)
        yield run, client
    assert servers(os.getpid()) == []


def test_the_page_and_what_it_asks_for(shared: tuple[Run, httpx.Client]) -> None:
    run, client = shared
    page = client.get(f"/runs/{run.id}/predict/")
    own = str(client.base_url).rstrip("/") + f"/runs/{run.id}"
    assert f"{own}/predict/run" in page.text
    assert f'<a href="{own}">back to the run</a>' in page.text
    for name in ("static/try.js", "static/page.css", "info", "docs", "openapi.json", "metrics"):
        assert client.get(f"/runs/{run.id}/predict/{name}").status_code == 200
    answer = client.post(f"/runs/{run.id}/predict/run", json=[{"image": [1, 2, 3, 4]}])
    assert answer.json() == [{"prediction": [2, 4, 6]}]
    bad = client.post(f"/runs/{run.id}/predict/run", json=[{"image": [1, 2]}])
    assert (bad.status_code // 100, bad.json()["index"]) == (4, [0])


def test_the_policy_of_the_page_is_kept(shared: tuple[Run, httpx.Client]) -> None:
    run, client = shared
    (policy,) = client.get(f"/runs/{run.id}/predict/").headers.get_list("content-security-policy")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_only_the_viewer_reaches_it(shared: tuple[Run, httpx.Client]) -> None:
    run, client = shared
    (server,) = servers(os.getpid())
    assert SECRET not in " ".join(server.cmdline())
    (port,) = {
        each.laddr.port
        for each in server.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN
    }
    direct = f"http://127.0.0.1:{port}"
    assert httpx.get(f"{direct}/info", trust_env=False).status_code == 401
    mine = {"authorization": f"Bearer {SECRET}"}
    assert httpx.get(f"{direct}/info", headers=mine, trust_env=False).status_code == 401
    address = str(client.base_url.join(f"/runs/{run.id}/predict/run"))
    assert httpx.post(address, json=[], trust_env=False).status_code == 401
    elsewhere = {"origin": "http://evil.example"}
    assert client.post(address, json=[], headers=elsewhere).status_code == 403
    forged = {"x-guildlite-base": "http://evil.example"}
    assert "evil" not in client.get(f"/runs/{run.id}/predict/", headers=forged).text


def test_it_is_offered_where_there_is_a_model(place: Place, tmp_path: Path) -> None:
    run = make_model_run(place)
    without = make_run(place.store, started=START + 60)
    with viewing(tmp_path, models=SERVERS) as client:
        assert f'href="/runs/{run.id}/predict/"' in client.get(f"/runs/{run.id}").text
        assert "/predict/" not in client.get(f"/runs/{without.id}").text
        assert client.get(f"/runs/{without.id}/predict/").status_code == 404
        assert client.get("/runs/no-such-run/predict/").status_code == 404
        led = client.get(f"/runs/{run.id}/predict")
        assert (led.status_code, led.headers["location"]) == (303, f"/runs/{run.id}/predict/")
        assert client.put(f"/runs/{run.id}/predict/run", json=[]).status_code == 405
    assert servers(os.getpid()) == []


def test_a_viewer_that_only_shows_starts_nothing(place: Place, tmp_path: Path) -> None:
    run = make_model_run(place)
    with viewing(tmp_path, models=SERVERS, read_only=True) as client:
        assert "/predict/" not in client.get(f"/runs/{run.id}").text
        assert client.get(f"/runs/{run.id}/predict/").status_code == 403
        assert servers(os.getpid()) == []


def test_what_may_run_code_is_refused_as_by_gl_serve(place: Place, tmp_path: Path) -> None:
    run = make_run(place.store)
    (run.path / "model.pkl").write_bytes(pickle.dumps({"a": 1}))
    with viewing(tmp_path, models=SERVERS) as client:
        refused = []

        def is_told() -> bool:
            answer = client.get(f"/runs/{run.id}/predict/")
            refused.append(answer)
            return "refresh" not in answer.headers

        wait_for("the refusal", is_told)
        assert refused[-1].status_code == 503
        assert "--trust" in refused[-1].text
        asked = client.post(f"/runs/{run.id}/predict/run", json=[])
        assert (asked.status_code, "model.pkl" in asked.text) == (503, True)


def test_one_of_several_models_is_chosen(place: Place, tmp_path: Path) -> None:
    run = make_run(place.store)
    (run.path / "my models").mkdir()
    save_doubler(run.path / "my models" / "a&b.onnx")
    save_doubler(run.path / "my models" / "c.onnx")
    with viewing(tmp_path, models=SERVERS) as client:
        pages = []

        def is_asked() -> bool:
            pages.append(client.get(f"/runs/{run.id}/predict/"))
            return "refresh" not in pages[-1].headers

        wait_for("the question", is_asked)
        assert "contains several exported models" in pages[-1].text
        first = f"/runs/{run.id}/predict/~/my%20models%2Fa%26b.onnx/"
        second = f"/runs/{run.id}/predict/~/my%20models%2Fc.onnx/"
        assert f'<a href="{first}"><bdi>my models/a&amp;b.onnx</bdi></a>' in pages[-1].text
        for chosen, other in ((first, second), (second, first)):
            wait_for("the model", lambda at=chosen: client.get(at).status_code == 200)
            page = client.get(chosen).text
            assert f'<a href="{str(client.base_url).rstrip("/")}{other}">' in page
            assert f"{chosen}run -d" in page
            assert f'{str(client.base_url).rstrip("/")}/runs/{run.id}">back to the run' in page
            answer = client.post(f"{chosen}run", json=[{"image": [1, 2, 3, 4]}])
            assert answer.json() == [{"prediction": [2, 4, 6]}]
        for nothing in ("my%20models%2Fd.onnx/", "..%2F..%2Fetc%2Fpasswd/", "my%20models%2Fc.onnx"):
            assert client.get(f"/runs/{run.id}/predict/~/{nothing}").status_code == 404


def test_a_module_in_the_run_is_not_imported(place: Place, tmp_path: Path) -> None:
    run = make_model_run(place)
    (run.path / "onnxruntime.py").write_text("raise SystemExit('imported from the run')")
    with viewing(tmp_path, models=SERVERS) as client:
        assert "model.onnx" in wait_for_page(client, run).text


def test_a_dead_one_is_started_again(place: Place, tmp_path: Path) -> None:
    run = make_model_run(place)
    with viewing(tmp_path, models=SERVERS) as client:
        wait_for_page(client, run)
        (first,) = servers(os.getpid())
        os.kill(first.pid, signal.SIGKILL)
        wait_for_page(client, run)
        (second,) = servers(os.getpid())
        assert second.pid != first.pid


def test_the_one_asked_longest_ago_makes_room(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict_module, "MOST_MODELS", 1)
    first, second = make_model_run(place), make_model_run(place, started=START + 60)
    with viewing(tmp_path, models=SERVERS) as client:
        wait_for_page(client, first)
        wait_for_page(client, second)
        assert len(servers(os.getpid())) == 1
        wait_for_page(client, first)


def test_a_killed_viewer_takes_it_along(place: Place, tmp_path: Path) -> None:
    run = make_model_run(place)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    viewer = subprocess.Popen(
        [sys.executable, "-m", "guildlite", "-C", str(tmp_path), "view", "--no-browser",
         "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "GL_TOKEN": SECRET},
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert viewer.stderr is not None
    try:
        viewer.stderr.readline()
        headers = {"authorization": f"Bearer {SECRET}"}
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False, timeout=30
        ) as client:
            wait_for_page(client, run)
        (server,) = servers(viewer.pid)
        assert "GL_TOKEN" not in server.environ()
    finally:
        viewer.kill()
        viewer.wait()
        viewer.stderr.close()
    server.wait(30)

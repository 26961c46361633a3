"""How a server ends: what was asked is answered, and everyone else is told to go."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.models import save_doubler
from support.servers import start_serve

HEADERS = {"Content-Type": "application/json"}
SLOW = """
import time
from pathlib import Path

class Predictor:
    inputs = [("x", "FP32", [-1])]
    outputs = [("y", "FP32", [-1])]

    def __init__(self, run_dir):
        self.run_dir = run_dir

    def predict(self, x):
        time.sleep(0.002)  # too slow for the event loop
        if x[0] == 99:
            (self.run_dir / "entered").touch()
            while not (self.run_dir / "go_on").exists():
                time.sleep(0.01)
        return x + 1
"""


def ready_port(process: subprocess.Popen[str]) -> int:
    """Wait for the start line of a server; return its port."""
    assert process.stderr
    port = 0
    for line in process.stderr:
        if line.startswith("serving "):
            port = int(line.rpartition(":")[2])
        if line.startswith("Ctrl-C stops"):
            return port
    raise AssertionError("the server did not start")


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A server whose model waits at 99 until there is a file `go_on`."""
    (tmp_path / "slow_model.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    options = {"name": "r", "predictor": "slow_model:Predictor", "port": 0}
    process = start_serve(tmp_path, json.dumps(options))
    yield process
    (tmp_path / "go_on").touch()
    process.kill()
    process.communicate()


def ask(port: int, method: str, path: str, body: object = None) -> httpx.Response:
    url = f"http://127.0.0.1:{port}{path}"
    return httpx.request(method, url, json=body, trust_env=False, timeout=30)


def test_what_was_asked_is_answered_and_nothing_new_is_taken(
    slow: subprocess.Popen[str], tmp_path: Path
) -> None:
    port = ready_port(slow)
    assert ask(port, "GET", "/v2/health/ready").status_code == 200
    answers: list[tuple[int, bytes]] = []

    def wait_long() -> None:
        answer = ask(port, "POST", "/run", [{"x": 99}])
        answers.append((answer.status_code, answer.content))

    client = threading.Thread(target=wait_long)
    client.start()
    while not (tmp_path / "entered").exists():
        time.sleep(0.01)
    slow.send_signal(signal.SIGTERM)
    while ask(port, "GET", "/v2/health/ready").status_code == 200:
        time.sleep(0.01)
    assert ask(port, "GET", "/health").status_code == 503
    assert ask(port, "GET", "/v2/models/r/ready").status_code == 503
    assert ask(port, "GET", "/v2/health/live").status_code == 200
    for path, body in (
        ("/run", [{"x": 1}]),
        (
            "/v2/models/r/infer",
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]},
        ),
    ):
        refused = ask(port, "POST", path, body)
        assert refused.status_code == 503
        assert refused.headers["connection"] == "close"
        assert refused.json() == {"error": "the server is stopping"}
    assert slow.poll() is None
    (tmp_path / "go_on").touch()
    client.join(30)
    assert answers == [(200, b'[{"y":100.0}]')]
    assert slow.wait(30) == 0


def test_a_second_signal_waits_for_nobody(slow: subprocess.Popen[str], tmp_path: Path) -> None:
    port = ready_port(slow)
    statuses: list[int] = []

    def wait_long() -> None:
        try:
            statuses.append(ask(port, "POST", "/run", [{"x": 99}]).status_code)
        except httpx.TransportError:
            statuses.append(0)

    client = threading.Thread(target=wait_long)
    client.start()
    while not (tmp_path / "entered").exists():
        time.sleep(0.01)
    slow.send_signal(signal.SIGINT)
    while ask(port, "GET", "/health").status_code == 200:
        time.sleep(0.01)
    slow.send_signal(signal.SIGINT)
    assert slow.wait(30) == 130
    client.join(30)
    assert statuses[0] in (0, 500)


def test_under_load_every_client_is_answered_or_told_to_go(tmp_path: Path) -> None:
    save_doubler(tmp_path / "m.onnx")
    process = start_serve(tmp_path, json.dumps({"name": "r", "port": 0}))
    port = ready_port(process)
    troubles: list[object] = []
    answered = [0] * 8

    def client(number: int) -> None:
        """Ask again and again on one connection, until the server says that it closes it."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            while True:
                connection.request("POST", "/run", b'[{"image": [1, 2, 3, 4]}]', HEADERS)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status == 200:
                    assert body == b'[{"prediction":[2.0,4.0,6.0]}]'
                    answered[number] += 1
                else:
                    assert (answer.status, answer.getheader("connection")) == (503, "close")
                if answer.getheader("connection") == "close":
                    return
        except Exception as error:
            troubles.append(error)
        finally:
            connection.close()

    clients = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for each in clients:
        each.start()
    while min(answered) < 20:
        time.sleep(0.01)
    process.terminate()
    for each in clients:
        each.join(30)
    _, complaints = process.communicate(timeout=30)
    assert troubles == []
    assert (complaints, process.returncode) == ("", 0)

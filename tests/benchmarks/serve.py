"""CPU per request of `gl serve`, against a bare FastAPI handler and other prediction servers.

    python tests/benchmarks/serve.py [--seconds S] [--peer NAME=PYTHON]...

The bare handler checks nothing: `orjson.loads`, `np.array`, `run`, `orjson.dumps`, on uvicorn with
the same settings. A peer is `litserve`, `mlserver`, `bentoml` or `mlflow` with the interpreter of
an environment where it is installed. CPU is user and system time of the server's whole process
tree, divided by the requests it answered. Rounds alternate, and a ratio is that of the medians, so
that a busy machine disturbs all alike. The client runs in this process and is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(__file__).with_name("serve_peers.py")
ROUNDS = 5
NAME = "bench"

OURS = """
import sys
from pathlib import Path
from guildlite.serve import Source, serve_run
source = Source(Path(sys.argv[1]), "bench", file=sys.argv[2])
serve_run(source, port=int(sys.argv[3]), out=lambda line: None)
"""

BARE = """
import sys, socket
import numpy as np, onnxruntime, orjson, uvicorn
from fastapi import FastAPI, Request, Response
options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = onnxruntime.InferenceSession(sys.argv[1] + "/" + sys.argv[2], options)
app = FastAPI()

@app.post("/run")
async def run(request: Request):
    instances = orjson.loads(await request.body())
    image = np.array([one["image"] for one in instances], dtype=np.float32)
    rows = session.run(None, {"image": image})[0]
    body = orjson.dumps([{"prediction": row} for row in rows], option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json")

# With the protocol named asyncio sets TCP_NODELAY; without, every answer waits 40 ms.
sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
sock.bind(("127.0.0.1", int(sys.argv[3])))
sock.listen(128)
config = uvicorn.Config(app, http="auto", loop="asyncio", access_log=False, log_level="error")
uvicorn.Server(config).run(sockets=[sock])
"""


# Models and requests


def write_models(folder: Path) -> None:
    """Write a small network, 784-128-10, and one whose weights take longer to read than to use."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from onnx import TensorProto, helper
    from support.models import save_model  # type: ignore[import-not-found, unused-ignore]

    for name, sizes in (("small", (784, 128, 10)), ("big", (784, 2048, 2048, 10))):
        random = np.random.default_rng(0)
        nodes, weights, last = [], {}, "image"
        for at, (rows, columns) in enumerate(pairwise(sizes)):
            weights[f"w{at}"] = (random.normal(size=(rows, columns)) / rows**0.5).astype(np.float32)
            out = "prediction" if at == len(sizes) - 2 else f"a{at}"
            nodes.append(helper.make_node("MatMul", [last, f"w{at}"], [out]))
            if out != "prediction":
                nodes.append(helper.make_node("Relu", [out], [f"b{at}"]))
                last = f"b{at}"
        save_model(
            folder / f"{name}.onnx",
            nodes,
            [("image", TensorProto.FLOAT, ["n", 784])],
            [("prediction", TensorProto.FLOAT, ["n", 10])],
            weights,
        )


def rows_of(count: int) -> list[list[float]]:
    """Return rows as a client has them: floats of 32 bits in their shortest form."""
    values = np.random.default_rng(1).random((count, 784)).astype(np.float32)
    return [[float(str(value)) for value in row] for row in values]


def http_request(path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """Return a whole request for a connection that stays open."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    given = {"Content-Type": "application/json", **(headers or {})}
    lines += [f"{name}: {value}" for name, value in given.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def run_request(count: int = 1) -> bytes:
    return http_request("/run", json.dumps([{"image": row} for row in rows_of(count)]).encode())


def infer_request(count: int, *, binary: bool) -> bytes:
    """Return the rows as one tensor of the Open Inference Protocol."""
    rows = rows_of(count)
    tensor: dict[str, object] = {"name": "image", "datatype": "FP32", "shape": [count, 784]}
    path = f"/v2/models/{NAME}/infer"
    if not binary:
        tensor["data"] = [value for row in rows for value in row]
        return http_request(path, json.dumps({"inputs": [tensor]}).encode())
    data = np.array(rows, dtype="<f4").tobytes()
    tensor["parameters"] = {"binary_data_size": len(data)}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return http_request(path, head + data, {"Inference-Header-Content-Length": str(len(head))})


# Servers


@dataclass
class Server:
    """A started server; `started_s` is from its spawn to its first right answer."""

    process: subprocess.Popen[bytes]
    port: int
    started_s: float

    def cpu_s(self) -> float:
        """Return the CPU of the process and everything below it."""
        root = psutil.Process(self.process.pid)
        total = 0.0
        for process in [root, *root.children(recursive=True)]:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def start(words: list[str], folder: Path, request: bytes) -> Server:
    """Start a server and wait for its first answer to `request`."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    begin = time.monotonic()
    process = subprocess.Popen(
        [*words, str(port)], cwd=ROOT if words[0] == sys.executable else folder,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while time.monotonic() - begin < 120:
        head, _, body = request.partition(b"\r\n\r\n")
        path = head.split()[1].decode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                assert b"[" in answer.read()
            return Server(process, port, time.monotonic() - begin)
        except (OSError, AssertionError):
            if process.poll() is not None:
                break
            time.sleep(0.02)
    process.kill()
    raise SystemExit(f"{words[:3]} did not answer")


# Load


class Client(asyncio.Protocol):
    """Sends the same request again whenever its answer is complete, until the time is up."""

    def __init__(self, request: bytes, end: float, done: Callable[[], None]) -> None:
        self.request, self.end, self.done = request, end, done
        self.count, self.took_s = 0, list[float]()
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.sent = time.monotonic()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, mark, body = self.buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if len(body) < int(length):
            return
        assert head.startswith(b"HTTP/1.1 200"), self.buffer[:500]
        self.buffer = b""
        now = time.monotonic()
        self.took_s.append(now - self.sent)
        if now < self.end:
            self.send()
        else:
            self.transport.close()
            self.done()


async def load(port: int, request: bytes, clients: int, seconds: float) -> list[float]:
    """Return how long each request took."""
    loop = asyncio.get_running_loop()
    end = time.monotonic() + seconds
    finished, left = loop.create_future(), clients

    def done() -> None:
        nonlocal left
        left -= 1
        if not left:
            finished.set_result(None)

    made = []
    for _ in range(clients):
        _, client = await loop.create_connection(
            lambda: Client(request, end, done), "127.0.0.1", port
        )
        made.append(client)
    await finished
    return [took for client in made for took in client.took_s]


@dataclass
class Figures:
    """Medians over the rounds: microseconds of CPU a request, requests a second, p50 in ms."""

    cpu_us: float
    per_s: float
    p50_ms: float


def measure(
    servers: dict[str, tuple[Server, bytes]], clients: int, seconds: float
) -> dict[str, Figures]:
    """Measure all servers in alternating rounds; the first is only to warm up."""
    seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name in servers}
    for number in range(ROUNDS + 1):
        for name, (server, request) in servers.items():
            before, begin = server.cpu_s(), time.monotonic()
            took = asyncio.run(load(server.port, request, clients, seconds if number else 0.3))
            cpu, wall = server.cpu_s() - before, time.monotonic() - begin
            if number:
                p50 = 1000 * statistics.median(took)
                seen[name].append((1e6 * cpu / len(took), len(took) / wall, p50))
    return {
        name: Figures(*(statistics.median(column) for column in zip(*rounds, strict=True)))
        for name, rounds in seen.items()
    }


def show(title: str, figures: dict[str, Figures], against: str, goals: dict[str, float]) -> None:
    """Print a line per server, with our CPU as a ratio to it where it has a goal."""
    print(f"\n{title}  (load {os.getloadavg()[0]:.1f})")
    ours = figures[against]
    for name, one in figures.items():
        goal = f"  gl is {ours.cpu_us / one.cpu_us:5.2f} of it" if name != against else ""
        if name in goals:
            goal += f", goal {goals[name]}"
        print(
            f"  {name:<14} {one.cpu_us:7.0f} us {one.per_s:7.0f}/s  p50 {one.p50_ms:7.2f} ms{goal}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    options = parser.parse_args()
    seconds = options.seconds
    goals = {"bare": 1.5, "mlserver": 0.6, "litserve": 0.25, "bentoml": 0.25, "mlflow": 0.3}
    servers: dict[str, tuple[Server, bytes]] = {}
    big: dict[str, tuple[Server, bytes]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_models(folder)
        one = run_request()
        try:
            for word, code in (("gl", OURS), ("bare", BARE)):
                words = [sys.executable, "-c", code, name]
                servers[word] = start([*words, "small.onnx"], folder, one), one
                big[word] = start([*words, "big.onnx"], folder, one), one
            for peer in options.peer:
                word, _, python = peer.partition("=")
                asked = peer_request(word)
                words = [python, str(PEERS), word, name]
                servers[word] = start(words, folder, asked), asked
            print("spawn to the first right answer")
            for word, (server, _) in servers.items():
                print(f"  {word:<14} {server.started_s:6.2f} s")
            for clients in (1, 8):
                figures = measure(servers, clients, seconds)
                show(f"one row of 784 floats, {clients} clients", figures, "gl", goals)
            ours = servers["gl"][0]
            rows = {
                "binary": (ours, infer_request(64, binary=True)),
                "JSON": (ours, infer_request(64, binary=False)),
                "/run": (ours, run_request(64)),
            }
            show("64 rows, Open Inference", measure(rows, 1, seconds), "binary", {"JSON": 0.3})
            batched = measure(big, 64, seconds)
            show("weight-bound model, 64 clients", batched, "gl", {"bare": 0.5})
            print(
                f"  requests/s     {batched['gl'].per_s / batched['bare'].per_s:.2f} times, goal 2"
            )
            show("weight-bound model, 1 client", measure(big, 1, seconds), "gl", {})
        finally:
            for server, _ in [*servers.values(), *big.values()]:
                server.stop()


def peer_request(name: str) -> bytes:
    """Return the row in the words of a peer."""
    row = rows_of(1)[0]
    if name == "mlflow":
        return http_request("/invocations", json.dumps({"inputs": {"image": [row]}}).encode())
    if name == "mlserver":
        return infer_request(1, binary=False)
    return http_request("/predict", json.dumps({"image": row}).encode())


if __name__ == "__main__":
    main()

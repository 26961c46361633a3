"""CPU per request of `gl serve` against a bare FastAPI handler of the same model.

    python tests/benchmarks/serve.py [SECONDS]

Both answer one instance of 784 floats with a 784-128-10 network, on uvicorn with h11. The bare
handler checks nothing: `json.loads`, `np.array`, `run`, `json.dumps`. CPU is user and system time
of the server process, divided by the requests it answered; the rounds alternate and the ratio is
that of the medians, so that a busy machine disturbs both alike. The target is at most 1.5.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 5

OURS = """
import sys
from pathlib import Path
from guildlite.serve import serve_run
serve_run(Path(sys.argv[1]), name="bench", port=0, out=lambda line: print(line, flush=True))
"""

BARE = """
import json, sys, socket
import numpy as np, onnxruntime, uvicorn
from fastapi import FastAPI, Request, Response
options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = onnxruntime.InferenceSession(sys.argv[1] + "/m.onnx", options)
app = FastAPI()

@app.post("/run")
async def run(request: Request):
    instances = json.loads(await request.body())
    image = np.array([one["image"] for one in instances], dtype=np.float32)
    rows = session.run(None, {"image": image})[0].tolist()
    body = json.dumps([{"prediction": row} for row in rows])
    return Response(body, media_type="application/json")

# With the protocol named asyncio sets TCP_NODELAY; without, every answer waits 40 ms.
sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
sock.bind(("127.0.0.1", 0))
sock.listen()
print(f"at http://localhost:{sock.getsockname()[1]}", flush=True)
config = uvicorn.Config(app, http="h11", loop="asyncio", access_log=False, log_level="error")
uvicorn.Server(config).run(sockets=[sock])
"""


def write_model(path: Path) -> None:
    """Write the network with random weights."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from onnx import TensorProto, helper
    from support.models import save_model  # type: ignore[import-not-found, unused-ignore]

    random = np.random.default_rng(0)
    save_model(
        path,
        [
            helper.make_node("MatMul", ["image", "w1"], ["a"]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("MatMul", ["b", "w2"], ["prediction"]),
        ],
        [("image", TensorProto.FLOAT, ["n", 784])],
        [("prediction", TensorProto.FLOAT, ["n", 10])],
        {
            "w1": random.normal(size=(784, 128)).astype(np.float32),
            "w2": random.normal(size=(128, 10)).astype(np.float32),
        },
    )


def start(code: str, folder: str) -> tuple[subprocess.Popen[str], int]:
    """Start a server; return it and its port once it answers."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    line = process.stdout.readline()
    return process, int(line.strip().rpartition(":")[2])


def cpu_us(process: subprocess.Popen[str], port: int, body: bytes, seconds: float) -> float:
    """Return microseconds of CPU per request over `seconds` of one client."""
    times = psutil.Process(process.pid).cpu_times
    client = http.client.HTTPConnection("127.0.0.1", port)
    before, count = times(), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        client.request("POST", "/run", body, {"Host": f"localhost:{port}"})
        answer = client.getresponse()
        assert answer.status == 200
        answer.read()
        count += 1
    after = times()
    client.close()
    return 1e6 * (after.user + after.system - before.user - before.system) / count


def main() -> None:
    """Measure and print one line per server, and the ratio."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    values = np.random.default_rng(1).random(784).astype(np.float32)
    body = json.dumps([{"image": [float(str(value)) for value in values]}]).encode()
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder) / "m.onnx")
        servers = {"gl serve": start(OURS, folder), "bare FastAPI": start(BARE, folder)}
        took: dict[str, list[float]] = {name: [] for name in servers}
        try:
            for number in range(ROUNDS + 1):
                for name, (process, port) in servers.items():
                    used = cpu_us(process, port, body, seconds if number else 0.3)
                    if number:
                        took[name].append(used)
        finally:
            for process, _ in servers.values():
                process.terminate()
                process.communicate()
    ours, bare = (statistics.median(took[name]) for name in servers)
    for name, each in took.items():
        shown = " ".join(f"{used:.0f}" for used in each)
        print(f"{name:<14} {statistics.median(each):6.0f} us a request  ({shown})")
    print(f"ratio          {ours / bare:6.2f}  (target 1.5; load {os.getloadavg()[0]:.1f})")


if __name__ == "__main__":
    main()

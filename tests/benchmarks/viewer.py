"""The viewer against TensorBoard with its data server, on a series of a million points.

    python tests/benchmarks/viewer.py [ROUNDS]

Each round, in turn: from the command to the first chart drawn in headless Chromium, and the request
behind that chart. Times are wall time, since both wait for a browser; the ratio is what counts.
Needs Chromium and `playwright` (`pip install -e '.[dev]'`).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from playwright.sync_api import Browser, sync_playwright
from tensorboardX import SummaryWriter

POINTS = 1_000_000
SECRET = "the-secret-of-the-benchmark"
SPIKE_AT = 654_321
START_S = 60


class Server(NamedTuple):
    """A viewer to be measured: how it starts, where its chart is, and what says it is drawn."""

    name: str
    command: list[str]
    port: int
    page: str
    drawn: str
    request: str


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="guildlite-benchmark-") as text:
        directory = Path(text)
        run = write_run(directory)
        ours, theirs = servers(directory, run)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"),
                args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            )
            measured: dict[str, list[tuple[float, float, float, int]]] = {"ours": [], "theirs": []}
            for _ in range(rounds):
                for name, server in (("theirs", theirs), ("ours", ours)):
                    measured[name].append(measure(server, browser, directory))
            browser.close()
    report(measured)


def write_run(directory: Path) -> str:
    """Write a million points as a run of a project; return the run's name."""
    writer = SummaryWriter(str(directory / "source"), max_queue=10_000)
    for step in range(POINTS):
        writer.add_scalar("loss", 100.0 if step == SPIKE_AT else 1.0 / (1 + step % 1000), step)
    writer.close()
    (directory / "project.yml").write_text("name: benchmark\nmodels: {copylog: copylog.py}\n")
    (directory / "copylog.py").write_text(
        "import os, shutil\n"
        f"shutil.copytree({str(directory / 'source')!r}, os.environ['RUNDIR'] + '/log')\n"
    )
    subprocess.run(
        [sys.executable, "-m", "guildlite", "train"],
        cwd=directory, check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    return next((directory / "runs").glob("[!.]*")).name


def servers(directory: Path, run: str) -> tuple[Server, Server]:
    ours, theirs = free_port(), free_port()
    query = f"run={run}&tag=log/loss&px=440"
    return (
        Server(
            "gl view",
            [sys.executable, "-m", "guildlite", "view", "--no-browser", "--port", str(ours)],
            ours,
            f"/runs/{run}/scalars",
            ".plot canvas",
            f"/api/v1/series?{query}",
        ),
        Server(
            "tensorboard",
            [sys.executable, "-m", "tensorboard.main", "--logdir", str(directory / "source"),
             "--port", str(theirs), "--load_fast", "true"],
            theirs,
            "/#timeseries",
            "scalar-card line-chart",
            "/data/plugin/scalars/scalars?run=.&tag=loss",
        ),
    )  # fmt: skip


def measure(server: Server, browser: Browser, directory: Path) -> tuple[float, float, float, int]:
    """Return seconds to the first chart, of the first request, of a later one, and its bytes."""
    headers = {"authorization": f"Bearer {SECRET}"}
    context = browser.new_context(
        extra_http_headers=headers, viewport={"width": 1200, "height": 900}
    )
    page = context.new_page()
    base = f"http://127.0.0.1:{server.port}"
    begun = time.perf_counter()
    with running(server, directory):
        wait_until(lambda: bool(fetch(base + server.page.partition("#")[0])))
        # TensorBoard answers before it has read anything, and its page asks again only when told.
        wait_until(lambda: b"[" in fetch(base + server.request))
        page.goto(base + server.page)
        page.wait_for_selector(server.drawn, timeout=START_S * 1000)
        drawn = time.perf_counter() - begun
        times = []
        for _ in range(10):
            asked = time.perf_counter()
            body = fetch(base + server.request)
            times.append(time.perf_counter() - asked)
        context.close()
    if server.name == "gl view":
        (series,) = json.loads(body)["series"]
        assert max(series["y"]) == 100.0, "the spike is lost"
    return drawn, times[0], median(times), len(body)


@contextmanager
def running(server: Server, directory: Path) -> Iterator[None]:
    process = subprocess.Popen(
        server.command,
        cwd=directory,
        env={**os.environ, "GL_TOKEN": SECRET},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def fetch(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {SECRET}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())
    except (urllib.error.URLError, ConnectionError):
        return b""


def wait_until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_S
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError("the server did not get ready")
        time.sleep(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def report(measured: dict[str, list[tuple[float, float, float, int]]]) -> None:
    print(f"{POINTS:,} points; medians of {len(measured['ours'])} rounds")
    print(f"{'':32}{'gl view':>12}{'tensorboard':>14}{'ratio':>8}")
    for index, (what, scale, unit) in enumerate(
        (
            ("command to first chart", 1, "s"),
            ("first request afterwards", 1000, "ms"),
            ("the request", 1000, "ms"),
            ("bytes of its answer", 1 / 1000, "kB"),
        )
    ):
        ours = median(row[index] for row in measured["ours"]) * scale
        theirs = median(row[index] for row in measured["theirs"]) * scale
        print(f"{what:32}{ours:9.2f} {unit:2}{theirs:11.2f} {unit:2}{ours / theirs:8.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)

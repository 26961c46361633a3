"""A run under way seen in fifteen tabs: how late, and at what price.

    python tests/benchmarks/viewer_live.py [SECONDS [TABS]]

A real script logs its step number and flushes; each tab notes when the chart's card says that
number. Printed: seconds from the flush to what is seen, the viewer's share of a core meanwhile, its
memory before and after, and the CPU time of a look for what is new at a run with a short and with a
long history. Needs Chromium and `playwright` (`pip install -e '.[dev]'`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from playwright.sync_api import Page, sync_playwright
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from viewer import SECRET, fetch, free_port, wait_until

#: Requests of which the mean is taken.
LOOKS = 300
#: Seconds between two steps of the script.
EVERY_S = 0.5
#: TensorBoard's own writer, since tensorboardX's flush leaves the last event behind.
SCRIPT = f"""
import json, os, sys, time
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
seconds = float(sys.argv[sys.argv.index("--seconds") + 1])
writer = EventFileWriter(os.environ["RUNDIR"], flush_secs=1000)
flushed = dict()
for step in range(int(seconds / {EVERY_S})):
    for tag, value in (("clock", step), ("loss", 1 / (1 + step))):
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
    writer.flush()
    flushed[step] = time.time()
    time.sleep({EVERY_S})
json.dump(flushed, open(os.environ["RUNDIR"] + "/flushed.json", "w"))
"""
#: Notes, in a tab, when which number was shown first; a page that loads itself again goes on.
WATCH = """
addEventListener("DOMContentLoaded", () => {
    const seen = JSON.parse(sessionStorage.getItem("seen") ?? "{}");
    const note = () => {
        const card = document.querySelector('.card[data-title="clock"]');
        const value = card?.querySelector(".legend b")?.textContent.trim();
        if (!value || value in seen) return;
        seen[value] = Date.now() / 1000;
        sessionStorage.setItem("seen", JSON.stringify(seen));
    };
    new MutationObserver(note)
        .observe(document.body, {subtree: true, childList: true, characterData: true});
    note();
});
"""


def main(seconds: float, tabs: int) -> None:
    with tempfile.TemporaryDirectory(prefix="guildlite-benchmark-") as text:
        directory = Path(text)
        (directory / "project.yml").write_text(
            f"name: live\nmodels: {{clock: {{train: clock.py, flags: {{seconds: {seconds}}}}}}}\n"
        )
        (directory / "clock.py").write_text(SCRIPT)
        port = free_port()
        viewer = start(directory, "view", "--no-browser", "--port", str(port))
        training = start(directory, "train")
        try:
            base = f"http://127.0.0.1:{port}"
            wait_until(lambda: b"clock" in fetch(f"{base}/api/v1/runs"))
            (run,) = (directory / "runs").glob("[!.]*")
            series = f"{base}/api/v1/series?run={run.name}&tag=clock"
            wait_until(lambda: b'"x":[0,1' in fetch(series))
            measure(directory, base, viewer.pid, training, seconds, tabs)
            compare_histories(directory, base, viewer.pid)
        finally:
            for process in (viewer, training):
                process.terminate()
                process.wait(30)


def start(directory: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "guildlite", *words],
        cwd=directory,
        env={**os.environ, "GL_TOKEN": SECRET},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def measure(
    directory: Path,
    base: str,
    pid: int,
    training: subprocess.Popen[bytes],
    seconds: float,
    tabs: int,
) -> None:
    (run,) = (directory / "runs").glob("[!.]*")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        context = browser.new_context(extra_http_headers={"authorization": f"Bearer {SECRET}"})
        context.add_init_script(WATCH)
        pages = [open_tab(context, f"{base}/runs/{run.name}/scalars") for _ in range(tabs)]
        begun, usage = time.monotonic(), Usage(pid)
        training.wait(seconds + 60)
        lasted = time.monotonic() - begun
        share, before, after = usage.end(lasted)
        time.sleep(2)
        seen = [
            json.loads(page.evaluate("sessionStorage.getItem('seen')") or "{}") for page in pages
        ]
        browser.close()
    flushed = json.loads((run / "flushed.json").read_text())
    report(flushed, seen, lasted)
    print(f"viewer: {share:.1%} of a core, {before:.0f} MB before and {after:.0f} MB after")


def compare_histories(directory: Path, base: str, pid: int) -> None:
    """Print what it costs to be told that a run has nothing new, by the length of what it has."""
    for points in (1_000, 1_000_000):
        run = import_history(directory, points)
        url = f"{base}/api/v1/series?run={run}&tag=loss&px=440"
        cursor = json.loads(fetch(url))["series"][0]["cursor"]
        usage, begun = Usage(pid), time.monotonic()
        for _ in range(LOOKS):
            fetch(f"{url}&after={cursor}")
        lasted = time.monotonic() - begun
        cpu_ms = usage.end(lasted)[0] * lasted / LOOKS * 1000
        print(f"a look at {points:9,} points: {cpu_ms:.2f} ms of CPU time")


def import_history(directory: Path, points: int) -> str:
    """Make a run of that many points; return its name."""
    source = directory / "histories" / str(points)
    writer = EventFileWriter(str(source), max_queue_size=1000)
    for step in range(points):
        summary = Summary(value=[Summary.Value(tag="loss", simple_value=1 / (1 + step))])
        writer.add_event(Event(wall_time=1.8e9 + step, step=step, summary=summary))
    writer.close()
    before = set((directory / "runs").glob("[!.]*"))
    subprocess.run(
        [sys.executable, "-m", "guildlite", "import", str(source)],
        cwd=directory, check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    (run,) = set((directory / "runs").glob("[!.]*")) - before
    return run.name


def open_tab(context: Any, url: str) -> Page:
    page: Page = context.new_page()
    page.goto(url)
    page.wait_for_selector('.card[data-title="clock"]', timeout=60_000)
    return page


class Usage:
    """CPU time and memory of a process and its children, from now on."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._before = self._look()

    def _look(self) -> tuple[float, float]:
        times = self._process.cpu_times()
        return times.user + times.system, self._process.memory_info().rss / 1e6

    def end(self, lasted: float) -> tuple[float, float, float]:
        """Return the share of a core, and MB at the start and now."""
        cpu, memory = self._look()
        return (cpu - self._before[0]) / lasted, self._before[1], memory


def report(flushed: dict[str, float], seen: list[dict[str, float]], lasted: float) -> None:
    late = [
        at - flushed[step]
        for tab in seen
        for step, at in tab.items()
        if step in flushed and flushed[step] < at
    ]
    if not late:
        raise SystemExit(f"nothing was seen: {seen[:1]}")
    late.sort()
    print(f"{len(seen)} tabs, {len(flushed)} steps in {lasted:.0f} s, {len(late)} sightings")
    print(
        f"flush to pixels: median {median(late):.2f} s, 95 % {late[int(len(late) * 0.95)]:.2f} s,"
        f" worst {late[-1]:.2f} s"
    )


if __name__ == "__main__":
    words = [float(word) for word in sys.argv[1:]]
    main(words[0] if words else 60, int(words[1]) if len(words) > 1 else 15)

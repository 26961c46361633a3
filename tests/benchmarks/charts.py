"""Charts in a browser: 100 long runs on one chart, smoothing them, and a run of 1,000 series.

    python tests/benchmarks/charts.py [ROUNDS]

Wall time in headless Chromium, software rendering; medians. Goals: the data of 100 runs of 10,000
points under 1 s, a step of the smoothing slider under 150 ms to the painted frame, 1,000 series
usable under 1.5 s, the script of a page of charts under 100 kB compressed. Needs Chromium and
`playwright` (`pip install -e '.[dev]'`).
"""

from __future__ import annotations

import gzip
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, Page, Route, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.run_dirs import START, make_run
from viewer import SECRET, fetch, free_port, wait_until

import guildlite
from guildlite.runs import Run, RunStore
from guildlite.runs.db import RunDb
from guildlite.series import Point, Reading

RUNS, POINTS, SERIES = 100, 10_000, 1000
#: Until the frame with what changed is on the screen: two more frames have begun.
PAINTED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="guildlite-benchmark-") as text:
        directory = Path(text)
        (directory / "project.yml").write_text("name: benchmark\nmodels: {train: train.py}\n")
        runs = make_runs(RunStore(directory / "runs"))
        wide = make_wide(RunStore(directory / "runs"))
        with serving(directory) as base, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"),
                args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            )
            overlaid = [overlay(browser, base, runs) for _ in range(rounds)]
            opened = [open_wide(browser, base, wide) for _ in range(rounds)]
            browser.close()
    print(f"{RUNS} runs x {POINTS:,} points on one chart; medians of {rounds} rounds")
    for at, what in enumerate(("the request for its data", "its first drawing", "whole, to smooth",
                               "a step of the slider, painted")):  # fmt: skip
        print(f"  {what:32}{median(row[at] for row in overlaid):8.0f} ms")
    print(f"{SERIES:,} series in one run")
    print(f"  {'from the click to the charts':32}{median(opened):8.0f} ms")
    print(f"script of a page of charts: {script_bytes() / 1000:.1f} kB compressed")


def make_runs(store: RunStore) -> list[Run]:
    """Make the runs; the points of each are those of one of ten noisy curves."""
    made: list[Run] = []
    draw = random.Random(1)
    for number in range(RUNS):
        run = make_run(store, flags={"seed": str(number)}, started=START + 60 * number)
        if number < 10:
            points = [
                Point(step, int(START * 1000) + 37 * step,
                      math.exp(-step / 3000) + draw.gauss(number / 50, 0.02))
                for step in range(POINTS)
            ]  # fmt: skip
            with RunDb(run.paths.db) as db:
                db.write([Reading(points={"loss": points})])
                db.seal({})
        else:
            shutil.copyfile(made[number % 10].paths.db, run.paths.db)
        made.append(run)
    return made


def make_wide(store: RunStore) -> Run:
    run = make_run(store, started=START + 60 * RUNS + 60)
    points = [Point(step, int(START * 1000) + step, math.sin(step / 30)) for step in range(200)]
    with RunDb(run.paths.db) as db:
        series = {f"layer{n // 10}/weight{n % 10}": points for n in range(SERIES)}
        db.write([Reading(points=series)])
        db.seal({})
    return run


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "guildlite", "view", "--no-browser", "--port", str(port)],
        cwd=directory, env={**os.environ, "GL_TOKEN": SECRET},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    base = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: bool(fetch(f"{base}/api/v1/health")))
        yield base
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def new_page(browser: Browser) -> Iterator[Page]:
    headers = {"authorization": f"Bearer {SECRET}"}
    context = browser.new_context(
        extra_http_headers=headers, viewport={"width": 1200, "height": 900}
    )
    yield context.new_page()
    context.close()


def overlay(browser: Browser, base: str, runs: list[Run]) -> tuple[float, float, float, float]:
    """Return ms of the request, of drawing, of the whole series, and of a step of the slider.

    A comparison has fewer runs, so the page of one run gets the lines of all.
    """
    lines = [{"run": run.id, "tag": "loss", "slot": at} for at, run in enumerate(runs)]

    def with_all(route: Route) -> None:
        answer = route.fetch()
        head, _, rest = answer.text().partition('data-lines="')
        _, _, tail = rest.partition('"')
        body = f'{head}data-lines="{escape(json.dumps(lines))}"{tail}'
        route.fulfill(response=answer, body=body)

    with new_page(browser) as page:
        page.route("**/scalars", with_all)
        page.goto(f"{base}/runs/{runs[0].id}/scalars")
        page.wait_for_selector(".plot canvas", timeout=60_000)
        drawn = page.evaluate("performance.now()")
        asked, answered = request_times(page)[0]
        page.locator("[name=smooth]").hover()
        page.wait_for_function(
            "() => performance.getEntriesByType('resource')"
            ".filter(each => each.name.includes('whole=')).length > 0",
            timeout=60_000,
        )
        begun, ended = request_times(page)[-1]
        page.wait_for_timeout(500)
        steps = [page.evaluate(SLIDE, 0.2 + number / 20) for number in range(9)]
    return answered - asked, drawn - answered, ended - begun, median(steps)


SLIDE = f"""async value => {{
  const slider = document.querySelector('[name=smooth]');
  const begun = performance.now();
  slider.value = value;
  slider.dispatchEvent(new Event('input', {{bubbles: true}}));
  await {PAINTED};
  return performance.now() - begun;
}}"""


def request_times(page: Page) -> list[tuple[float, float]]:
    found = page.evaluate(
        "performance.getEntriesByType('resource').filter(each => each.name.includes('/series?'))"
        ".map(each => [each.startTime, each.responseEnd])"
    )
    return [(begun, ended) for begun, ended in found]


def open_wide(browser: Browser, base: str, run: Run) -> float:
    with new_page(browser) as page:
        begun = time.perf_counter()
        page.goto(f"{base}/runs/{run.id}/scalars")
        page.wait_for_selector(".plot canvas", timeout=60_000)
        page.evaluate(PAINTED)
        return (time.perf_counter() - begun) * 1000


def script_bytes() -> int:
    """Return the compressed size of everything a page of charts loads as script."""
    dist = Path(guildlite.__file__).parent / "web/static/dist"
    entry = json.loads((dist / "manifest.json").read_text())["metrics"]["script"]
    files, seen = [entry], set()
    while files:
        name = files.pop()
        if name not in seen:
            seen.add(name)
            text = (dist / name).read_text()
            files += [each.name for each in dist.glob("*.js") if each.name in text]
    return sum(len(gzip.compress((dist / name).read_bytes())) for name in seen)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)

"""The viewer's run table of many runs in headless Chromium: first paint, sorting, filtering.

    python tests/benchmarks/runs_table.py [RUNS] [ROUNDS]

Wall time in the page, from the navigation to the first contentful paint, and from a click or key to
the second animation frame after the table has changed. The index is filled before; the first of all
paints with an empty index is told apart. Needs Chromium and `playwright`.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.many_runs import make_many
from support.viewing import SECRET, make_project, viewing

#: Resolves with the milliseconds from `act` to the second frame after `changed` is true.
MEASURE = """([act, changed]) => new Promise((done) => {
  const acts = {
    sort: () => document.querySelector('th[data-col="train/loss"] a').click(),
    filter: () => { const field = document.querySelector('#q'); field.value = changed;
      document.querySelector('#ask').requestSubmit(); },
    group: () => { const field = document.querySelector('#group'); field.value = changed;
      field.dispatchEvent(new Event('change', { bubbles: true })); },
    page: () => document.querySelector('a[rel=next]').click(),
  };
  const start = performance.now();
  const main = document.querySelector('#main');
  const observer = new MutationObserver(() => {
    observer.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
  });
  observer.observe(main, { subtree: true, childList: true, attributes: true,
    attributeFilter: ['href', 'aria-sort'] });
  acts[act]();
})"""
PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def main(runs: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="guildlite-benchmark-") as text:
        os.environ["GUILDLITE_CACHE"] = str(Path(text, "cache"))
        place = make_project(Path(text))
        make_many(place.store.root, runs)
        with viewing(Path(text)) as client, sync_playwright() as playwright:
            start = time.perf_counter()
            while "Reading" in client.get("/runs").text:
                time.sleep(0.1)
            print(f"{runs:,} runs, index filled in {time.perf_counter() - start:.1f} s")
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"),
                args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            )
            context = browser.new_context(
                viewport={"width": 1440, "height": 900},
                extra_http_headers={"authorization": f"Bearer {SECRET}"},
            )
            measured: dict[str, list[float]] = {}
            for number in range(rounds):
                for name, value in one_round(context.new_page(), str(client.base_url), number):
                    measured.setdefault(name, []).append(value)
            browser.close()
    for name, values in measured.items():
        listed = " ".join(f"{value:.0f}" for value in values)
        print(f"{name:32} {median(values):6.0f} ms median of {listed}")


def one_round(page: Page, base: str, number: int) -> list[tuple[str, float]]:
    found = []
    page.goto(f"{base}/runs")
    page.wait_for_timeout(300)
    found.append(("first paint", page.evaluate(PAINTED)))
    for name, act, word in (
        ("sort by a metric", "sort", ""),
        ("next page", "page", ""),
        ("filter", "filter", f"train/loss < 0.{5 + number} and optimizer = adam"),
        ("filter by a word", "filter", ("vit", "resnet", "expert")[number % 3]),
        ("group by a flag", "group", "flag.batch_size"),
    ):
        if act == "group":
            page.goto(f"{base}/runs")
        page.wait_for_timeout(500)
        found.append((name, page.evaluate(MEASURE, [act, word])))
    page.close()
    return found


if __name__ == "__main__":
    main(*(int(word) for word in (sys.argv[1:] or ["10000", "5"])))

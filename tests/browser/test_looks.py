"""Every page, wide and narrow, light and dark: nothing jumps, hangs out, fails or calls out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import Browser, Page
from support.run_dirs import START, make_run
from support.starting import make_place
from support.viewing import SECRET, viewing

from guildlite.runs import RunStore

LONG = "a/rather/long/name/of/a/series/that/somebody/thought/was/a/good/idea/" * 2

#: Moves of what is seen, as the web calls them, without those that follow a key or a click.
SHIFTS = """
window.shifts = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts += entry.value;
}).observe({type: "layout-shift", buffered: true});
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    store = make_place(tmp_path_factory.mktemp("place"))
    for number in range(12):
        make_run(
            store,
            flags={"lr": str(number / 10), "a-flag-with-a-long-name": "a long value " * 8},
            started=START + 60 * number,
            series={f"part{n}/loss": [2.0, 1.0, 0.5] for n in range(8)} | {LONG: [1.0, 2.0]},
            out=[f"epoch {n} of 300 {'x' * (n % 200)}" for n in range(300)],
            err=["Traceback (most recent call last):"],
            label="a label of some length, as people write them " * 2 if number == 3 else "",
        )
    make_run(store, started=START + 999, alive=True, ended=False, series={"loss": [1.0]}, out=["x"])
    return store


@pytest.fixture(scope="module")
def base(store: RunStore) -> Iterator[str]:
    with viewing(store.root.parent) as client:
        yield str(client.base_url).rstrip("/")


def pages(store: RunStore) -> list[str]:
    runs = store.list()
    done, live = runs[-1].id, runs[0].id
    sections = ("", "/scalars", "/system", "/media", "/output", "/files", "/source")
    return [
        "/runs", f"/compare?run={done},{runs[-2].id}", "/compare", "/new?op=expert:train",
        "/runs?trash=1", "/runs/unknown", f"/runs/{live}", f"/runs/{live}/output",
        *(f"/runs/{done}{section}" for section in sections),
    ]  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 360])
def test_nothing_jumps_hangs_out_or_fails(
    store: RunStore, base: str, browser: Browser, width: int, scheme: str
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
        extra_http_headers={"authorization": f"Bearer {SECRET}"},
    )
    context.set_default_timeout(20_000)
    context.add_init_script(SHIFTS)
    page = context.new_page()
    troubles: list[str] = []
    watch(page, base, troubles)
    for address in pages(store):
        page.goto(base + address)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(250)
        shifted = page.evaluate("window.shifts")
        if shifted > 0.05:
            troubles.append(f"{address} moved by {shifted:.3f}")
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if overflow > 0:
            troubles.append(f"{address} hangs out by {overflow} pixels")
    context.close()
    assert not troubles, "\n".join(troubles)


def watch(page: Page, base: str, troubles: list[str]) -> None:
    """Note errors of scripts, of the console, and every request that leaves the viewer."""
    page.on("pageerror", lambda error: troubles.append(f"{page.url}: {error}"))
    page.on(
        "console",
        # The page of what is not there is answered with 404, as it should.
        lambda said: (
            troubles.append(f"{page.url}: {said.text}")
            if said.type == "error" and "404" not in said.text
            else None
        ),
    )
    page.on(
        "request",
        lambda asked: (
            None
            if asked.url.startswith((base + "/", "blob:", "data:"))
            else troubles.append(f"{page.url} asked for {asked.url}")
        ),
    )


def test_pages_can_be_read_without_scripts(store: RunStore, base: str, browser: Browser) -> None:
    context = browser.new_context(
        java_script_enabled=False, extra_http_headers={"authorization": f"Bearer {SECRET}"}
    )
    context.set_default_timeout(20_000)
    page = context.new_page()
    for address in pages(store):
        page.goto(base + address)
        assert page.locator("main").inner_text().strip(), address
        # What only a script could do is not offered.
        assert page.locator(".shell, .copy").locator("visible=true").count() == 0
    context.close()

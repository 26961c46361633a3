"""The viewer for people without a mouse, without sight of colours, or with a screen reader."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import Browser, Page, expect
from support.run_dirs import START, make_run
from support.starting import make_place, until
from support.viewing import SECRET, viewing

from guildlite.runs import Run, RunStore
from guildlite.runs.db import RunDb
from guildlite.series import OutputLine, Reading

AXE = Path(__file__).parents[2] / "guildlite/web/frontend/node_modules/axe-core/axe.min.js"
SECTIONS = ("", "/scalars", "/system", "/media", "/output", "/output?q=epoch", "/files", "/source")
OTHERS = (
    "/runs", "/runs?q=nothing+here", "/runs?trash=1", "/compare", "/new?op=expert:train",
    "/new?op=expert:train&flag.lr=-1", "/runs/unknown",
)  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """A run of each end, with all that a page can show, and one that is running."""
    root = tmp_path_factory.mktemp("place")
    store = make_place(root)
    for number in range(3):
        run = make_run(
            store,
            flags={"lr": f"0.{number + 1}", "epochs": "10"},
            started=START + 60 * number,
            series={"train/loss": [3.0, 2.0, 1.0], "accuracy": [0.1, 0.5], "sys/cpu/util": [0.5]},
            out=["epoch 1 of 10", "\x1b[31mred \x1b[32mgreen \x1b[33myellow \x1b[34mblue",
                 "\x1b[35mmagenta \x1b[36mcyan \x1b[90mgrey \x1b[2mdim \x1b[7mreverse",
                 "\x1b[41mon red\x1b[0m \x1b[42mon green\x1b[0m \x1b[44mon blue\x1b[0m"],
            err=["a warning"],
            attrs={"git.commit": "4f2c9e1", "packages": '["numpy 2.0", "torch 2.9"]'},
            label="best" if number else "",
        )  # fmt: skip
        run.set_note("a note")
        run.set_mark(True)
        (run.paths.sources).mkdir(exist_ok=True)
        (run.paths.sources / "expert.py").write_text("print('x')\n")
    make_run(store, started=START + 300, code=3, err=["Traceback (most recent call last):"])
    make_run(store, started=START + 400, ended=False)
    live = make_run(store, started=START + 500, flags={"epochs": "10"}, alive=True, ended=False,
                    series={"epoch": [1.0, 2.0]})  # fmt: skip
    assert live.status.value == "running"
    return store


@pytest.fixture(scope="module")
def base(store: RunStore) -> Iterator[str]:
    with viewing(store.root.parent) as client:
        yield str(client.base_url).rstrip("/")


@pytest.fixture(params=["light", "dark"])
def themed(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    context = browser.new_context(
        extra_http_headers={"authorization": f"Bearer {SECRET}"}, color_scheme=request.param
    )
    context.set_default_timeout(20_000)
    yield context.new_page()
    context.close()


def faults(page: Page) -> list[str]:
    """Return what axe finds on the page: serious and critical faults, with where they are."""
    page.evaluate(AXE.read_text())
    found = page.evaluate(
        "axe.run(document, {resultTypes: ['violations'], runOnly: "
        "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
    )
    return [
        f"{page.url} {one['id']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.fixture(scope="module")
def axe() -> None:
    """Where a browser is demanded, the checker is too."""
    if not AXE.exists():
        message = "axe-core is not installed; `npm ci` does it"
        if os.environ.get("GUILDLITE_TEST_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)


@pytest.mark.usefixtures("axe")
def test_axe_finds_no_serious_fault(store: RunStore, base: str, themed: Page) -> None:
    runs = store.list()
    done, failed, lost, live = runs[-1], runs[2], runs[1], runs[0]
    addresses = [f"/runs/{done.id}{section}" for section in SECTIONS]
    addresses += [f"/runs/{one.id}" for one in (failed, lost, live)]
    addresses += [*OTHERS, f"/compare?run={done.id},{runs[-2].id}"]
    found = []
    for address in addresses:
        themed.goto(base + address)
        found += faults(themed)
    themed.goto(f"{base}/runs/{done.id}")
    themed.keyboard.press("Control+k")
    expect(themed.get_by_role("option").first).to_be_visible()
    found += faults(themed)
    themed.keyboard.press("Escape")
    themed.keyboard.press("?")
    expect(themed.get_by_role("heading", name="Keys")).to_be_visible()
    found += faults(themed)
    assert not found, "\n".join(found)


def tab_to(page: Page, place: str, most: int = 80) -> None:
    """Press Tab until the focus is at `place`, as somebody without a mouse does."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("place => document.activeElement.matches(place)", place):
            return
    pytest.fail(f"{most} times Tab did not lead to {place}")


def test_from_the_list_to_a_new_run_without_a_mouse(tmp_path: Path, browser: Browser) -> None:
    store = make_place(tmp_path)
    runs = [make_run(store, started=START + 60 * n, series={"loss": [2.0, 1.0]}) for n in (0, 1)]
    with viewing(tmp_path) as client:
        context = browser.new_context(extra_http_headers={"authorization": f"Bearer {SECRET}"})
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.goto(f"{client.base_url}/runs")
        tab_to(page, f'a[href="/runs/{runs[1].id}"]')
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=runs[1].id)).to_be_visible()
        page.keyboard.press("Control+k")
        expect(page.get_by_role("combobox")).to_be_focused()
        page.keyboard.type("compare")
        expect(page.get_by_role("option", selected=True)).to_have_text("Compare")
        page.keyboard.press("Enter")
        page.wait_for_url("**/compare**")
        page.keyboard.press("g")
        page.keyboard.press("n")
        page.wait_for_url("**/new**")
        tab_to(page, 'input[name="flag.lr"]')
        page.keyboard.type("0.25")
        expect(page.locator("#line")).to_contain_text("lr=0.25")
        tab_to(page, 'button[value="start"]')
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(r"/runs/2\d+T"))
        until(lambda: not any(run.busy() for run in store.list()))
        assert store.list()[0].flags["lr"] == "0.25"
        context.close()


def test_the_focus_stays_while_a_page_follows(tmp_path: Path, browser: Browser) -> None:
    store = make_place(tmp_path)
    run = make_run(store, out=["one"], alive=True, ended=False)
    with viewing(tmp_path) as client:
        context = browser.new_context(extra_http_headers={"authorization": f"Bearer {SECRET}"})
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.goto(f"{client.base_url}/runs/{run.id}")
        tab_to(page, "button[value=interrupt]")
        with RunDb(run.paths.db) as db:
            db.write([Reading(lines=[OutputLine(1_795_196_800_000, 1, "a second line")])])
        expect(page.locator(".log li")).to_have_count(2)
        assert page.evaluate("document.activeElement.value") == "interrupt"
        # When the run has ended there is no such button, and the focus is where one reads on.
        from guildlite.runs.facts import write_fact

        write_fact(run.paths.exit, {"time": START + 9, "duration_s": 9.0, "code": 0})
        expect(page.locator(".facts .status")).to_have_text("completed")
        assert page.evaluate("document.activeElement.closest('main') !== null")
        context.close()


def test_lines_are_reached_with_keys(store: RunStore, base: str, page: Page) -> None:
    run: Run = store.list()[-1]
    page.goto(f"{base}/runs/{run.id}/output")
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.closest('li').id") == "L2"
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/runs/{run.id}/scalars?at=*")

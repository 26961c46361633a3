"""Starting, stopping and tidying up in a real browser, with and without scripts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import Browser, Page, expect
from support.run_dirs import START, make_run
from support.starting import ended, make_place, until
from support.viewing import SECRET, viewing

from guildlite.runs import RunStore


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return make_place(tmp_path)


@pytest.fixture
def base(store: RunStore, tmp_path: Path) -> Iterator[str]:
    # Before the page in each test, so that no page asks a server that is going away.
    (tmp_path / "wait").touch()
    with viewing(tmp_path) as client:
        yield str(client.base_url).rstrip("/")
    (tmp_path / "wait").unlink(missing_ok=True)
    until(lambda: not any(run.busy() for run in store.list()))


@pytest.fixture(params=["with scripts", "without"])
def any_page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    context = browser.new_context(
        java_script_enabled=request.param == "with scripts",
        extra_http_headers={"authorization": f"Bearer {SECRET}"},
    )
    context.set_default_timeout(20_000)
    yield context.new_page()
    context.close()


def test_from_the_form_to_a_stopped_run(store: RunStore, base: str, any_page: Page) -> None:
    page = any_page
    page.goto(f"{base}/runs")
    page.get_by_role("link", name="New run").first.click()
    page.get_by_label("lr", exact=True).fill("0.05")
    page.get_by_label("adam").check()
    page.get_by_role("switch", name="augment").uncheck()
    page.get_by_role("checkbox", name="quick").check()
    page.get_by_label("Label").fill("from the page")
    page.get_by_role("button", name="Preview").click()
    line = page.locator("#line")
    expect(line).to_have_text(
        "gl train expert --profile quick lr=0.05 optimizer=adam --label 'from the page' -d"
    )
    expect(page.get_by_label("lr", exact=True)).to_have_value("0.05")
    executed = page.locator("#executed").inner_text()
    page.get_by_role("button", name="Start run").click()
    expect(page.get_by_role("heading", name="from the page")).to_be_visible()
    (run,) = store.list()
    assert page.url == f"{base}/runs/{run.id}"
    assert run.command == shlex.split(executed.replace("$RUNDIR", str(run.path)))
    page.get_by_role("button", name="Stop").click()
    assert ended(run).status == "stopped"
    page.goto(f"{base}/runs/{run.id}")
    expect(page.locator(".facts")).to_contain_text("stopped")


def test_the_run_page_follows_what_was_started(store: RunStore, base: str, page: Page) -> None:
    page.goto(f"{base}/new?op=expert:train")
    page.get_by_role("button", name="Start run").click()
    expect(page.locator(".facts")).to_contain_text("running")
    (store.root.parent / "wait").unlink()
    expect(page.locator(".facts")).to_contain_text("completed")
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)


def test_the_command_follows_the_typing(base: str, page: Page) -> None:
    page.goto(f"{base}/new?op=expert:train")
    secret = page.get_by_label("api_key")
    secret.fill("hunter2")
    field = page.get_by_label("epochs")
    field.fill("x")
    expect(page.locator(".error").first).to_contain_text("expects an integer from 1 to 500")
    expect(field).to_be_focused()
    field.fill("")
    field.press("ArrowUp")
    expect(field).to_have_value("15")
    expect(page.locator("#line")).to_contain_text("epochs=15")
    page.get_by_label("lr", exact=True).press("ArrowDown")
    expect(page.locator("#line")).to_contain_text("lr=0.05")
    expect(secret).to_have_value("hunter2")
    expect(page.locator("#line")).to_contain_text("api_key=(secret)")
    page.get_by_role("checkbox", name="quick").check()
    expect(page.locator("#line")).to_contain_text("--profile quick")
    expect(page.get_by_role("switch", name="augment")).not_to_be_checked()
    assert "augment" not in page.locator("#line").inner_text()


def test_a_choice_stays_when_a_profile_changes_its_default(
    store: RunStore, base: str, page: Page
) -> None:
    file = store.root.parent / "project.yml"
    file.write_text(file.read_text() + "  half: {dtype: f16, optimizer: adam}\n")
    page.goto(f"{base}/new?op=expert:train")
    page.get_by_label("dtype").select_option("i8")
    page.get_by_role("checkbox", name="half").check()
    expect(page.locator("#line")).to_contain_text("--profile half")
    expect(page.get_by_label("dtype")).to_have_value("i8")
    expect(page.get_by_label("adam")).to_be_checked()
    expect(page.locator("#line")).to_have_text("gl train expert --profile half dtype=i8 -d")


def test_trash_and_undo(store: RunStore, base: str, any_page: Page) -> None:
    page = any_page
    runs = [make_run(store, started=START + 60 * number) for number in range(3)]
    page.goto(f"{base}/runs?sort=label")
    for run in runs[:2]:
        page.get_by_label(f"Choose {run.id}").check()
    page.get_by_role("button", name="Move to trash").click()
    expect(page.get_by_role("status").filter(has_text="Moved 2 runs")).to_be_visible()
    assert [run.id for run in store.list()] == [runs[2].id]
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("link", name=runs[0].id)).to_be_visible()
    assert page.url == f"{base}/runs?sort=label"
    assert len(store.list()) == 3


def test_one_label_for_many_and_a_mark(store: RunStore, base: str, any_page: Page) -> None:
    page = any_page
    run = make_run(store)
    make_run(store, started=START + 60)
    page.goto(f"{base}/runs")
    page.get_by_label(f"Choose {run.id}").check()
    page.get_by_label("Label for the chosen runs").fill("tried")
    page.get_by_role("button", name="Label", exact=True).click()
    expect(page.locator(f"#run-{run.id}")).to_contain_text("tried")
    page.goto(f"{base}/runs/{run.id}")
    page.get_by_role("button", name="Mark", exact=True).click()
    expect(page.get_by_role("img", name="marked")).to_be_visible()
    page.get_by_text("Label and note").click()
    page.get_by_label("Note").fill("one\ntwo")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("p.note")).to_have_text("one\ntwo")


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_hangs_out_of_the_form(base: str, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for words in ("op=expert:train", "op=expert:train&flag.lr=-1", "op=needy:train&flag.must=x"):
        page.goto(f"{base}/new?{words}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        unnamed = page.locator("form.start :is(input, select, textarea):visible").evaluate_all(
            "all => all.filter(e => !e.labels.length && !e.ariaLabel).map(e => e.outerHTML)"
        )
        assert unnamed == []
    assert re.search("is missing", page.locator("[role=alert]").inner_text())

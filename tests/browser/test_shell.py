"""What every page has: keys and their sheet, the palette, the theme, the mark of being offline."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import Browser, BrowserContext, Page, expect
from support.run_dirs import START, make_run
from support.servers import running
from support.viewing import SECRET, Place, make_project, viewing

from guildlite.http import Tokens
from guildlite.runs.db import RunDb
from guildlite.series import OutputLine, Reading
from guildlite.web.app import create_app


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = make_project(tmp_path)
    for n, model in enumerate(("expert", "intro", "intro")):
        make_run(place.store, model, started=START + 60 * n, series={"loss": [2.0, 1.0]},
                 label="" if n else "the good one")  # fmt: skip
    return place


@pytest.fixture
def base(place: Place, tmp_path: Path) -> Iterator[str]:
    with viewing(tmp_path) as client:
        yield str(client.base_url).rstrip("/")


# Keys


def test_chords_lead_to_pages_and_letters_typed_do_not(base: str, page: Page) -> None:
    page.goto(f"{base}/runs")
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("gcgn?")
    expect(page.locator("#q")).to_have_value("gcgn?")
    assert page.url.startswith(f"{base}/runs")
    page.locator("#q").blur()
    page.keyboard.press("g")
    page.keyboard.press("n")
    page.wait_for_url("**/new")
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.wait_for_url("**/runs")


def test_the_sheet_lists_the_keys_of_this_page(place: Place, base: str, page: Page) -> None:
    page.goto(f"{base}/runs/{place.store.list()[0].id}/output")
    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keys")
    expect(sheet.get_by_role("heading", level=3)).to_have_text(["Output", "Everywhere"])
    expect(sheet).to_contain_text("Next line found")
    page.keyboard.press("j")  # behind the sheet nothing moves
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    page.goto(f"{base}/runs")
    page.get_by_role("button", name="keys").click()
    expect(page.get_by_role("dialog", name="Keys")).not_to_contain_text("Next line found")


def test_keys_can_be_switched_off_for_good(base: str, page: Page) -> None:
    page.goto(f"{base}/runs")
    page.keyboard.press("?")
    page.get_by_label("Keys without Ctrl are on").uncheck()
    page.keyboard.press("Escape")
    page.reload()
    page.keyboard.press("/")
    page.keyboard.press("?")
    expect(page.locator("#q")).not_to_be_focused()
    expect(page.locator("dialog[open]")).to_have_count(0)
    page.keyboard.press("Control+k")  # with Ctrl nobody types it by chance
    expect(page.get_by_role("dialog").get_by_role("combobox")).to_be_focused()
    page.keyboard.type("keys without")
    page.keyboard.press("Enter")
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()


# The palette


def test_the_palette_finds_runs_pages_and_actions(place: Place, base: str, page: Page) -> None:
    good = place.store.list()[-1]
    page.goto(f"{base}/runs")
    page.get_by_role("button", name="Go to").click()
    field = page.get_by_role("combobox", name="Page, run or action")
    expect(field).to_be_focused()
    field.fill("good on")
    option = page.get_by_role("dialog").get_by_role("option", selected=True)
    expect(option).to_contain_text("the good one")
    assert field.get_attribute("aria-activedescendant") == option.get_attribute("id")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/runs/{good.id}")
    page.keyboard.press("Control+k")
    field.fill("zzzz")
    expect(page.get_by_role("status").filter(has_text="Nothing found")).to_be_visible()
    field.fill("outp")
    page.keyboard.press("Enter")
    page.wait_for_url("**/output")
    page.keyboard.press("Control+k")
    field.fill("mark this")
    page.keyboard.press("Enter")
    expect(page.get_by_role("img", name="marked")).to_be_visible()
    assert place.store.get(good.id).marked


def test_arrows_go_through_what_was_found_and_round(base: str, page: Page) -> None:
    page.goto(f"{base}/runs")
    page.keyboard.press("Control+k")
    options = page.get_by_role("dialog").get_by_role("option")
    expect(options.filter(has_text="the good one")).to_have_count(1)
    count = options.count()
    page.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(options.nth(count - 1)).to_have_attribute("aria-selected", "true")
    expect(page.locator("[role=option][aria-selected=true]")).to_have_count(1)
    page.keyboard.press("Control+k")
    expect(page.locator("dialog[open]")).to_have_count(0)


def test_what_a_run_is_called_is_text_in_the_palette(place: Place, base: str, page: Page) -> None:
    label = "<img src=x onerror=alert(1)> & co"
    place.store.list()[0].set_label(label)
    page.goto(f"{base}/runs")
    page.keyboard.press("Control+k")
    page.get_by_role("dialog").get_by_role("combobox").fill("onerror")
    expect(page.get_by_role("dialog").get_by_role("option", selected=True)).to_contain_text(
        "<img src=x onerror=alert(1)>"
    )
    assert page.locator("dialog img").count() == 0


def test_a_viewer_that_only_shows_offers_no_new_run(
    place: Place, tmp_path: Path, page: Page
) -> None:
    with viewing(tmp_path, read_only=True) as client:
        page.goto(f"{client.base_url}/runs/{place.store.list()[0].id}")
        page.keyboard.press("Control+k")
        expect(page.get_by_role("dialog").get_by_role("option", name="Compare")).to_be_visible()
        texts = " ".join(page.get_by_role("dialog").get_by_role("option").all_inner_texts())
        assert not re.search(r"New run|Stop|Mark|trash", texts)
        page.keyboard.press("Escape")
        page.keyboard.press("g")
        page.keyboard.press("n")
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keys")).not_to_contain_text("New run")
        assert "/runs/" in page.url


# The theme


def paper(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


LIGHT, DARK = "rgb(255, 255, 255)", "rgb(21, 24, 28)"


def test_the_theme_is_kept_and_comes_with_the_page(base: str, page: Page) -> None:
    page.emulate_media(color_scheme="light")
    page.goto(f"{base}/runs")
    assert paper(page) == LIGHT
    page.evaluate("document.addEventListener('themechange', () => (window.changes ??= []).push(1))")
    page.get_by_role("radio", name="dark").check()
    assert paper(page) == DARK
    assert page.evaluate("window.changes") == [1]
    page.goto(f"{base}/compare")
    expect(page.get_by_role("radio", name="dark")).to_be_checked()
    # No flash: the page itself says so, before any script.
    html = page.context.request.get(f"{base}/compare").text()
    assert '<html lang="en" data-theme="dark">' in html
    page.get_by_role("radio", name="as the system").check()
    assert paper(page) == LIGHT
    page.emulate_media(color_scheme="dark")
    assert paper(page) == DARK
    page.get_by_role("radio", name="light", exact=True).check()
    assert paper(page) == LIGHT


def test_another_tab_follows_the_theme(base: str, page: Page) -> None:
    other = page.context.new_page()
    other.goto(f"{base}/runs")
    page.goto(f"{base}/runs")
    page.get_by_role("radio", name="dark").check()
    other.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert paper(other) == DARK
    expect(other.get_by_role("radio", name="dark")).to_be_checked()


def test_both_ways_to_be_dark_have_the_same_colours() -> None:
    css = (Path(__file__).parents[2] / "guildlite/web/static/page.css").read_text()
    system = re.search(r':root:not\(\[data-theme="light"\]\) \{(.*?)\}', css, re.S)
    chosen = re.search(r':root\[data-theme="dark"\] \{(.*?)\}', css, re.S)
    assert system and chosen
    declared = [dict(re.findall(r"(--[\w-]+): ([^;]+);", each[1])) for each in (system, chosen)]
    assert declared[0] == declared[1]
    assert len(declared[0]) > 20


# Copying


def test_the_command_is_copied(place: Place, base: str, page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    run = place.store.list()[0]
    page.goto(f"{base}/runs/{run.id}")
    page.get_by_role("button", name="Copy the command").click()
    expect(page.get_by_role("status").filter(has_text="Copied")).to_be_attached()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == "python -u intro.py --title 'two words'"


def test_metrics_and_system_stay_on_one_clock(place: Place, base: str, page: Page) -> None:
    page.goto(f"{base}/runs/{place.store.list()[0].id}/scalars?x=relative&smooth=0.5")
    page.get_by_role("navigation", name="Sections").get_by_role("link", name="System").click()
    page.wait_for_url("**/system?x=relative")
    page.get_by_role("navigation", name="Sections").get_by_role("link", name="Output").click()
    page.wait_for_url("**/output")


def test_a_file_is_downloaded_as_it_is(place: Place, tmp_path: Path, browser: Browser) -> None:
    run = place.store.list()[0]
    (run.path / "page.html").write_text("<p>as written</p>")
    with viewing(tmp_path) as client:
        # Downloads know the cookie alone, not the header that other tests send.
        context = browser.new_context()
        page = context.new_page()
        code = client.post("/api/v1/code").json()["code"]
        page.goto(f"{client.base_url}/runs/{run.id}/files?token={code}")
        with page.expect_download() as got:
            page.get_by_role("link", name="Download page.html").click()
        assert got.value.suggested_filename == "page.html"
        got.value.save_as(tmp_path / "got.html")
        context.close()
    assert (tmp_path / "got.html").read_text() == "<p>as written</p>"


# A viewer that goes away


def serve(tmp_path: Path, port: int) -> Iterator[int]:
    from guildlite.project import load_project

    project = load_project(tmp_path / "project.yml")
    app = create_app(tmp_path, project, tokens=Tokens(SECRET))
    with running(app, port=port) as found:
        yield found


def test_eight_tabs_stay_live_through_a_restart(
    place: Place, tmp_path: Path, browser: Browser
) -> None:
    """The ninth page still loads: no tab keeps a connection, of which a browser has six."""
    run = make_run(place.store, started=START + 900, out=["one"], alive=True, ended=False,
                   series={"loss": [1.0]})  # fmt: skip
    context: BrowserContext = browser.new_context(
        extra_http_headers={"authorization": f"Bearer {SECRET}"}
    )
    context.set_default_timeout(30_000)
    first = serve(tmp_path, 0)
    port = next(first)
    tabs = [context.new_page() for _ in range(8)]
    for tab in tabs:
        # A tab that cannot be seen asks for nothing; these are eight windows.
        tab.add_init_script("Object.defineProperty(document, 'hidden', {get: () => false})")
        tab.goto(f"http://127.0.0.1:{port}/runs/{run.id}/output")
    ninth = context.new_page()
    ninth.goto(f"http://127.0.0.1:{port}/runs")
    expect(ninth.get_by_role("heading", name="Runs")).to_be_visible()
    write(run.paths.db, "two")
    for tab in tabs:
        expect(tab.locator(".log li")).to_have_count(2)
    next(first, None)
    for tab in tabs:
        expect(tab.locator(".live")).to_contain_text("offline")
        assert tab.locator(".log li").count() == 2
    write(run.paths.db, "three")
    expect(tabs[0].locator(".live")).to_contain_text(re.compile(r"retrying in \d s"))
    amber = tabs[0].evaluate("getComputedStyle(document.querySelector('.live')).color")
    assert amber == "rgb(138, 90, 0)"
    second = serve(tmp_path, port)
    assert next(second) == port
    for tab in tabs:
        expect(tab.locator(".log li code")).to_have_text(["one", "two", "three"])
        expect(tab.locator(".live")).to_contain_text("live")
    for tab in tabs:
        tab.close()
    context.close()
    next(second, None)


def write(db: Path, text: str) -> None:
    with RunDb(db) as opened:
        opened.write([Reading(lines=[OutputLine(1_795_196_800_000, 1, text)])])


def test_a_restarted_viewer_says_how_to_come_back(
    place: Place, tmp_path: Path, browser: Browser
) -> None:
    """A new start has a new secret: the page says so, keeps what it shows, and comes back."""
    run = make_run(place.store, started=START + 900, out=["one"], alive=True, ended=False)
    context = browser.new_context()
    context.set_default_timeout(30_000)
    page = context.new_page()
    tokens = Tokens()
    port = 0
    for round_ in (1, 2):
        app = create_app(tmp_path, place.project, tokens=tokens)
        with running(app, port=port) as port:
            if round_ == 1:
                page.goto(f"http://127.0.0.1:{port}/runs/{run.id}?token={tokens.issue_code()}")
                expect(page.locator(".live")).to_contain_text("live")
                tokens = Tokens()
                continue
            expect(page.locator(".live")).to_contain_text("signed out")
            expect(page.locator(".log li")).to_have_count(1)
            other = context.new_page()
            other.goto(f"http://127.0.0.1:{port}/runs?token={tokens.issue_code()}")
            page.bring_to_front()
            expect(page.locator(".live")).to_contain_text("live")
            context.close()

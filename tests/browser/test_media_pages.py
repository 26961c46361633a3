"""The media page in a browser: steps, keys, pictures, and a run that goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import Page, expect
from support.browsing import wait_until
from support.event_files import records, summary
from support.media import AT, collect_media, histogram, images, png, strings, text, wav, write_media
from support.run_dirs import make_run
from support.viewing import SECRET, Place, make_project, viewing

from guildlite.runs import Run

SHADES = [10, 60, 110, 160]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_project(tmp_path)


@pytest.fixture
def base(place: Place, tmp_path: Path) -> Iterator[str]:
    with viewing(tmp_path) as client:
        yield str(client.base_url).rstrip("/")


def make(place: Place, *, alive: bool = False) -> Run:
    run = make_run(place.store, alive=alive, ended=not alive)
    write_media(
        run,
        *((n * 10, images("a/pic", png(s), png(255 - s))) for n, s in enumerate(SHADES)),
        *((n * 5, images("b/pic", png(s))) for n, s in enumerate(SHADES)),
        *((n * 10, text("notes", f"# At {n}")) for n in range(3)),
        *((n * 10, histogram("w", [(0, 1 + n, 10)])) for n in range(3)),
        (0, strings("sound", "audio", [wav()])),
    )
    return run


def card(page: Page, key: str) -> str:
    return f'article[data-key="{key}"]'


SHADE = """img => { const c = document.createElement('canvas'); const g = c.getContext('2d');
  g.drawImage(img, 0, 0); return g.getImageData(0, 0, 1, 1).data[0]; }"""


def shade(page: Page, key: str) -> int:
    """Return the grey of a card's first picture as the browser decoded it."""
    image = page.locator(f"{card(page, key)} .pictures img").first
    image.scroll_into_view_if_needed()
    image.evaluate("img => img.decode()")
    return int(image.evaluate(SHADE))


def test_the_slider_and_arrow_keys_move_one_card(place: Place, base: str, page: Page) -> None:
    run = make(place)
    page.goto(f"{base}/runs/{run.id}/media")
    first, second = card(page, "a/pic"), card(page, "b/pic")
    slider = page.locator(f"{first} [data-slider]")
    expect(slider).to_be_visible()
    assert shade(page, "a/pic") == 160
    slider.fill("1")
    expect(page.locator(first)).to_have_attribute("data-step", "10")
    assert shade(page, "a/pic") == 60
    assert shade(page, "b/pic") == 160
    page.locator(second).focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(second)).to_have_attribute("data-step", "10")
    page.keyboard.press("Home")
    expect(page.locator(second)).to_have_attribute("data-step", "0")
    expect(page.locator("[data-said]")).to_have_text("b/pic, step 0")
    assert shade(page, "b/pic") == 10
    expect(page.locator(f"{second} [data-slider]")).to_have_value("0")
    # The address holds it: the same view opens elsewhere.
    expect(page).to_have_url(re.compile("at=1%3Aa%252Fpic%2C0%3Ab%252Fpic"))
    page.goto(page.url)
    expect(page.locator(first)).to_have_attribute("data-step", "10")
    expect(page.locator(second)).to_have_attribute("data-step", "0")
    page.locator(second).focus()
    page.keyboard.press("End")
    expect(page.locator(second)).to_have_attribute("data-step", "15")
    expect(page).to_have_url(re.compile("at=1%3Aa%252Fpic$"))


def test_all_cards_go_to_one_step(place: Place, base: str, page: Page) -> None:
    run = make(place)
    page.goto(f"{base}/runs/{run.id}/media")
    page.get_by_label("all cards at one step").check()
    page.locator(f"{card(page, 'a/pic')} [data-slider]").fill("1")
    expect(page.locator(card(page, "b/pic"))).to_have_attribute("data-step", "10")
    expect(page.locator(card(page, "notes"))).to_have_attribute("data-step", "10")
    expect(page).to_have_url(re.compile(r"\?step=10$"))
    expect(page.get_by_label("all cards at one step")).to_be_checked()


def test_typing_a_step_goes_to_the_nearest(place: Place, base: str, page: Page) -> None:
    run = make(place)
    page.goto(f"{base}/runs/{run.id}/media?zoom=8")
    field = page.get_by_label("Step of a/pic to go to")
    field.fill("12")
    field.press("Enter")
    expect(page.locator(card(page, "a/pic"))).to_have_attribute("data-step", "10")
    expect(page).to_have_url(re.compile("zoom=8&at="))
    assert page.locator(f"{card(page, 'a/pic')} img").first.evaluate("i => i.width") == 32


def test_a_picture_is_enlarged_and_moved_through(place: Place, base: str, page: Page) -> None:
    run = make(place)
    page.goto(f"{base}/runs/{run.id}/media")
    page.locator(f"{card(page, 'a/pic')} .pictures a").nth(1).click()
    dialog = page.locator("dialog.enlarged")
    expect(dialog).to_be_visible()
    expect(dialog.locator("p")).to_have_text("a/pic, step 30, sample 2")
    page.keyboard.press("ArrowLeft")
    expect(dialog.locator("p")).to_have_text("a/pic, step 20, sample 2")
    assert dialog.locator("img").evaluate("i => getComputedStyle(i).imageRendering") == "pixelated"
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator(card(page, "a/pic"))).to_have_attribute("data-step", "20")


def test_brightness_is_a_filter_and_in_the_address(place: Place, base: str, page: Page) -> None:
    run = make(place)
    page.goto(f"{base}/runs/{run.id}/media?brightness=0.5")
    image = page.locator(".pictures img").first
    style = "i => getComputedStyle(i).filter"
    assert image.evaluate(style) == "brightness(0.5) contrast(1)"
    page.get_by_label("Contrast").fill("2")
    assert image.evaluate(style) == "brightness(0.5) contrast(2)"
    expect(page).to_have_url(re.compile("contrast=2"))
    page.get_by_role("button", name="As written").click()
    assert image.evaluate(style) == "brightness(1) contrast(1)"
    expect(page).to_have_url(re.compile("media$"))


def test_audio_can_be_played(place: Place, base: str, page: Page) -> None:
    run = make(place)
    page.goto(f"{base}/runs/{run.id}/media?kind=audio")
    wait_until(page, "document.querySelector('audio').readyState >= 1")
    assert page.locator("audio").evaluate("a => a.duration") == pytest.approx(0.25)


def test_new_values_appear_and_what_was_chosen_stays(place: Place, base: str, page: Page) -> None:
    run = make(place, alive=True)
    page.goto(f"{base}/runs/{run.id}/media")
    page.locator(f"{card(page, 'a/pic')} [data-slider]").fill("1")
    expect(page.locator(card(page, "a/pic"))).to_have_attribute("data-step", "10")
    (file,) = run.path.glob("events*")
    values = [images("a/pic", png(99)), images("b/pic", png(98)), text("new", "words")]
    with file.open("ab") as out:
        out.write(records(*(summary(50, AT + 50, value) for value in values)))
    collect_media(run)
    expect(page.locator(card(page, "b/pic"))).to_have_attribute("data-step", "50")
    expect(page.locator(card(page, "new"))).to_be_attached()
    expect(page.locator(card(page, "a/pic"))).to_have_attribute("data-step", "10")
    expect(page.locator(f"{card(page, 'a/pic')} [data-slider]")).to_have_attribute("max", "4")
    assert shade(page, "b/pic") == 98
    assert shade(page, "a/pic") == 60


def test_without_a_script_links_and_forms_do_it(place: Place, base: str, page: Page) -> None:
    run = make(place)
    browser = page.context.browser
    assert browser
    headers = {"authorization": f"Bearer {SECRET}"}
    context = browser.new_context(java_script_enabled=False, extra_http_headers=headers)
    still = context.new_page()
    still.goto(f"{base}/runs/{run.id}/media")
    expect(still.locator(".controls")).to_be_hidden()
    expect(still.locator("[data-slider]").first).to_be_hidden()
    still.get_by_label("previous step of a/pic").click()
    expect(still.locator(card(still, "a/pic"))).to_have_attribute("data-step", "20")
    still.get_by_label("Step of b/pic to go to").fill("6")
    still.locator(f"{card(still, 'b/pic')} button").click()
    expect(still.locator(card(still, "b/pic"))).to_have_attribute("data-step", "5")
    expect(still.locator(card(still, "a/pic"))).to_have_attribute("data-step", "20")
    still.get_by_label("Histograms").select_option("bands over steps")
    still.get_by_role("button", name="Show").click()
    expect(still.locator(f"{card(still, 'w')} svg path.fill").first).to_be_attached()
    context.close()


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_page(place: Place, base: str, page: Page, width: int) -> None:
    run = make(place)
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{base}/runs/{run.id}/media?zoom=16")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


# Enlarged -----------------------------------------------------------------------------------------


def open_big(place: Place, base: str, page: Page) -> Run:
    """Open a picture of 40 by 20 pixels over the window."""
    run = make_run(place.store)
    write_media(run, *((n, images("wide", png(50 * n, 40, 20))) for n in range(3)))
    page.goto(f"{base}/runs/{run.id}/media")
    page.locator(".pictures a").click()
    expect(page.locator("dialog.enlarged")).to_be_visible()
    return run


def pixels(page: Page) -> float:
    """Return how many pixels of the screen one of the picture takes."""
    return float(page.locator(".stage img").evaluate("i => i.getBoundingClientRect().width / 40"))


def test_a_picture_is_zoomed_by_wheel_buttons_and_keys(place: Place, base: str, page: Page) -> None:
    open_big(place, base, page)
    fitting = pixels(page)
    stage = page.locator(".stage").bounding_box()
    assert stage and fitting == pytest.approx(min(stage["width"] / 40, stage["height"] / 20), 0.01)
    # What is under the pointer stays there: by hand, a quarter in from the left of the picture.
    x, y = stage["x"] + stage["width"] / 4, stage["y"] + stage["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    zoomed = pixels(page)
    assert zoomed > 1.5 * fitting
    left = page.locator(".stage img").evaluate("i => i.getBoundingClientRect().left")
    assert (x - left) / zoomed == pytest.approx(10, abs=0.1)
    page.get_by_role("button", name="Fit the window").click()
    assert pixels(page) == pytest.approx(fitting)
    page.keyboard.press("+")
    assert pixels(page) == pytest.approx(1.5 * fitting)
    page.keyboard.press("-")
    assert pixels(page) == pytest.approx(fitting)
    page.get_by_role("button", name="Zoom in").click()
    expect(page.locator(".stage-bar output")).to_have_text(re.compile("\u00d7$"))
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator("dialog.enlarged")).to_be_hidden()


def test_a_zoomed_picture_is_dragged_and_keeps_its_place_over_steps(
    place: Place, base: str, page: Page
) -> None:
    open_big(place, base, page)
    for _ in range(3):
        page.get_by_role("button", name="Zoom in").click()
    where = "i => { const { x, y } = i.getBoundingClientRect(); return [x, y].map(Math.round); }"
    before = page.locator(".stage img").evaluate(where)
    page.mouse.move(600, 450)
    page.mouse.down()
    page.mouse.move(500, 430, steps=4)
    page.mouse.up()
    after = page.locator(".stage img").evaluate(where)
    assert [after[0] - before[0], after[1] - before[1]] == [-100, -20]
    page.keyboard.press("ArrowLeft")
    expect(page.locator("dialog.enlarged p")).to_have_text("wide, step 1, sample 1")
    expect(page.locator(".stage img")).to_have_js_property("complete", True)
    assert page.locator(".stage img").evaluate(where) == after


def test_two_fingers_zoom(place: Place, base: str, page: Page) -> None:
    open_big(place, base, page)
    fitting = pixels(page)
    page.locator(".stage").evaluate(
        """stage => {
          stage.setPointerCapture = () => {};
          const send = (type, pointerId, clientX) => stage.dispatchEvent(
            new PointerEvent(type, {pointerId, clientX, clientY: 400, bubbles: true}));
          send('pointerdown', 1, 500); send('pointerdown', 2, 600);
          send('pointermove', 2, 800);
          send('pointerup', 1, 500); send('pointerup', 2, 800);
        }"""
    )
    assert pixels(page) == pytest.approx(3 * fitting)


def test_light_is_set_beside_an_enlarged_picture(place: Place, base: str, page: Page) -> None:
    open_big(place, base, page)
    page.locator("dialog [data-set=brightness]").fill("1.5")
    style = "i => getComputedStyle(i).filter"
    assert page.locator(".stage img").evaluate(style) == "brightness(1.5) contrast(1)"
    expect(page.locator(".controls [data-set=brightness]")).to_have_value("1.5")
    expect(page).to_have_url(re.compile("brightness=1.5"))


# Histograms ---------------------------------------------------------------------------------------


def test_pointing_at_a_histogram_says_bin_and_count(place: Place, base: str, page: Page) -> None:
    run = make_run(place.store)
    write_media(run, (0, histogram("w", [(0, 30, 600)])), (10, histogram("w", [(0, 15, 600)])))
    page.goto(f"{base}/runs/{run.id}/media?hist=overlay")
    svg = page.locator("svg[data-bins]")
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    assert box
    scale = box["width"] / 400
    # 600 values over 30 even bins of 1 are 20 each; over the first 15 bins 40 each.
    x = box["x"] + (14 + 372 * 0.22) * scale
    page.mouse.move(x, box["y"] + 12 * scale)
    expect(page.locator(".bin-said")).to_have_text("step 10: 6 to 7, about 40 values")
    page.mouse.move(x, box["y"] + 105 * scale)
    expect(page.locator(".bin-said")).to_have_text("step 0: 6 to 7, about 20 values")
    page.mouse.move(5, 5)
    expect(page.locator(".bin-said")).to_have_text("")


def test_histograms_stand_apart_as_their_steps_do(place: Place, base: str, page: Page) -> None:
    run = make_run(place.store)
    write_media(run, *((step, histogram("w", [(0, 1, 10)])) for step in (0, 10, 100)))
    page.goto(f"{base}/runs/{run.id}/media")
    bases = page.locator("path.ridge").evaluate_all(
        "all => all.map(p => Number(p.getAttribute('d').match(/[\\d.]+/g)[1]))"
    )
    first, second, third = bases
    assert (second - first) / (third - first) == pytest.approx(0.1, abs=0.01)
    page.get_by_label("along").select_option("time of day")
    expect(page).to_have_url(re.compile("x=wall"))
    # The values were written at `AT` plus their step in seconds.
    expect(page.locator("path.ridge title").first).to_contain_text(re.compile(r"step 0, \d\d:\d\d"))

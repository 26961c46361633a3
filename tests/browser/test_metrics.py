"""The metrics page in a real browser."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import expect
from support.run_dirs import make_run
from support.viewing import Place, make_project, viewing

from guildlite.platform import FileLock
from guildlite.runs.db import RunDb
from guildlite.series import Point, Reading

if TYPE_CHECKING:
    from playwright.sync_api import Page

LOSS = [math.exp(-step / 50) for step in range(200)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_project(tmp_path)


@pytest.fixture
def base(place: Place, tmp_path: Path) -> Iterator[str]:
    with viewing(tmp_path) as client:
        yield str(client.base_url).rstrip("/")


def legend(page: Page, title: str) -> list[str]:
    card = page.locator(f'article[data-title="{title}"]')
    return card.locator(".legend b").all_inner_texts()


def wait_drawn(page: Page, cards: int = 1) -> None:
    expect(page.locator(".plot canvas")).to_have_count(cards)


def test_a_chart_is_drawn_and_tells_the_value_under_the_pointer(
    place: Place, base: str, page: Page
) -> None:
    run = make_run(place.store, series={"train/loss": LOSS, "validation/loss": LOSS[::-1]})
    page.goto(f"{base}/runs/{run.id}/scalars")
    wait_drawn(page)
    over = page.locator('article[data-title="Loss"] .u-over')
    box = over.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    first, second = legend(page, "Loss")
    # Half of 0..199 is between two steps.
    step = int(first.partition(" @ ")[2])
    assert step in (99, 100)
    assert float(first.partition(" @ ")[0]) == pytest.approx(LOSS[step], rel=1e-3)
    assert float(second.partition(" @ ")[0]) == pytest.approx(LOSS[199 - step], rel=1e-3)
    page.mouse.move(5, 5)
    expect(page.locator('article[data-title="Loss"] .legend b').first).not_to_contain_text("@")


def test_the_address_holds_what_is_shown(place: Place, base: str, page: Page) -> None:
    run = make_run(place.store, series={"a": LOSS, "b": LOSS})
    page.goto(f"{base}/runs/{run.id}/scalars")
    wait_drawn(page, 2)
    page.get_by_label("log y").check()
    page.get_by_label("x axis").select_option("relative")
    page.get_by_label("Smoothing").fill("0.5")
    over = page.locator("article .u-over").first
    box = over.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.25, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, y, steps=4)
    page.mouse.up()
    page.wait_for_url("**zoom=*")
    address = page.url
    assert {"y=log", "x=relative"} <= set(address.partition("?")[2].split("&"))
    page.goto("about:blank")
    page.goto(address)
    wait_drawn(page, 2)
    assert page.url == address
    assert page.get_by_label("log y").is_checked()
    assert page.get_by_label("x axis").input_value() == "relative"
    page.get_by_role("button", name="Whole range").click()
    page.wait_for_url(lambda url: "zoom=" not in url)


def test_smoothing_is_that_of_the_whole_series_at_every_zoom(
    place: Place, base: str, page: Page
) -> None:
    """A series too long for the page is smoothed by the server over every point."""
    values = [math.sin(step / 500) + (step * 7919 % 101) / 50 for step in range(60_000)]
    run = make_run(place.store, series={"long": values})
    mean, bias = 0.0, 1.0
    smoothed = []
    for value in values:
        mean = 0.9 * mean + 0.1 * value
        bias *= 0.9
        smoothed.append(mean / (1 - bias))
    for words in ("smooth=0.9", "smooth=0.9&zoom=50000:59999"):
        page.goto(f"{base}/runs/{run.id}/scalars?{words}")
        wait_drawn(page)
        expect(page.locator(".legend b")).to_have_text(f"{smoothed[-1]:.4g}")


def test_a_running_run_grows_by_what_is_new_only(place: Place, base: str, page: Page) -> None:
    run = make_run(place.store, series={"loss": LOSS}, alive=True, ended=False)
    answers: list[tuple[str, int]] = []
    page.on(
        "response",
        lambda response: (
            answers.append((response.url, len(response.body())))
            if "/api/v1/series" in response.url and response.status == 200
            else None
        ),
    )
    with FileLock(run.paths.lock) as lock:
        assert lock.try_acquire()
        page.goto(f"{base}/runs/{run.id}/scalars?pace=0.5")
        wait_drawn(page)
        expect(page.locator(".live")).to_contain_text("live")
        with RunDb(run.paths.db) as db:
            for more in range(3):
                points = [Point(200 + more, 1_795_196_900_000 + more, 7.0 + more)]
                db.write([Reading(points={"loss": points})])
                expect(page.locator(".legend b")).to_have_text(str(7 + more))
    urls = [url for url, _ in answers]
    assert "after=" not in urls[0]
    assert all("after=20" in url for url in urls[1:])
    assert all(size < 1000 for _, size in answers[1:])


def test_a_zoomed_chart_stays_where_it_is_and_a_spike_is_never_lost(
    place: Place, base: str, page: Page
) -> None:
    values = [1.0] * 120_000
    values[77_777] = 500.0
    run = make_run(place.store, series={"spike": values})
    page.goto(f"{base}/runs/{run.id}/scalars")
    wait_drawn(page)
    top = page.locator(".u-axis").count()
    assert top >= 2
    # The axis reaches up to the spike, so it was among the points drawn.
    found = page.evaluate(
        "async run => (await (await fetch(`/api/v1/series?run=${run}&tag=spike&px=400"
        "&from=70000&to=80000`)).json()).series[0]",
        run.id,
    )
    assert max(found["y"]) == 500.0
    assert len(found["y"]) <= 802


def test_the_page_is_whole_without_scripts(browser, place: Place, base: str) -> None:  # type: ignore[no-untyped-def]
    from support.viewing import SECRET

    run = make_run(place.store, series={"loss": LOSS})
    context = browser.new_context(
        java_script_enabled=False, extra_http_headers={"authorization": f"Bearer {SECRET}"}
    )
    page = context.new_page()
    page.goto(f"{base}/runs/{run.id}/scalars")
    assert page.locator("svg.chart").count() == 1
    assert page.locator("[data-controls]").is_hidden()
    context.close()


def test_the_keyboard_moves_along_a_chart(place: Place, base: str, page: Page) -> None:
    run = make_run(place.store, series={"loss": LOSS})
    page.goto(f"{base}/runs/{run.id}/scalars")
    wait_drawn(page)
    page.locator(".plot").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    (value,) = legend(page, "loss")
    assert value.endswith("@ 2")
    assert float(value.partition(" ")[0]) == pytest.approx(LOSS[2], rel=1e-3)
    page.keyboard.press("l")
    page.wait_for_url("**y=log*")


def test_the_viewer_going_away_is_said_and_mended(page: Page, place: Place, tmp_path: Path) -> None:
    run = make_run(place.store, series={"loss": LOSS}, alive=True, ended=False)
    with viewing(tmp_path) as client:
        base = str(client.base_url).rstrip("/")
        page.goto(f"{base}/runs/{run.id}/scalars?pace=0.5")
        wait_drawn(page)
        expect(page.locator(".live")).to_contain_text("live")
    expect(page.locator(".live")).to_contain_text("offline")
    assert page.locator(".plot canvas").count() == 1

"""Pages of charts that were opened early: what comes later appears without loading them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import Page, expect
from support.run_dirs import make_run
from support.viewing import Place, make_project, viewing

from guildlite.runs import Run
from guildlite.runs.db import RunDb
from guildlite.runs.facts import write_fact
from guildlite.series import Point, Reading

AT = 1_795_196_800_000


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_project(tmp_path)


@pytest.fixture
def base(place: Place, tmp_path: Path) -> Iterator[str]:
    with viewing(tmp_path) as client:
        yield str(client.base_url).rstrip("/")


def young(place: Place, series: Mapping[str, Sequence[float]]) -> Run:
    return make_run(place.store, series=series, alive=True, ended=False)


def add(run: Run, start: int = 0, **series: Sequence[float]) -> None:
    """Write points of series; two underscores in a name are a slash."""
    points = {
        key.replace("__", "/"): [
            Point(step, AT + 1000 * step, value) for step, value in enumerate(values, start)
        ]
        for key, values in series.items()
    }
    with RunDb(run.paths.db) as db:
        db.write([Reading(points=points)])


def titles(page: Page) -> list[str]:
    return page.locator("#charts article h3").all_inner_texts()


def drawn(page: Page, cards: int) -> None:
    expect(page.locator("#charts .plot canvas")).to_have_count(cards)


def stay(page: Page) -> None:
    """Leave a mark that loading the page would take away."""
    page.evaluate("window.mark = 'stayed'")


def stayed(page: Page) -> bool:
    return bool(page.evaluate("window.mark === 'stayed'"))


def test_a_page_without_a_series_gets_its_first_charts(place: Place, base: str, page: Page) -> None:
    run = young(place, {})
    page.goto(f"{base}/runs/{run.id}/scalars?pace=0.5")
    expect(page.get_by_role("heading", name="No numbers yet")).to_be_visible()
    expect(page.locator("[data-controls]")).to_be_hidden()
    stay(page)
    add(run, train__loss=[3.0, 2.0, 1.0])
    drawn(page, 1)
    expect(page.locator(".legend b")).to_have_text("1")
    expect(page.get_by_role("heading", name="No numbers yet")).to_have_count(0)
    expect(page.locator("[data-controls]")).to_be_visible()
    expect(page.locator(".tools")).to_contain_text("1 series")
    add(run, 3, train__loss=[0.5])
    expect(page.locator(".legend b")).to_have_text("0.5")
    # The controls that came work on the chart that came.
    page.get_by_label("log y").first.check()
    page.wait_for_url("**y=log*")
    assert stayed(page)


def test_a_single_value_becomes_a_chart(place: Place, base: str, page: Page) -> None:
    run = young(place, {"accuracy": [0.25], "train/loss": [3.0]})
    page.goto(f"{base}/runs/{run.id}/scalars?pace=0.5")
    expect(page.locator("article.single")).to_have_count(2)
    stay(page)
    add(run, 1, accuracy=[0.5])
    drawn(page, 1)
    expect(page.locator('article[data-title="accuracy"] .legend b')).to_have_text("0.5")
    expect(page.locator("article.single .figure")).to_have_text("3")
    add(run, 2, accuracy=[0.75])
    expect(page.locator('article[data-title="accuracy"] .legend b')).to_have_text("0.75")
    assert stayed(page)


def test_a_series_that_comes_later_leaves_the_others_as_they_are(
    place: Place, base: str, page: Page
) -> None:
    run = young(place, {"a/x": [1.0, 2.0, 3.0], "c/y": [4.0, 5.0, 6.0], "d/z": [1.0, 2.0]})
    page.goto(f"{base}/runs/{run.id}/scalars?pace=0.5&zoom=0:1.5&pin=d%2Fz")
    drawn(page, 3)
    assert titles(page) == ["d/z", "a/x", "c/y"]
    card = page.locator('article[data-title="c/y"]')
    card.get_by_text("Table").click()
    card.locator(".plot").focus()
    stay(page)
    page.evaluate(
        "window.canvas = document.querySelector('article[data-title=\"c/y\"] .plot canvas')"
    )
    add(run, b__new=[7.0, 8.0], a__w=[9.0], d__last=[1.0, 2.0])
    expect(page.locator("#charts article")).to_have_count(6)
    assert titles(page) == ["d/z", "a/w", "a/x", "b/new", "c/y", "d/last"]
    heads = page.locator("#charts h2").all_inner_texts()
    assert [head for head in heads if head] == ["Pinned", "a", "b", "c", "d"]
    assert page.evaluate("window.canvas.isConnected")
    expect(card.locator("details.numbers")).to_have_attribute("open", "")
    expect(card.locator(".plot")).to_be_focused()
    assert "zoom=0" in page.url and "pin=" in page.url
    # The later chart has the zoom of the others, and can be the axis of the others.
    expect(page.get_by_role("option", name="b/new")).to_have_count(1)
    # Without the pin its chart goes back to its own place.
    page.locator('article[data-title="d/z"]').get_by_role("button", name="top").click()
    expect(page.locator("[data-pinned]")).to_have_count(0)
    assert titles(page) == ["a/w", "a/x", "b/new", "c/y", "d/last", "d/z"]
    assert stayed(page)


def test_validation_joins_the_training_it_belongs_to(place: Place, base: str, page: Page) -> None:
    run = young(place, {"train/speed": [3.0, 2.0, 1.0]})
    page.goto(f"{base}/runs/{run.id}/scalars?pace=0.5&pin=train%2Fspeed")
    drawn(page, 1)
    card = page.locator("article.card")
    card.get_by_text("Table").click()
    card.locator(".plot").focus()
    add(run, validation__speed=[4.0, 3.0])
    expect(page.locator("article .legend li")).to_have_count(2)
    drawn(page, 1)
    expect(page.locator("[data-pinned] article")).to_have_attribute("data-title", "speed")
    page.wait_for_url("**pin=speed*")
    expect(card.locator("details.numbers")).to_have_attribute("open", "")
    expect(card.locator(".plot")).to_be_focused()


def test_what_is_looked_at_does_not_move(place: Place, base: str, page: Page) -> None:
    series = {f"m/{number:02}": [1.0, 2.0] for number in range(30)}
    run = young(place, series)
    page.goto(f"{base}/runs/{run.id}/scalars?pace=0.5")
    card = page.locator('article[data-title="m/25"]')
    card.scroll_into_view_if_needed()
    expect(card.locator("canvas")).to_have_count(1)
    before = card.bounding_box()
    add(run, a__first=[1.0, 2.0])
    expect(page.locator('article[data-title="a/first"]')).to_have_count(1)
    after = card.bounding_box()
    assert before is not None and after is not None
    assert after["y"] == pytest.approx(before["y"], abs=2)


def test_system_and_a_comparison_grow_too(place: Place, base: str, page: Page) -> None:
    run = young(place, {"op/cpu/util": [0.2847]})
    other = young(place, {})
    page.goto(f"{base}/runs/{run.id}/system?pace=0.5")
    expect(page.locator("article.single .figure")).to_have_text("0.285 CPU")
    add(run, 1, op__cpu__util=[1.5])
    add(run, sys__mem__used=[1024.0**3, 1024.0**3])
    drawn(page, 2)
    page.goto(f"{base}/compare?run={run.id}&run={other.id}&view=curves&pace=0.5")
    expect(page.locator("#charts article")).to_have_count(0)
    add(run, loss=[2.0, 1.0])
    drawn(page, 1)
    expect(page.locator(".legend li")).to_have_count(1)
    add(other, loss=[4.0, 3.0])
    expect(page.locator(".legend li")).to_have_count(2)
    drawn(page, 1)
    expect(page.locator(".legend b")).to_have_text(["1", "3"])


def test_what_came_with_the_end_is_there(place: Place, base: str, page: Page) -> None:
    run = young(place, {"loss": [2.0, 1.0]})
    page.goto(f"{base}/runs/{run.id}/scalars?pace=0.5")
    drawn(page, 1)
    add(run, test__accuracy=[0.875])
    write_fact(run.paths.exit, {"time": AT / 1000, "duration_s": 99.0, "code": 0})
    expect(page.locator(".facts .status")).to_have_text("completed")
    expect(page.locator("article.single .figure")).to_have_text("0.875")


def test_the_page_is_not_asked_for_while_no_series_comes(
    place: Place, base: str, page: Page
) -> None:
    run = young(place, {"loss": [2.0, 1.0], "once": [1.0]})
    page.goto(f"{base}/runs/{run.id}/scalars?pace=0.5")
    drawn(page, 1)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.partition("?")[0]))
    for step in range(2, 6):
        add(run, step, loss=[float(step)])
        expect(page.locator(".legend b")).to_have_text(str(step))
    assert asked and {url.removeprefix(base) for url in asked} == {"/api/v1/series"}

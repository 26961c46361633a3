"""What charts show and what can be done with them, in a real browser.

What is drawn is read from the SVG a card saves: the same strokes as on its canvas.
"""

from __future__ import annotations

import csv
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import expect
from support.browsing import wait_until
from support.run_dirs import START, make_run
from support.viewing import SECRET, Place, make_project, viewing

from guildlite.platform import FileLock
from guildlite.runs import Run
from guildlite.runs.db import RunDb
from guildlite.series import Point, Reading

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

START_MS = int(START * 1000)
LOSS = [math.exp(-step / 50) for step in range(200)]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_project(tmp_path)


@pytest.fixture
def base(place: Place, tmp_path: Path) -> Iterator[str]:
    with viewing(tmp_path) as client:
        yield str(client.base_url).rstrip("/")


def timed(place: Place, series: dict[str, list[float]], **words: object) -> Run:
    """Make a run with a point every 100 ms from its start."""
    run = make_run(place.store, **words)  # type: ignore[arg-type]
    started = words.get("started", START)
    assert isinstance(started, float)
    add(run, {key: list(enumerate(values)) for key, values in series.items()}, int(started * 1000))
    return run


def add(run: Run, series: dict[str, list[tuple[int, float]]], from_ms: int = START_MS) -> None:
    points = {
        key: [Point(step, from_ms + 100 * at, value) for at, (step, value) in enumerate(pairs)]
        for key, pairs in series.items()
    }
    with RunDb(run.paths.db) as db:
        db.write([Reading(points=points)])


def card(page: Page, title: str) -> Locator:
    return page.locator(f'article[data-title="{title}"]')


def legend(page: Page, title: str) -> list[str]:
    return card(page, title).locator(".legend b").all_inner_texts()


def wait_drawn(page: Page, canvases: int) -> None:
    expect(page.locator(".plot canvas")).to_have_count(canvases)


def saved(page: Page, title: str, kind: str) -> str:
    """Save a card as a file; return its path."""
    one = card(page, title)
    one.hover()
    if one.locator("details.menu[open]").count() == 0:
        one.get_by_text("Save", exact=True).click()
    with page.expect_download() as download:
        one.locator(".menu").get_by_text(kind, exact=True).click()
    path = str(download.value.path())  # waits for the end, which Escape would bring at once
    page.keyboard.press("Escape")
    return path


def drawing(page: Page, title: str) -> ElementTree.Element:
    return ElementTree.parse(saved(page, title, "SVG")).getroot()


def lines(root: ElementTree.Element) -> dict[str, ElementTree.Element]:
    """Return the group of each line, by name."""
    groups = (group for group in root.iter(f"{SVG}g") if group.find(f"{SVG}title") is not None)
    return {group.findtext(f"{SVG}title") or "": group for group in groups}


def strokes(group: ElementTree.Element) -> list[list[tuple[float, float]]]:
    """Return the strokes of a line, the last path with a width."""
    paths = [path for path in group.iter(f"{SVG}path") if path.get("stroke-width")]
    return [
        [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", part)]
        for part in (paths[-1].get("d") or "").split("M")[1:]
    ]


def over(page: Page, title: str) -> dict[str, float]:
    box = card(page, title).locator(".u-over").first.bounding_box()
    assert box is not None
    return dict(box)


def drag(page: Page, title: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag between two places given as shares of the chart's width and height."""
    box = over(page, title)

    def at(share: tuple[float, float]) -> tuple[float, float]:
        return box["x"] + box["width"] * share[0], box["y"] + box["height"] * share[1]

    page.mouse.move(*at(start))
    page.mouse.down()
    page.mouse.move(*at(end), steps=4)
    page.mouse.up()


# viewer.md, section 6: 2, 3, 4, 6, 7


def test_a_copied_address_shows_the_same(
    place: Place, base: str, page: Page, browser: Browser
) -> None:
    runs = [
        timed(place, {"loss": LOSS, "acc": LOSS[::-1], "epoch": LOSS}, started=START + 60 * at)
        for at in range(3)
    ]
    ids = ",".join(run.id for run in runs)
    page.goto(f"{base}/compare?run={ids}&tags=loss|acc")
    wait_drawn(page, 2)
    page.locator("[name=smooth]").fill("0.3")
    page.get_by_label("log y", exact=True).check()
    page.get_by_label("x axis").select_option("relative")
    page.locator("[name=layout]").select_option("stacked")
    card(page, "loss").get_by_role("button", name=re.compile(runs[1].id)).click()
    card(page, "acc").hover()
    card(page, "acc").get_by_text("Options", exact=True).click()
    page.get_by_label("without outliers: acc").check()
    page.keyboard.press("Escape")
    drag(page, "loss", (0.25, 0.5), (0.75, 0.5))
    page.wait_for_url("**zoom=*")
    page.mouse.move(2, 2)
    address = page.url
    words = ("y=log", "x=relative", "layout=stacked", f"hide={runs[1].id}", "outliers=acc%3A0")
    assert all(word in address for word in words)

    def look(shown: Page) -> object:
        wait_drawn(shown, 4)  # two runs of two cards, stacked
        return legend(shown, "loss"), [
            strokes(group) for group in lines(drawing(shown, "loss")).values()
        ]

    before = look(page)
    other = browser.new_context(
        viewport={"width": 1200, "height": 900},
        extra_http_headers={"authorization": f"Bearer {SECRET}"},
    ).new_page()
    other.goto(address)
    assert look(other) == before
    assert other.url == address
    other.context.close()


def test_a_constant_stays_constant_and_a_gap_is_neither_zero_nor_bridged(
    place: Place, base: str, page: Page
) -> None:
    values = [math.nan if 50 <= step < 60 else 2.0 for step in range(200)]
    values[120] = math.inf
    run = timed(place, {"constant": [7.5] * 500, "gap": values})
    page.goto(f"{base}/runs/{run.id}/scalars?smooth=0.999")
    wait_drawn(page, 2)
    assert legend(page, "constant") == ["7.5"]
    (stroke,) = strokes(lines(drawing(page, "constant"))["constant"])
    assert len({y for _, y in stroke}) == 1
    group = lines(drawing(page, "gap"))["gap"]
    found = strokes(group)
    assert [len(stroke) for stroke in found] == [50, 60, 79]
    assert len({y for stroke in found for _, y in stroke}) == 1
    marks = [path for path in group.iter(f"{SVG}path") if "z" in (path.get("d") or "")]
    assert len(marks) == 11  # ten NaN at the bottom, the infinity at the top
    assert len({(mark.get("d") or "").partition("l")[0].split(" ")[1] for mark in marks}) == 2


def test_a_zoomed_chart_does_not_move_and_says_that_more_came(
    place: Place, base: str, page: Page
) -> None:
    run = make_run(place.store, series={"loss": LOSS}, alive=True, ended=False)
    with FileLock(run.paths.lock) as lock:
        assert lock.try_acquire()
        page.goto(f"{base}/runs/{run.id}/scalars?pace=0.5&zoom=50:100")
        wait_drawn(page, 1)
        expect(card(page, "loss").locator(".fresh")).to_be_hidden()
        before = strokes(lines(drawing(page, "loss"))["loss"])
        add(run, {"loss": [(200 + more, 7.0) for more in range(20)]})
        expect(card(page, "loss").locator(".legend b")).to_have_text("7")
        assert strokes(lines(drawing(page, "loss"))["loss"]) == before
        expect(card(page, "loss").locator(".fresh")).to_have_text("new data →")
        card(page, "loss").locator(".fresh").click()
        page.wait_for_url("**zoom=169*219*")
        expect(page.locator("[data-step]")).to_have_text("step 219")


def test_pointer_eyes_and_double_click_act_on_all_charts(
    place: Place, base: str, page: Page
) -> None:
    runs = [timed(place, {"a": LOSS, "b": LOSS[::-1]}, started=START + 60 * at) for at in range(3)]
    page.goto(f"{base}/compare?run={','.join(run.id for run in runs)}")
    wait_drawn(page, 2)
    box = over(page, "a")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
    for title in ("a", "b"):
        assert all(re.search(r" @ (99|100)$", value) for value in legend(page, title))
        assert card(page, title).locator(".spot:visible").count() == 3
    colours = lines(drawing(page, "b"))
    ink = {name: group.findall(f"{SVG}path")[-1].get("stroke") for name, group in colours.items()}
    # Hide one run: it is gone from both charts, and the others keep their colours.
    card(page, "a").get_by_role("button", name=re.compile(runs[0].id)).click()
    left = lines(drawing(page, "b"))
    assert list(left) == [runs[1].id, runs[2].id]
    assert all(ink[name] == group.findall(f"{SVG}path")[-1].get("stroke")
               for name, group in left.items())  # fmt: skip
    # Only one, by a double click; then all again.
    card(page, "b").get_by_role("button", name=re.compile(runs[2].id)).dblclick()
    assert list(lines(drawing(page, "a"))) == [runs[2].id]
    page.get_by_role("button", name="Show all").click()
    assert len(lines(drawing(page, "a"))) == 3
    page.get_by_role("button", name="Hide all").click()
    assert len(lines(drawing(page, "a"))) == 0
    page.get_by_role("button", name="Show all").click()
    # A name in the legend raises its line: what is drawn differs, and comes back.
    canvas = "document.querySelector('article[data-title=a] canvas').toDataURL()"
    page.mouse.move(2, 2)
    page.wait_for_timeout(100)
    plain = page.evaluate(canvas)
    card(page, "a").locator(".legend li").nth(1).hover()
    wait_until(page, f"plain => {canvas} !== plain", plain)
    page.mouse.move(2, 2)
    wait_until(page, f"plain => {canvas} === plain", plain)
    # Zoom is shared; a double click gives the whole range back.
    drag(page, "a", (0.25, 0.5), (0.75, 0.5))
    page.wait_for_url("**zoom=*")
    card(page, "b").locator(".u-over").dblclick(position={"x": 40, "y": 40})
    page.wait_for_url(lambda url: "zoom=" not in url)


def test_a_spike_among_a_million_is_drawn_and_never_left_out_silently(
    place: Place, base: str, page: Page
) -> None:
    run = make_run(place.store)
    points = [Point(step, START_MS + step, 1.0 + step % 7) for step in range(1_000_000)]
    points[654_321] = Point(654_321, START_MS + 654_321, 700.0)
    with RunDb(run.paths.db) as db:
        db.write([Reading(points={"spike": points})])
    for words in ("", "?zoom=600000:700000", "?zoom=654300:654350"):
        page.goto(f"{base}/runs/{run.id}/scalars{words}")
        wait_drawn(page, 1)
        heights = [y for stroke in strokes(lines(drawing(page, "spike"))["spike"])
                   for _, y in stroke]  # fmt: skip
        # One point stands alone, near the top of the plot; all others lie on its floor.
        assert min(heights) < sorted(heights)[1] - 150
        expect(card(page, "spike").locator(".note").first).to_have_text("")
    page.goto(f"{base}/runs/{run.id}/scalars?outliers=0")
    expect(card(page, "spike").locator(".note").first).to_contain_text("1 point above the view")


# What else charts can do


def test_shift_drag_zooms_y_and_says_what_is_outside(place: Place, base: str, page: Page) -> None:
    run = timed(place, {"ramp": [float(step) for step in range(101)]})
    page.goto(f"{base}/runs/{run.id}/scalars")
    wait_drawn(page, 1)
    page.keyboard.down("Shift")
    drag(page, "ramp", (0.2, 0.25), (0.8, 0.75))
    page.keyboard.up("Shift")
    page.wait_for_url("**yzoom=ramp*")
    assert "zoom=" not in page.url.replace("yzoom=", "")
    note = card(page, "ramp").locator(".note").first
    expect(note).to_contain_text("above the view")
    found = re.fullmatch(r"(\d+) points above the view, (\d+) below", note.inner_text())
    assert found is not None
    # The axis had a twentieth of room at each side; a quarter was cut off above and below.
    assert int(found[1]) == pytest.approx(20 + 2.5, abs=3)
    assert int(found[2]) == pytest.approx(25, abs=5)
    page.get_by_role("button", name="Whole range").click()
    expect(note).to_have_text("")


def test_another_metric_is_the_axis(place: Place, base: str, page: Page) -> None:
    run = timed(place, {"loss": LOSS, "examples": [64.0 * step for step in range(150)]})
    page.goto(f"{base}/runs/{run.id}/scalars")
    wait_drawn(page, 2)
    page.get_by_label("x axis").select_option("metric:examples")
    note = card(page, "loss").locator(".note").first
    expect(note).to_have_text("50 points without a value of examples at the same step left out")
    root = drawing(page, "loss")
    assert "examples" in [text.text for text in root.iter(f"{SVG}text")]
    (stroke,) = strokes(lines(root)["loss"])
    assert len(stroke) == 150
    assert "x=metric%3Aexamples" in page.url
    card(page, "loss").locator(".plot").focus()
    page.keyboard.press("End")
    assert legend(page, "loss") == [f"{LOSS[149]:.4g} @ 9,536"]


def test_segments_are_apart_or_joined(place: Place, base: str, page: Page) -> None:
    run = make_run(place.store)
    steps = [*range(100), *range(60, 150)]
    add(run, {"loss": [(step, 1.0 + at / 100) for at, step in enumerate(steps)]})
    page.goto(f"{base}/runs/{run.id}/scalars")
    wait_drawn(page, 1)
    group = lines(drawing(page, "loss"))["loss"]
    assert [len(stroke) for stroke in strokes(group)] == [100, 90]
    assert len(list(group.iter(f"{SVG}circle"))) == 2  # where one ends and where the next begins
    page.get_by_label("join segments").check()
    group = lines(drawing(page, "loss"))["loss"]
    assert [len(stroke) for stroke in strokes(group)] == [150]
    assert len(list(group.iter(f"{SVG}circle"))) == 0
    expect(card(page, "loss").locator(".note").first).to_have_text(
        "40 points written again by a resumed training left out"
    )


def test_groups_have_a_mean_a_band_and_their_runs(place: Place, base: str, page: Page) -> None:
    runs = [
        timed(
            place,
            {"loss": [level + at for _ in range(100)]},
            flags={"lr": lr},
            started=START + 60 * at,
        )
        for at, (lr, level) in enumerate([("0.1", 0.0), ("0.1", 3.0), ("0.2", 10.0)])
    ]
    page.goto(f"{base}/compare?run={','.join(run.id for run in runs)}")
    wait_drawn(page, 1)
    page.get_by_label("Group by").select_option("flag.lr")
    # Runs of 0 and 4: mean 2, sample standard deviation 2.828.
    expect(card(page, "loss").locator(".legend b").first).to_have_text("2 ± 2.828")
    names = card(page, "loss").locator(".legend .key").all_inner_texts()
    assert names == ["lr 0.1 · n 2", "lr 0.2 · n 1"]
    page.get_by_label("Band").select_option("minmax")
    expect(card(page, "loss").locator(".legend b").first).to_have_text("2 (0 to 4)")
    assert len(lines(drawing(page, "loss"))) == 2
    page.get_by_label("each run").check()
    page.wait_for_url("**members=1*")
    expect(page.locator(".plot canvas")).to_have_count(1)
    groups = drawing(page, "loss").iter(f"{SVG}g")
    assert sum(group.find(f"{SVG}title") is not None for group in groups) == 5
    page.get_by_label("Group by").select_option("")
    expect(card(page, "loss").locator(".legend li")).to_have_count(3)


def test_a_finished_run_is_replayed(place: Place, base: str, page: Page) -> None:
    run = timed(place, {"loss": LOSS, "acc": LOSS[::-1]})  # a point every 100 ms: 19.9 s
    page.goto(f"{base}/runs/{run.id}/scalars?replay=30:0.5")
    wait_drawn(page, 2)
    bar = page.get_by_role("group", name="Replay")
    expect(bar.locator("output")).to_have_text(re.compile(r"^(9\.9|10) s, step 99$"))
    for title, values in (("loss", LOSS), ("acc", LOSS[::-1])):
        assert legend(page, title) == [f"{values[99]:.4g}"]
        (stroke,) = strokes(lines(drawing(page, title))[title])
        assert len(stroke) == 100
    bar.get_by_label("Pace of the replay").select_option("10")
    bar.get_by_role("button", name="Play").click()
    # It goes on by itself, ends with everything shown, and the address says where it stands.
    expect(bar.get_by_role("button", name="Play or pause")).to_have_text("Again", timeout=20_000)
    page.wait_for_url("**replay=10%3A1*")
    assert legend(page, "loss") == [f"{LOSS[-1]:.4g}"]
    bar.get_by_label("Place in the replay").focus()
    page.keyboard.press("Home")
    expect(bar.locator("output")).to_contain_text("step 0")
    bar.get_by_role("button", name="Show everything again").click()
    expect(bar).to_be_hidden()
    assert "replay=" not in page.url or page.wait_for_url(lambda url: "replay=" not in url) is None


def test_a_replay_waits_for_those_who_asked_for_less_motion(
    place: Place, base: str, page: Page
) -> None:
    run = timed(place, {"loss": LOSS})
    page.emulate_media(reduced_motion="reduce")
    page.goto(f"{base}/runs/{run.id}/scalars")
    wait_drawn(page, 1)
    page.get_by_role("button", name="Replay").click()
    page.wait_for_timeout(600)
    assert page.get_by_label("Place in the replay").input_value() == "0"
    expect(page.get_by_role("button", name="Play or pause")).to_have_text("Play")


def test_a_moment_is_marked_and_a_point_leads_to_the_output(
    place: Place, base: str, page: Page
) -> None:
    run = timed(place, {"loss": LOSS})
    page.goto(f"{base}/runs/{run.id}/scalars?at={START_MS + 5040}")
    wait_drawn(page, 1)
    chip = page.locator("[data-moment]")
    expect(chip).to_contain_text(re.compile(r"at \d\d:\d\d:06"))
    blue = page.evaluate(
        """() => {
          const canvas = document.querySelector('.plot canvas'), pen = canvas.getContext('2d');
          const { width, height } = canvas;
          const row = pen.getImageData(0, Math.round(height / 3), width, 1).data;
          const found = [];
          for (let x = 0; x < width; x++)
            if (row[4 * x] === 31 && row[4 * x + 1] === 99 && row[4 * x + 2] === 198) found.push(x);
          return found;
        }"""
    )
    box = over(page, "loss")
    left = box["x"] - (card(page, "loss").locator("canvas").bounding_box() or {"x": 0})["x"]
    # Nearest in time is step 50 of 0 to 199.
    assert blue
    assert sum(blue) / len(blue) == pytest.approx(left + box["width"] * 50 / 199, abs=2)
    chip.get_by_role("button", name="Remove the mark").click()
    page.wait_for_url(lambda url: "at=" not in url)
    page.mouse.click(box["x"] + box["width"] * 100 / 199, box["y"] + 50)
    link = card(page, "loss").get_by_role("link", name="output then")
    expect(link).to_have_attribute("href", f"/runs/{run.id}/output?at={START_MS + 10_000}")


def test_lines_stacked_side_by_side_and_smoothed_one_by_one(
    place: Place, base: str, page: Page
) -> None:
    run = timed(place, {"train/acc": LOSS, "val/acc": LOSS[::-1]})
    page.goto(f"{base}/runs/{run.id}/scalars")
    wait_drawn(page, 1)
    card(page, "acc").hover()
    card(page, "acc").get_by_text("Options", exact=True).click()
    for layout, apart in (("stacked", True), ("side", False)):
        page.get_by_label("Lines: acc").select_option(layout)
        wait_drawn(page, 2)
        boxes = [pane.bounding_box() for pane in page.locator(".pane").all()]
        assert boxes[0] and boxes[1]
        assert (boxes[0]["x"] == boxes[1]["x"]) is apart
        assert (boxes[0]["y"] == boxes[1]["y"]) is not apart
    page.get_by_label("Smoothing: acc").fill("0.5")
    page.get_by_role("group", name="Smoothed lines").get_by_label("val/acc").uncheck()
    first, second = legend(page, "acc")
    assert second == f"{LOSS[0]:.4g}"
    assert first != f"{LOSS[-1]:.4g}"
    address = page.evaluate("new Promise(done => setTimeout(() => done(location.search), 300))")
    assert {"raw=val%2Facc", "layout=acc%3Aside"} <= set(address[1:].split("&"))
    page.get_by_role("button", name="Same settings as the other charts").click()
    wait_drawn(page, 1)


def test_files_say_what_they_show(place: Place, base: str, page: Page) -> None:
    run = timed(place, {"train/loss": LOSS, "validation/loss": LOSS[::-1]})
    page.goto(f"{base}/runs")
    # Downloads go without the header that lets this browser in: they need the cookie.
    code = page.evaluate(
        "fetch('/api/v1/code', {method: 'POST'}).then(answer => answer.json()).then(it => it.code)"
    )
    page.goto(f"{base}/?token={code}")
    page.goto(f"{base}/runs/{run.id}/scalars")
    wait_drawn(page, 1)
    root = drawing(page, "Loss")
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert texts[0] == "Loss"
    assert f"train/loss {LOSS[-1]:.4g}" in texts
    assert "step" in texts
    assert texts.count("Loss") == 2  # the title, and the name of the y axis
    assert Path(saved(page, "Loss", "PNG")).read_bytes().startswith(b"\x89PNG")
    rows = list(csv.reader(Path(saved(page, "Loss", "CSV")).read_text().splitlines()))
    assert rows[0] == ["run", "series", "step", "time", "value"]
    assert [float(row[4]) for row in rows[1:201]] == LOSS
    with page.expect_download() as download:
        page.locator("[data-act=csv]").click()
    assert len(Path(download.value.path()).read_text().splitlines()) == 401


def test_keys_pin_fill_smooth_and_end(place: Place, base: str, page: Page) -> None:
    run = timed(place, {"a": LOSS, "b": LOSS, "c": LOSS})
    page.goto(f"{base}/runs/{run.id}/scalars")
    wait_drawn(page, 3)
    card(page, "c").hover()
    page.keyboard.press("p")
    page.wait_for_url("**pin=c*")
    assert page.locator("section.group").first.locator("article").get_attribute("data-title") == "c"
    page.keyboard.press("]")
    page.wait_for_url("**smooth=0.1*")
    page.keyboard.press("[")
    page.wait_for_url(lambda url: "smooth=" not in url)
    card(page, "a").hover()
    page.keyboard.press("f")
    expect(card(page, "a")).to_have_class(re.compile(r"\bfull\b"))
    page.keyboard.press("PageDown")
    expect(card(page, "b")).to_have_class(re.compile(r"\bfull\b"))
    assert over(page, "b")["height"] > 500
    page.keyboard.press("Escape")
    expect(page.locator("article.full")).to_have_count(0)
    page.locator("#tags").focus()
    page.keyboard.type("p]f")
    assert "smooth=" not in page.url
    assert page.url.count("pin=") == 1
    page.locator("#tags").fill("")
    page.locator("#tags").blur()
    card(page, "c").hover()
    page.keyboard.press("p")
    page.wait_for_url(lambda url: "pin=" not in url)
    order = [each.get_attribute("data-title") for each in page.locator("article").all()]
    assert order == ["a", "b", "c"]


def test_a_chart_speaks(place: Place, base: str, page: Page) -> None:
    run = timed(place, {"loss": LOSS})
    page.goto(f"{base}/runs/{run.id}/scalars")
    wait_drawn(page, 1)
    canvas = page.get_by_role("img", name=re.compile("^loss: 1 line, step 0 to 199; loss last "))
    expect(canvas).to_have_count(1)
    page.locator(".plot").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+ArrowRight")
    said = page.locator("[aria-live=polite]").last
    expect(said).to_have_text(f"step 10: loss {LOSS[10]:.4g}")
    card(page, "loss").get_by_text("Table").click()
    cells = card(page, "loss").locator("tbody td").all_inner_texts()
    assert (cells[0], cells[-1]) == ("1", f"{LOSS[-1]:.4g}")


def test_many_cards_are_drawn_only_where_they_are_seen(place: Place, base: str, page: Page) -> None:
    run = timed(place, {f"series{number:03}": LOSS[:50] for number in range(300)})
    page.goto(f"{base}/runs/{run.id}/scalars")
    expect(page.locator(".plot canvas").first).to_be_visible()
    most = 0
    for _ in range(12):
        page.mouse.wheel(0, 900)
        page.wait_for_timeout(120)
        most = max(most, page.locator(".plot canvas").count())
    assert 0 < most < 40


def test_the_reader_s_smoothing_is_remembered_and_said(place: Place, base: str, page: Page) -> None:
    run = timed(place, {"loss": LOSS})
    page.goto(f"{base}/runs/{run.id}/scalars?smooth=0.8")
    wait_drawn(page, 1)
    page.keyboard.press("]")
    page.wait_for_url("**smooth=0.9*")
    page.goto(f"{base}/runs/{run.id}/scalars")
    page.wait_for_url("**smooth=0.9*")


def test_a_filter_keeps_the_rest_of_the_address(place: Place, base: str, page: Page) -> None:
    run = timed(place, {"loss": LOSS, "acc": LOSS})
    page.goto(f"{base}/runs/{run.id}/scalars?x=relative&smooth=0.5")
    wait_drawn(page, 2)
    page.locator("#tags").fill("lo+s")
    page.keyboard.press("Enter")
    wait_drawn(page, 1)
    assert "x=relative" in page.url
    page.locator("#tags").fill("lo(")
    page.keyboard.press("Enter")
    expect(page.locator("#tags")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#tags-problem")).to_be_visible()


def test_a_zoomed_chart_moves_along_with_the_wheel(place: Place, base: str, page: Page) -> None:
    run = timed(place, {"a": LOSS, "b": LOSS})
    page.goto(f"{base}/runs/{run.id}/scalars?zoom=50:100")
    wait_drawn(page, 2)
    box = over(page, "a")
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.wheel(box["width"] / 5, 0)
    page.wait_for_url(lambda url: re.search(r"zoom=60(\.\d+)?%3A110", url) is not None)
    (stroke,) = strokes(lines(drawing(page, "b"))["b"])
    assert len(stroke) == pytest.approx(51, abs=2)

"""Runs compared in a browser: brushes, axes, scatter plots, images; state in the address."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import Page, expect
from support.event_files import records, summary
from support.media import AT, collect_media, images, png, write_media
from support.run_dirs import START, make_run
from support.viewing import SECRET, Place, make_project, viewing

from guildlite.runs import Run

#: Learning rate, optimizer, accuracy and loss of each run; None is a run without the flag.
GIVEN = [
    ("0.001", "adam", 0.61, 0.9),
    ("0.01", "adam", 0.72, 0.7),
    ("0.1", "sgd", 0.83, 0.5),
    ("1", "sgd", 0.94, 0.3),
    (None, "lion", 0.55, 0.8),
]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_project(tmp_path)


@pytest.fixture
def runs(place: Place) -> list[Run]:
    return [
        make_run(
            place.store,
            started=START + 60 * n,
            flags={"optimizer": way, "epochs": "10"} | ({"lr": lr} if lr else {}),
            series={"validation/accuracy": [0.1, accuracy], "train/loss": [2.0, loss]},
            label=f"run {n}",
        )
        for n, (lr, way, accuracy, loss) in enumerate(GIVEN)
    ]


@pytest.fixture
def base(place: Place, runs: Sequence[Run], tmp_path: Path) -> Iterator[str]:
    with viewing(tmp_path) as client:
        yield str(client.base_url).rstrip("/")


def address(runs: Sequence[Run], view: str, more: str = "") -> str:
    return f"/compare?run={','.join(run.id for run in runs)}&view={view}{more}"


def listed(page: Page) -> list[str]:
    """Return the labels of the runs in the table below a chart."""
    return [str(text) for text in page.locator("#chosen tbody th").all_inner_texts()]


def plot(page: Page) -> tuple[float, float]:
    """Bring the chart into view and return its top left corner."""
    canvas = page.get_by_role("img").last
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    return box["x"], box["y"]


#: From the chart's own layout: ends of an axis, and the middle of the notch below it.
TOP, BOTTOM, NOTCH, LEFT, RIGHT = 52, 376, 398, 56, 88


def axis_x(page: Page, number: int, of: int) -> float:
    width = page.get_by_role("img").last.bounding_box()
    assert width
    return LEFT + number * (width["width"] - LEFT - RIGHT) / (of - 1)


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    x, y = plot(page)
    page.mouse.move(x + start[0], y + start[1])
    page.mouse.down()
    page.mouse.move(x + (start[0] + end[0]) / 2, y + (start[1] + end[1]) / 2)
    page.mouse.move(x + end[0], y + end[1])
    page.mouse.up()


AXES = "&axes=flag.lr,flag.optimizer,validation%252Faccuracy"


def test_a_brush_chooses_the_runs_of_the_table(runs: list[Run], base: str, page: Page) -> None:
    page.goto(base + address(runs, "parallel", AXES))
    expect(page.locator("#chosen h2")).to_have_text("5 runs")
    # The learning rate is shown by its logarithm: 0.001 at the bottom, 1 at the top, 0.03 between.
    x = axis_x(page, 0, 3)
    drag(page, (x, TOP - 2), (x, (TOP + BOTTOM) / 2))
    expect(page.locator("#chosen h2")).to_have_text("2 of 5 runs chosen")
    assert listed(page) == ["run 2", "run 3"]
    # Another stretch on the same axis adds to it, one on another axis takes from it.
    drag(page, (x, BOTTOM - 10), (x, BOTTOM))
    expect(page.locator("#chosen h2")).to_have_text("3 of 5 runs chosen")
    assert listed(page) == ["run 0", "run 2", "run 3"]
    third = axis_x(page, 2, 3)
    drag(page, (third, TOP - 2), (third, TOP + 60))
    assert listed(page) == ["run 3"]
    expect(page).to_have_url(re.compile(r"brush=.*brush=.*brush="))
    # The address holds it: the same runs elsewhere.
    page.goto(page.url)
    expect(page.locator("#chosen h2")).to_have_text("1 of 5 runs chosen")
    assert listed(page) == ["run 3"]
    page.keyboard.press("Escape")
    expect(page.locator("#chosen h2")).to_have_text("5 runs")
    assert "brush" not in page.url


def test_a_brush_is_moved_and_clicked_away(runs: list[Run], base: str, page: Page) -> None:
    page.goto(base + address(runs, "parallel", AXES + "&brush=flag.lr:0.05..1"))
    expect(page.locator("#chosen h2")).to_have_text("2 of 5 runs chosen")
    x = axis_x(page, 0, 3)
    middle = TOP + (BOTTOM - TOP) * 0.2
    # Beside the line by less than half of the 24 pixels that a brush is taken by.
    drag(page, (x + 11, middle), (x + 11, middle + (BOTTOM - TOP) * 0.3))
    expect(page.locator("#chosen tbody th").first).to_have_text("run 1")
    assert listed(page) == ["run 1", "run 2"]
    left, top = plot(page)
    page.mouse.click(left + x, top + middle + (BOTTOM - TOP) * 0.3)
    expect(page.locator("#chosen h2")).to_have_text("5 runs")


def test_runs_without_a_value_pass_the_notch(runs: list[Run], base: str, page: Page) -> None:
    page.goto(base + address(runs, "parallel", AXES))
    expect(page.locator("#chosen h2")).to_have_text("5 runs")
    left, top = plot(page)
    page.mouse.click(left + axis_x(page, 0, 3), top + NOTCH)
    expect(page.locator("#chosen h2")).to_have_text("1 of 5 runs chosen")
    assert listed(page) == ["run 4"]
    expect(page.locator("#chosen tbody td").first).to_have_text("none")
    expect(page).to_have_url(re.compile("brush=flag.lr%3Anone"))
    expect(page.locator(".filter-text")).to_have_text("not has flag.lr")


def test_axes_are_moved_flipped_and_chosen(runs: list[Run], base: str, page: Page) -> None:
    page.goto(base + address(runs, "parallel", AXES))
    heads = page.locator("#chosen thead th")
    expect(heads).to_have_text(["Run", "lr", "optimizer", "validation/accuracy"])
    drag(page, (axis_x(page, 2, 3), TOP - 30), (axis_x(page, 0, 3), TOP - 30))
    expect(heads).to_have_text(["Run", "validation/accuracy", "lr", "optimizer"])
    left, top = plot(page)
    page.mouse.click(left + axis_x(page, 1, 3), top + TOP - 20)
    expect(page).to_have_url(re.compile("flip=flag.lr"))
    # Upside down the smallest stands at the top.
    x = axis_x(page, 1, 3)
    drag(page, (x, TOP - 2), (x, TOP + 20))
    assert listed(page) == ["run 0"]
    page.get_by_label("add an axis").select_option(label="train/loss")
    expect(heads.last).to_have_text("train/loss")
    page.goto(page.url)
    expect(heads).to_have_text(["Run", "validation/accuracy", "lr", "optimizer", "train/loss"])
    assert listed(page) == ["run 0"]


def test_the_keyboard_does_what_the_pointer_does(runs: list[Run], base: str, page: Page) -> None:
    page.goto(base + address(runs, "parallel", AXES))
    page.get_by_text("Axes and ranges").focus()
    page.keyboard.press("Enter")
    page.get_by_label("validation/accuracy from").fill("0.7")
    page.keyboard.press("Tab")
    expect(page.locator("#chosen h2")).to_have_text("3 of 5 runs chosen")
    optimizer = page.locator(".axes li").nth(1)
    optimizer.get_by_label("from").select_option("sgd")
    expect(page.locator("#chosen h2")).to_have_text("2 of 5 runs chosen")
    assert listed(page) == ["run 2", "run 3"]
    page.get_by_role("button", name="Move optimizer to the left").press("Enter")
    expect(page.locator("#chosen thead th").nth(1)).to_have_text("optimizer")
    page.locator("#chosen .sorter", has_text="lr").press("Enter")
    expect(page.locator("#chosen th[aria-sort]")).to_have_attribute("aria-sort", "descending")
    assert listed(page) == ["run 3", "run 2"]
    canvas = page.get_by_role("img").last
    expect(canvas).to_have_attribute("aria-label", re.compile("5 runs over .*; 2 chosen"))


def test_chosen_runs_lead_on(runs: list[Run], base: str, page: Page) -> None:
    page.goto(base + "/compare?q=&view=parallel&brush=flag.lr:0.01..0.1")
    expect(page.locator(".filter-text")).to_have_text("flag.lr >= 0.01 and flag.lr <= 0.1")
    words = page.locator(".filter-text").inner_text()
    page.get_by_role("link", name="Their curves").click()
    expect(page.locator("article[data-title='train/loss'] .legend li")).to_have_count(2)
    page.goto(f"{base}/compare?q={words.replace('>', '%3E').replace('<', '%3C')}&view=table")
    expect(page.locator("h1")).to_contain_text("2 of 5 runs")


def test_hover_names_a_run_and_a_click_opens_it(runs: list[Run], base: str, page: Page) -> None:
    page.goto(base + address(runs, "scatter", "&x=flag.lr&y=validation%2Faccuracy"))
    expect(page.locator("#chosen h2")).to_have_text("5 runs")
    expect(page.locator(".hint")).to_contain_text("1 of 5 runs lack one of the two values")
    # By hand: four points on a line, over the logarithm or not the ranks agree.
    expect(page.locator(".hint")).to_contain_text("Spearman 1.00")
    left, top = plot(page)
    size = page.get_by_role("img").last.bounding_box()
    assert size
    # The last run has the largest of both: top right inside the frame.
    spot = (left + size["width"] - 16 - 12, top + 12 + 12)
    page.mouse.move(*spot)
    expect(page.locator(".pointed")).to_contain_text("run 3 lr 1 \u00b7 validation/accuracy 94.0%")
    page.mouse.click(*spot)
    expect(page).to_have_url(f"{base}/runs/{runs[3].id}")


def test_a_box_on_a_scatter_plot_chooses(runs: list[Run], base: str, page: Page) -> None:
    page.goto(base + address(runs, "scatter", "&x=flag.lr&y=validation%2Faccuracy"))
    size = page.get_by_role("img").last.bounding_box()
    assert size
    width, height = size["width"], size["height"]
    drag(page, (width / 2, 14), (width - 18, height / 2))
    expect(page.locator("#chosen h2")).to_have_text("2 of 5 runs chosen")
    assert listed(page) == ["run 2", "run 3"]
    # The same brushes hold on the other chart.
    page.goto(page.url.replace("view=scatter", "view=parallel"))
    expect(page.locator("#chosen h2")).to_have_text("2 of 5 runs chosen")
    page.goto(page.url.replace("view=parallel", "view=scatter") + "&matrix=1")
    expect(page.locator("#chosen h2")).to_have_text("2 of 5 runs chosen")
    left, top = plot(page)
    page.mouse.click(left + 80, top + 20)
    expect(page.locator("#chosen h2")).to_have_text("5 runs")


def test_words_stand_in_bands(runs: list[Run], base: str, page: Page) -> None:
    page.goto(base + address(runs, "scatter"))
    page.locator(".chart-host .controls select").first.select_option("flag.optimizer")
    expect(page).to_have_url(re.compile("x=flag.optimizer"))
    page.get_by_label("colour").select_option("flag.optimizer")
    expect(page.locator(".key-row .entry")).to_have_text(["adam", "lion", "sgd"])
    expect(page.locator(".hint")).not_to_contain_text("Pearson")


def test_charts_are_saved_whole(runs: list[Run], base: str, page: Page) -> None:
    page.goto(base + address(runs, "parallel", AXES + "&brush=flag.lr:0.05..1"))
    expect(page.locator("#chosen h2")).to_have_text("2 of 5 runs chosen")

    def saved(name: str) -> Path:
        with page.expect_download() as download:
            page.locator(".chart-host .controls").get_by_text(name).click()
        return Path(download.value.path())

    svg = saved("SVG").read_text()
    assert svg.startswith("<svg") and "optimizer</text>" in svg and ">0.01</text>" in svg
    assert saved("PNG").read_bytes().startswith(b"\x89PNG")
    lines = list(csv.reader(saved("CSV").read_text().splitlines()))
    assert lines[0] == ["run", "flag.lr", "flag.optimizer", "validation/accuracy"]
    assert [line[1:] for line in lines[1:]] == [["0.1", "sgd", "0.83"], ["1", "sgd", "0.94"]]


def test_a_chart_follows_new_runs(place: Place, runs: list[Run], base: str, page: Page) -> None:
    make_run(place.store, started=START + 900, alive=True, ended=False, flags={"lr": "0.5"})
    page.goto(f"{base}/compare?q=flag.lr+>+0&view=parallel&brush=flag.lr:0.2..0.9")
    expect(page.locator("#chosen h2")).to_have_text("1 of 5 runs chosen")
    make_run(place.store, started=START + 960, flags={"lr": "0.6"}, label="late")
    expect(page.locator("#chosen h2")).to_have_text("2 of 6 runs chosen")
    assert listed(page)[0] == "late"


#: Sums what moved without the reader's doing, as `layout-shift` entries tell it.
SHIFTS = """() => new Promise(done => { let sum = 0;
  new PerformanceObserver(list => { for (const e of list.getEntries()) sum += e.value; })
    .observe({type: 'layout-shift', buffered: true});
  requestAnimationFrame(() => setTimeout(() => done(sum), 0)); })"""


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("view", ["", "table", "parallel", "scatter", "diff"])
def test_nothing_moves_while_a_page_loads(
    runs: list[Run], base: str, page: Page, view: str, width: int
) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(base + address(runs, view))
    if view in ("parallel", "scatter"):
        expect(page.locator("#chosen h2")).to_have_text("5 runs")
    assert page.evaluate(SHIFTS) < 0.05
    assert said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["", "table", "parallel", "scatter", "diff"])
def test_nothing_is_wider_than_a_phone(
    runs: list[Run], base: str, page: Page, view: str, scheme: str
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": 360, "height": 800})
    page.goto(base + address(runs, view))
    if view in ("parallel", "scatter"):
        expect(page.locator("#chosen h2")).to_have_text("5 runs")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_every_control_has_a_name(runs: list[Run], base: str, page: Page) -> None:
    for view in ("parallel", "scatter"):
        page.goto(base + address(runs, view))
        expect(page.locator("#chosen h2")).to_have_text("5 runs")
        page.get_by_text("Axes and ranges").click()
        unnamed = page.evaluate(
            """() => [...document.querySelectorAll('main button, main input, main select, main a')]
              .filter(e => !e.closest('[hidden]') && e.type !== 'hidden' && !(e.labels?.length)
                && !e.getAttribute('aria-label') && !e.textContent.trim())
              .map(e => e.outerHTML)"""
        )
        assert unnamed == []


def test_without_a_script_the_table_is_whole(runs: list[Run], base: str, page: Page) -> None:
    assert page.context.browser
    headers = {"authorization": f"Bearer {SECRET}"}
    context = page.context.browser.new_context(
        java_script_enabled=False, extra_http_headers=headers
    )
    still = context.new_page()
    still.goto(base + address(runs, "parallel"))
    expect(still.locator("#differs tbody tr")).to_have_count(5)
    expect(still.locator("[data-chart]")).to_contain_text("drawn by a script")
    still.get_by_role("link", name="Table").click()
    still.get_by_label("Columns").select_option("all")
    still.get_by_role("button", name="Show").click()
    expect(still.locator("#differs")).to_contain_text("epochs")
    context.close()


# Images -------------------------------------------------------------------------------------------


def test_images_move_to_one_step_together(
    place: Place, runs: list[Run], base: str, page: Page
) -> None:
    one = make_run(place.store, started=START + 500, alive=True, ended=False)
    two = make_run(place.store, started=START + 501)
    write_media(one, *((step, images("pic", png(step + 1))) for step in (0, 10, 20)))
    write_media(two, *((step, images("pic", png(step + 2))) for step in (0, 10, 20)))
    page.goto(base + address([one, two], "images"))
    slider = page.get_by_label("Step of all images")
    steps = page.locator("#images td .when b")
    expect(steps).to_have_text(["20", "20"])
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(steps).to_have_text(["10", "10"])
    expect(page).to_have_url(re.compile("step=10"))
    page.keyboard.press("ArrowRight")
    expect(steps).to_have_text(["20", "20"])
    expect(page).not_to_have_url(re.compile("step="))
    page.get_by_label("Brightness").fill("0.5")
    image = page.locator("#images img").first
    assert image.evaluate("i => getComputedStyle(i).filter") == "brightness(0.5) contrast(1)"
    expect(page).to_have_url(re.compile("brightness=0.5"))
    # Without a step in the address the newest are shown as they are written.
    (file,) = one.path.glob("events*")
    with file.open("ab") as out:
        out.write(records(summary(30, AT + 30, images("pic", png(99)))))
    collect_media(one)
    expect(steps).to_have_text(["30", "20"])
    expect(slider).to_have_attribute("max", "30")

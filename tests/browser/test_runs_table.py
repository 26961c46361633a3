"""The run table in a real browser: typing, choosing, keys, following, acting, groups and views.

Checks 1, 2, 5, 11 and 12 of the viewer's plan, as far as they concern this page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import Browser, Page, expect
from support.many_runs import flags_of, make_many, metrics_of
from support.run_dirs import START, make_run
from support.viewing import SECRET, Place, make_project, viewing

from guildlite.runs.facts import write_fact

#: Fewer runs than of the figures, so that the tests are quick; benchmarks have ten thousand.
MANY = 500


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("many")
    make_many(make_project(directory).store.root, MANY)
    return directory


@pytest.fixture
def wide(many: Path) -> Iterator[str]:
    with viewing(many) as client:
        yield str(client.base_url).rstrip("/")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_project(tmp_path)


@pytest.fixture
def base(place: Place, tmp_path: Path) -> Iterator[str]:
    with viewing(tmp_path) as client:
        yield str(client.base_url).rstrip("/")


def words(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def names(page: Page) -> list[str]:
    return page.locator("tbody tr[data-run] th a").all_inner_texts()


def settle(page: Page, text: str) -> None:
    """Wait until the head of the page says how many runs there are."""
    expect(page.locator("h1")).to_contain_text(text)


def until(page: Page, expression: str, wanted: object) -> None:
    """Wait until an expression has a value; the page's policy forbids playwright's own way."""
    for _ in range(200):
        if page.evaluate(expression) == wanted:
            return
        page.wait_for_timeout(50)
    assert page.evaluate(expression) == wanted


# Check 1: filter, choose, compare, and back


def test_filter_choose_compare_and_back(wide: str, page: Page) -> None:
    page.goto(f"{wide}/runs")
    expect(page.locator("tbody tr")).to_have_count(50)
    page.get_by_role("link", name="train/loss", exact=True).click()
    expect(page.locator("th[aria-sort]")).to_have_text(re.compile("train/loss"))
    last = [metrics_of(number)["train/loss"][1] for number in range(MANY)]
    shown = page.locator("tbody tr").first.locator("td.num").all_inner_texts()
    assert f"{max(last):.4g}" in shown

    page.keyboard.press("/")
    page.keyboard.type("not id contains T01 and model = vit")
    page.keyboard.press("Escape")
    settle(page, "110 runs of 500")  # every fourth is a vit, but for those of minutes 60 to 119
    assert all("T01" not in name and name.endswith("-vit") for name in names(page))

    page.locator("h1").click()
    for key in "jxjjxjx":
        page.keyboard.press(key)
    rows = names(page)
    wanted = [rows[0], rows[2], rows[3]]
    expect(page.locator("#tally")).to_have_text("3 chosen")
    assert words(page)["sel"].split(",") == wanted
    box = page.locator(".scroll.table")
    before = box.evaluate("(box) => { box.scrollTop = 90; return box.scrollTop }")
    assert before
    until(page, "() => history.state?.scroll?.top", before)
    filtered = page.url
    page.keyboard.press("c")
    page.wait_for_url(re.compile("/compare"))
    assert parse_qs(urlsplit(page.url).query)["run"] == wanted

    page.go_back()
    settle(page, "110 runs of 500")
    assert page.url == filtered
    expect(page.locator("#q")).to_have_value("not id contains T01 and model = vit")
    expect(page.locator("tbody input:checked")).to_have_count(3)
    until(page, "() => document.querySelector('.scroll.table').scrollTop", before)


def test_sort_filter_and_page_leave_a_way_back(wide: str, page: Page) -> None:
    page.goto(f"{wide}/runs?q=resnet")
    settle(page, "125 runs")
    page.get_by_role("link", name="Last").click()
    expect(page.locator("tbody tr")).to_have_count(25)
    page.get_by_role("link", name="Model", exact=True).click()
    expect(page.locator(".pager")).to_contain_text("page 1 of 3")
    assert words(page)["sort"] == "-model"
    page.go_back()
    expect(page.locator(".pager")).to_contain_text("page 3 of 3")
    page.go_back()
    expect(page.locator(".pager")).to_contain_text("page 1 of 3")
    assert words(page) == {"q": "resnet"}


# Completion and errors


def test_completion_by_keyboard(wide: str, page: Page) -> None:
    page.goto(f"{wide}/runs")
    field = page.get_by_role("combobox", name="Filter")
    field.click()
    page.keyboard.type("opt")
    option = page.get_by_role("listbox").get_by_role("option", name="optimizer")
    expect(option).to_be_visible()
    expect(field).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("ArrowDown")
    expect(option).to_have_attribute("aria-selected", "true")
    assert field.get_attribute("aria-activedescendant") == option.get_attribute("id")
    page.keyboard.press("Enter")
    expect(field).to_have_value("optimizer ")
    page.keyboard.type("= li")
    page.get_by_role("listbox").get_by_role("option", name="lion").click()
    expect(field).to_have_value("optimizer = lion ")
    expect(field).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()
    expect(field).to_have_value("optimizer = lion ")
    lions = sum(flags_of(number)["optimizer"] == "lion" for number in range(MANY))
    settle(page, f"{lions} runs of 500")


def test_what_is_wrong_is_said_and_the_last_table_stays(wide: str, page: Page) -> None:
    page.goto(f"{wide}/runs")
    field = page.locator("#q")
    field.fill("vit")
    settle(page, "125 runs of 500")
    field.fill("vit and lrr < 0.1")
    problem = page.locator("#q-problem")
    expect(problem).to_contain_text("no run has a flag, series or attribute lrr")
    expect(problem).to_contain_text("did you mean lr?")
    expect(problem.locator("mark")).to_have_text("lrr")
    expect(field).to_have_attribute("aria-invalid", "true")
    settle(page, "125 runs of 500")
    assert words(page) == {"q": "vit"}
    # What only lacks its end is no mistake yet.
    field.fill("vit and lr <")
    expect(problem).to_have_class(re.compile("unfinished"))
    field.fill("vit and lr < 1")
    expect(problem).to_be_hidden()
    settle(page, "125 runs of 500")
    assert words(page) == {"q": "vit and lr < 1"}


# Choosing across pages; check 2: the address is the state


def test_the_choice_outlives_sorting_filtering_and_paging(wide: str, page: Page) -> None:
    page.goto(f"{wide}/runs")
    first = page.locator("tbody [name=run]").first
    chosen = first.get_attribute("value")
    first.check()
    page.get_by_role("link", name="Last").click()
    expect(page.locator(".pager")).to_contain_text("page 10 of 10")
    second = page.locator("tbody [name=run]").last.get_attribute("value")
    page.locator("tbody [name=run]").last.check()
    page.locator("#q").fill("id contains T0")
    expect(page.locator("h1")).to_contain_text("of 500")
    expect(page.locator("#tally")).to_have_text("2 chosen")
    assert words(page)["sel"] == f"{chosen},{second}"
    page.locator("#q").fill("")
    expect(page.locator("h1")).not_to_contain_text("of 500")
    expect(page.locator("tbody input:checked")).to_have_count(1)
    # A stretch with Shift, then all of the page.
    page.locator("tbody [name=run]").nth(3).check()
    page.locator("tbody [name=run]").nth(6).click(modifiers=["Shift"])
    expect(page.locator("#tally")).to_have_text("6 chosen")
    page.get_by_label("Choose all on this page").check()
    expect(page.locator("#tally")).to_have_text("51 chosen")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#tally")).to_have_text("none chosen")
    expect(page.get_by_role("button", name="Move to trash")).to_be_disabled()


def test_the_address_is_the_state(wide: str, page: Page, browser: Browser) -> None:
    page.goto(f"{wide}/runs")
    page.locator("#q").fill("train/loss < 0.5")
    expect(page.locator("h1")).to_contain_text("of 500")
    page.get_by_role("link", name="Duration").click()
    expect(page.locator("th[aria-sort]")).to_have_text(re.compile("Duration"))
    page.locator("#columns summary").click()
    page.get_by_label("flag10", exact=True).check()
    expect(page.get_by_role("columnheader", name="flag10")).to_be_visible()
    page.get_by_label("Label", exact=True).check()
    page.get_by_label("Model", exact=True).uncheck()
    expect(page.get_by_role("columnheader", name="Model")).to_have_count(0)
    page.locator("#more-columns").fill("min(train/loss)")
    page.locator("#more-columns").press("Enter")
    expect(page.get_by_role("columnheader", name="min(train/loss)")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("tbody [name=run]").nth(1).check()
    heads = page.locator("thead th").all_inner_texts()
    rows = names(page)

    context = browser.new_context(extra_http_headers={"authorization": f"Bearer {SECRET}"})
    other = context.new_page()
    other.goto(page.url)
    assert other.locator("thead th").all_inner_texts() == heads
    assert names(other) == rows
    expect(other.locator("tbody [name=run]").nth(1)).to_be_checked()
    expect(other.locator("#q")).to_have_value("train/loss < 0.5")
    context.close()


def test_columns_are_moved_by_dragging(wide: str, page: Page) -> None:
    page.goto(f"{wide}/runs?cols=status,model,duration")
    heads = page.locator("th[data-col]")
    heads.nth(2).drag_to(heads.nth(0))
    expect(heads.nth(0)).to_have_attribute("data-col", "duration")
    assert words(page)["cols"] == "duration,status,model"


# Groups and views


def test_groups_fold_and_unfold(wide: str, page: Page) -> None:
    page.goto(f"{wide}/runs")
    page.get_by_label("Group by").select_option("model")
    groups = page.locator("tr.group")
    expect(groups).to_have_count(4)
    expect(groups.first).to_contain_text("expert")
    expect(groups.first).to_contain_text("125 runs")
    means = [
        metrics_of(number)["validation/accuracy"][1]
        for number in range(MANY) if number % 4 == 1
    ]  # fmt: skip
    expect(groups.first).to_contain_text(f"{sum(means) / len(means):.1%}")
    groups.first.get_by_role("link").first.press("Enter")
    expect(page.locator("tr.inner[data-run]")).to_have_count(50)
    expect(page.locator(".fold").first).to_be_focused()
    expect(page.locator(".fold").first).to_have_attribute("aria-expanded", "true")
    page.get_by_role("link", name="all 125 runs").click()
    settle(page, "125 runs of 500")
    page.go_back()
    expect(page.locator("tr.inner[data-run]")).to_have_count(50)
    page.locator(".fold").first.click()
    expect(page.locator("tr.inner")).to_have_count(0)


def test_a_view_is_saved_opened_and_deleted(place: Place, base: str, page: Page) -> None:
    make_run(place.store, "expert", series={"train/loss": [1, 0.5]})
    make_run(place.store, "intro", started=START + 60)
    page.goto(f"{base}/runs")
    page.locator("#q").fill("model = expert")
    settle(page, "1 run of 2")
    page.locator("#views summary").click()
    page.get_by_label("Save this as").fill("ours")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name="ours")).to_be_visible()
    page.goto(f"{base}/s/ours")
    settle(page, "1 run of 2")
    assert page.url == f"{base}/runs?q=model+%3D+expert"
    page.locator("#views summary").click()
    page.get_by_role("button", name="Delete the view ours").click()
    expect(page.get_by_role("link", name="ours")).to_have_count(0)


# Acting


def test_trash_and_undo(place: Place, base: str, page: Page) -> None:
    runs = [make_run(place.store, started=START + 60 * n) for n in range(4)]
    page.goto(f"{base}/runs?sort=started")
    for run in runs[:2]:
        page.get_by_label(f"Choose {run.id}").check()
    page.get_by_role("button", name="Move to trash").click()
    expect(page.get_by_text("Moved 2 runs to the trash")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("#tally")).to_have_text("none chosen")
    assert len(place.store.trashed()) == 2
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("tbody tr")).to_have_count(4)
    expect(page.locator("#undo")).to_have_count(0)
    assert words(page) == {"sort": "started"}


def test_label_and_mark_all_that_match(place: Place, base: str, page: Page) -> None:
    for number in range(120):
        make_run(place.store, "expert" if number < 110 else "intro", started=START + number)
    page.goto(f"{base}/runs?q=expert")
    page.get_by_label("all 110 runs that match").check()
    page.get_by_label("Label for the chosen runs").fill("sweep 1")
    page.get_by_role("button", name="Label").click()
    expect(page.locator("tbody tr").first).to_contain_text("sweep 1")
    assert sum(run.label == "sweep 1" for run in place.store.list()) == 110
    # Somebody started one more meanwhile: nothing is done to what was not seen.
    page.get_by_label("all 110 runs that match").check()
    make_run(place.store, "expert", started=START + 500)
    page.evaluate("document.querySelector('[name=n]').value = '110'")
    page.get_by_role("button", name="Mark", exact=True).click()
    expect(page.get_by_text("111 runs match now, not 110")).to_be_visible()
    assert not any(run.marked for run in place.store.list())


# Following


def test_rows_follow_and_nothing_else_moves(place: Place, base: str, page: Page) -> None:
    """Check 5 and the end of 11, for this page."""
    old = [make_run(place.store, started=START + n, label=f"number {n}") for n in range(40)]
    live = make_run(place.store, "intro", started=START + 100, alive=True, ended=False)
    page.goto(f"{base}/runs")
    page.get_by_label(f"Choose {old[5].id}").check()
    link = page.get_by_role("link", name=old[5].id)
    link.focus()
    page.evaluate(
        "(id) => getSelection().selectAllChildren(document.querySelector(id + ' td.label'))",
        f"[id='run-{old[4].id}']",
    )
    box = page.locator(".scroll.table")
    row = page.locator(f"[id='run-{old[5].id}']")
    top = row.bounding_box()
    write_fact(live.paths.exit, {"time": START + 200, "duration_s": 1.0, "code": 3})
    expect(page.locator(f"[id='run-{live.id}']")).to_contain_text("failed")
    newer = make_run(place.store, "resnet", started=START + 300)
    expect(page.locator("tbody tr").first).to_contain_text(newer.id)
    expect(link).to_be_focused()
    expect(page.get_by_label(f"Choose {old[5].id}")).to_be_checked()
    assert page.evaluate("getSelection().toString().trim()") == "number 4"
    assert words(page) == {"sel": old[5].id}
    after = row.bounding_box()
    assert top and after
    assert box.evaluate("(box) => box.scrollTop") > 0
    assert abs(after["y"] - top["y"]) < 3


def test_a_server_that_is_gone_and_back(place: Place, tmp_path: Path, page: Page) -> None:
    run = make_run(place.store)
    with viewing(tmp_path) as client:
        page.goto(f"{client.base_url}/runs")
        page.route("**/runs*", lambda route: route.abort())
        page.get_by_role("link", name="Model", exact=True).click()
        expect(page.get_by_role("link", name=run.id)).to_be_visible()
        expect(page.locator("tbody tr")).to_have_count(1)
        page.unroute("**/runs*")
        other = make_run(place.store, started=START + 60)
        expect(page.get_by_role("link", name=other.id)).to_be_visible()


# Checks 11 and 12


def test_without_scripts_everything_is_there(many: Path, browser: Browser) -> None:
    context = browser.new_context(
        java_script_enabled=False, extra_http_headers={"authorization": f"Bearer {SECRET}"}
    )
    page = context.new_page()
    with viewing(many) as client:
        page.goto(f"{client.base_url}/runs?sel={'x' * 5}")
        page.get_by_label("Filter").fill("vit")
        page.get_by_label("Group by").select_option("flag.optimizer")
        page.get_by_role("button", name="Show", exact=True).click()
        expect(page.locator("tr.group")).to_have_count(3)
        page.locator(".fold").first.click()
        assert page.locator("tr.inner").count() > 1
        page.locator("#columns summary").click()
        for name in ("Started", "Duration"):
            page.get_by_label(name, exact=True).uncheck()
        page.get_by_role("button", name="Show these").click()
        expect(page.get_by_role("columnheader", name="Started")).to_have_count(0)
        expect(page.locator("tr.group")).to_have_count(3)
        page.goto(f"{client.base_url}/runs")
        page.locator("tbody [name=run]").nth(0).check()
        page.locator("tbody [name=run]").nth(2).check()
        page.get_by_role("button", name="Compare chosen").click()
        assert len(parse_qs(urlsplit(page.url).query)["run"]) == 2
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 360])
def test_looks_and_names(many: Path, browser: Browser, scheme: str, width: int) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme=scheme,  # type: ignore[arg-type]
        extra_http_headers={"authorization": f"Bearer {SECRET}"},
    )
    page = context.new_page()
    troubles: list[str] = []
    page.on("console", lambda m: troubles.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    with viewing(many) as client:
        page.add_init_script(
            "window.shift = 0; new PerformanceObserver((list) => { for (const each of"
            " list.getEntries()) window.shift += each.value })"
            ".observe({ type: 'layout-shift', buffered: true })"
        )
        page.goto(f"{client.base_url}/runs")
        expect(page.locator("tbody tr")).to_have_count(50)
        page.evaluate("() => new Promise((done) => setTimeout(done, 400))")
        assert page.evaluate("window.shift") < 0.05
        # The page itself never scrolls sideways; the table does, its first column stays.
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator(".scroll.table").evaluate("(box) => { box.scrollLeft = 400 }")
        first = page.locator("tbody th").first.bounding_box()
        assert first and 0 <= first["x"] < 80
        assert page.evaluate(UNNAMED) == []
        assert page.evaluate(LOW_CONTRAST) == []
    context.close()
    assert troubles == []


#: Controls without a name.
UNNAMED = """() => [...document.querySelectorAll('a, button, input:not([type=hidden]), select')]
  .filter((each) => !(each.getAttribute('aria-label') || each.labels?.length
    || each.textContent.trim() || each.title))
  .map((each) => each.outerHTML)"""

#: Texts whose colour is nearer to the background than 4.5 to 1 (WCAG 2.1, 1.4.3).
LOW_CONTRAST = """() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = (color) => {
    const [r, g, b] = color.slice(0, 3).map((part) => part / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (each) => {
    for (let at = each; at; at = at.parentElement) {
      const color = rgb(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const each of document.querySelectorAll('#main *')) {
    const own = [...each.childNodes].some((node) => node.nodeType === 3 && node.nodeValue.trim());
    if (!own || !each.checkVisibility() || each.closest(':disabled, option')) continue;
    const [one, other] = [light(rgb(getComputedStyle(each).color)), light(ground(each))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) found.push(`${each.outerHTML.slice(0, 80)} ${ratio.toFixed(2)}`);
  }
  return found;
}"""

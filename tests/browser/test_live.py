"""Pages of text and tables that follow what happens, without disturbing who reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import Page, expect
from support.run_dirs import make_run
from support.viewing import Place, make_project, viewing

from guildlite.runs.db import RunDb
from guildlite.series import OutputLine, Reading


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_project(tmp_path)


@pytest.fixture
def base(place: Place, tmp_path: Path) -> Iterator[str]:
    with viewing(tmp_path) as client:
        yield str(client.base_url).rstrip("/")


def test_output_grows_and_a_selection_survives(place: Place, base: str, page: Page) -> None:
    run = make_run(place.store, out=["first line", "second line"], alive=True, ended=False)
    page.goto(f"{base}/runs/{run.id}/output")
    first = page.locator("#main ol.log li code").first
    first.dblclick(position={"x": 6, "y": 8})
    assert page.evaluate("getSelection().toString().trim()") == "first"
    chosen = page.evaluate("getSelection().toString()")
    with RunDb(run.paths.db) as db:
        db.write([Reading(lines=[OutputLine(1_795_196_800_000, 1, "a third line")])])
    expect(page.locator("ol.log li")).to_have_count(3)
    expect(page.locator("ol.log li").last).to_contain_text("a third line")
    assert page.evaluate("getSelection().toString()") == chosen


def test_the_first_run_appears_in_an_empty_table(place: Place, base: str, page: Page) -> None:
    page.goto(f"{base}/runs")
    expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()
    run = make_run(place.store)
    expect(page.get_by_role("link", name=run.id)).to_be_visible()


def test_a_field_that_is_typed_into_keeps_its_text(place: Place, base: str, page: Page) -> None:
    make_run(place.store, alive=True, ended=False)
    page.goto(f"{base}/runs")
    page.locator("#q").fill("model in (expert,")
    other = make_run(place.store, "intro")
    expect(page.get_by_role("link", name=other.id)).to_be_visible()
    expect(page.locator("#q")).to_have_value("model in (expert,")
    expect(page.locator("#q")).to_be_focused()


def test_a_run_that_ends_is_said_to_have_ended(place: Place, base: str, page: Page) -> None:
    run = make_run(place.store, alive=True, ended=False)
    page.goto(f"{base}/runs/{run.id}")
    expect(page.locator(".facts .status")).to_have_text("running")
    from guildlite.runs.facts import write_fact

    write_fact(run.paths.exit, {"time": 1_795_196_800.0, "duration_s": 99.0, "code": 3})
    expect(page.locator(".facts .status")).to_have_text("failed")
    expect(page.locator(".live")).not_to_contain_text("live")

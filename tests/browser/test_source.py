"""The Source page in a browser: with and without scripts, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.run_dirs import START, make_run
from support.viewing import SECRET, make_project, viewing

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def base(tmp_path: Path) -> Iterator[str]:
    """A viewer of two runs whose source differs in one of two files."""
    store = make_project(tmp_path).store
    for number, word in enumerate(("first", "second")):
        run = make_run(store, started=START + 60 * number, label=word)
        run.paths.sources.mkdir()
        lines = "".join(f"line {n} of a file that is as long as files are\n" for n in range(40))
        (run.paths.sources / "expert.py").write_text(f"word = '{word}'\n{lines}")
        (run.paths.sources / "same.py").write_text("pass\n")
    (tmp_path / "expert.py").write_text("word = 'now'\n")
    with viewing(tmp_path) as client:
        yield str(client.base_url).rstrip("/")


def test_a_run_is_compared_by_choosing_another(base: str, page: Page) -> None:
    page.goto(f"{base}/runs")
    page.goto(f"{base}/runs/{_ids(page, base)[1]}/source")
    page.get_by_label("Compare with").select_option(_ids(page, base)[0])
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**against=*")
    assert page.locator("li.del code").all_inner_texts() == ["-word = 'first'"]
    assert page.locator("li.add code").all_inner_texts() == ["+word = 'second'"]
    page.get_by_role("link", name="swap").click()
    page.wait_for_url("**against=*")
    assert page.locator("li.add code").all_inner_texts() == ["+word = 'first'"]
    page.get_by_label("Compare with").select_option("worktree")
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**against=worktree*")
    assert "+word = 'now'" in page.locator("li.add code").all_inner_texts()
    page.get_by_role("link", name="show the files instead").click()
    page.wait_for_url("**/source")


def _ids(page: Page, base: str) -> list[str]:
    answer = page.request.get(f"{base}/api/v1/runs")
    return [run["id"] for run in answer.json()["rows"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_without_scripts_in_either_light(
    base: str, browser: Browser, scheme: str
) -> None:
    context = browser.new_context(
        color_scheme=scheme, java_script_enabled=False, viewport={"width": 360, "height": 740},
        extra_http_headers={"authorization": f"Bearer {SECRET}"},
    )  # fmt: skip
    page = context.new_page()
    newest, oldest = _ids(page, base)
    page.goto(f"{base}/runs/{oldest}/source?against={newest}")
    assert page.locator("li.add").count() == 1
    context.close()
    # Without scripts nothing can be measured; the styles are the same.
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": 360, "height": 740},
        extra_http_headers={"authorization": f"Bearer {SECRET}"},
    )  # fmt: skip
    page = context.new_page()
    page.goto(f"{base}/runs/{oldest}/source?against={newest}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for place in ("li.add code", "li.del code", "li.add .n", "li.hunk code", ".plus", ".minus"):
        assert _contrast(page, place) >= 4.5, place
    context.close()


def _contrast(page: Page, place: str) -> float:
    """Return the contrast of a text to what is behind it, as WCAG 2.1 defines it."""
    return page.evaluate(
        """place => {
            const rgba = text => text.match(/[\\d.]+/g).map(Number);
            const light = ([r, g, b]) => {
                const [x, y, z] = [r, g, b].map(v => v / 255)
                    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * x + 0.7152 * y + 0.0722 * z;
            };
            const element = document.querySelector(place);
            let behind = element;
            while (rgba(getComputedStyle(behind).backgroundColor)[3] === 0) {
                behind = behind.parentElement;
            }
            const pair = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor]
                .map(text => light(rgba(text))).sort((a, b) => b - a);
            return (pair[0] + 0.05) / (pair[1] + 0.05);
        }""",
        place,
    )

"""A real Chromium for the tests in tests/browser; skipped, loudly, where there is none.

With GUILDLITE_TEST_BROWSER=1, as continuous integration has it, a missing Chromium is a failure.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
    "--no-first-run",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for a module: while it is open, playwright's event loop runs in this thread, and
    tests of other modules have loops of their own.
    """
    executable = next(filter(None, map(shutil.which, _NAMES)), None)
    if executable is None:
        message = "NO BROWSER WAS TESTED: there is no Chromium on PATH"
        if os.environ.get("GUILDLITE_TEST_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=list(_OPTIONS))
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A new page that fails the test when a script fails or anything is loaded from elsewhere."""
    from support.viewing import SECRET

    context = browser.new_context(
        viewport={"width": 1200, "height": 900},
        extra_http_headers={"authorization": f"Bearer {SECRET}"},
    )
    context.set_default_timeout(20_000)
    page = context.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(f"script: {error}"))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("http://127.0.0.1:", "blob:", "data:"))
            else troubles.append(f"loaded from elsewhere: {request.url}")
        ),
    )
    yield page
    context.close()
    assert troubles == []


def wait_until(page: Page, expression: str, arg: object = None) -> None:
    """Wait until an expression or a function in JavaScript says yes.

    playwright's own way, `wait_for_function`, needs the `eval` that the pages' policy forbids.
    """
    for _ in range(200):
        if page.evaluate(expression, arg):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"waited 10 s for {expression}")

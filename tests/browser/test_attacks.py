"""Attacks that need a browser: other sites aiming at the viewer, and runs aiming at its reader."""

from __future__ import annotations

import html
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import Browser, Page
from support.run_dirs import make_run
from support.starting import make_place
from support.viewing import SECRET, viewing

from guildlite.runs import Run, RunStore

MARKUP = "<img src=x onerror='window.top.pwned=1'><script>window.top.pwned=1</script>"


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return make_place(tmp_path)


@pytest.fixture
def run(store: RunStore) -> Run:
    run = make_run(
        store,
        flags={"lr": MARKUP},
        series={f"loss {MARKUP.replace('/', '')}": [2.0, 1.0]},
        out=[MARKUP, f"\x1b[31m{MARKUP}"],
        attrs={"git.commit": MARKUP},
        label=MARKUP,
    )
    run.set_note(MARKUP)
    for name in ("page.html", "picture.svg", "data.xml", "page.xhtml"):
        xmlns = "http://www.w3.org/1999/xhtml"
        (run.path / name).write_text(f"<svg xmlns='{xmlns}' onload='top.pwned=1'>{MARKUP}</svg>")
    return run


@pytest.fixture
def base(run: Run, tmp_path: Path) -> Iterator[str]:
    with viewing(tmp_path) as client:
        yield str(client.base_url).rstrip("/")


class EvilSite(BaseHTTPRequestHandler):
    """Answers every address with `page`; what is posted or asked here is kept in `asked`."""

    page = ""
    asked: list[str] = []

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(type(self).page.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def evil() -> Iterator[type[EvilSite]]:
    handler = type("Site", (EvilSite,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    # To a browser `localhost` is another site than 127.0.0.1.
    handler.url = f"http://localhost:{server.server_address[1]}"  # type: ignore[attr-defined]
    yield handler
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def victim(browser: Browser) -> Iterator[Page]:
    """A page whose every request is let in, as if each cookie came along: the worst case."""
    context = browser.new_context(extra_http_headers={"authorization": f"Bearer {SECRET}"})
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


def test_a_form_of_another_site_starts_and_changes_nothing(
    store: RunStore, run: Run, base: str, evil: type[EvilSite], victim: Page
) -> None:
    targets = ("/new", "/runs/trash", "/runs/stop", "/runs/mark", "/runs/label", "/prepare")
    fields = {
        "op": "expert:train",
        "do": "start",
        "run": run.id,
        "label": "owned",
        "name": "expert",
    }
    inputs = "".join(
        f'<input name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in fields.items()
    )
    for target in targets:
        for kind in ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain"):
            evil.page = (
                f'<form method="post" action="{base}{target}" enctype="{kind}">{inputs}</form>'
            )
            victim.goto(evil.url)  # type: ignore[attr-defined]
            with victim.expect_response(f"{base}{target}") as answer:
                victim.evaluate("document.forms[0].submit()")
            assert answer.value.status in (403, 415)
            victim.wait_for_url(f"{base}{target}")
    assert [one.id for one in store.list()] == [run.id]
    assert store.get(run.id).label == MARKUP


def test_a_script_of_another_site_reads_and_changes_nothing(
    store: RunStore, run: Run, base: str, evil: type[EvilSite], victim: Page
) -> None:
    evil.page = "<p>evil</p>"
    victim.goto(evil.url)  # type: ignore[attr-defined]
    read = victim.evaluate(
        """async (base) => {
          const tried = {};
          for (const [name, url, options] of [
            ["read", "/api/v1/runs", {}],
            ["page", "/runs", {}],
            ["code", "/api/v1/code", {method: "POST"}],
            ["json", "/api/v1/runs", {method: "POST", body: "{}",
              headers: {"content-type": "application/json"}}],
            ["delete", "/api/v1/runs/x", {method: "DELETE"}],
          ]) {
            try {
              const answer = await fetch(base + url, {credentials: "include", ...options});
              tried[name] = await answer.text();
            } catch (error) { tried[name] = null; }
          }
          return tried;
        }""",
        base,
    )
    assert read == {"read": None, "page": None, "code": None, "json": None, "delete": None}
    for tag, address in (
        ("img", "/runs"),
        ("script", "/api/v1/runs"),
        ("link", "/static/page.css"),
    ):
        loaded = victim.evaluate(
            """([tag, url]) => new Promise((done) => {
              const made = document.createElement(tag);
              made.onload = () => done(true);
              made.onerror = () => done(false);
              if (tag === "link") { made.rel = "stylesheet"; made.href = url; } else made.src = url;
              document.head.append(made);
            })""",
            [tag, base + address],
        )
        assert not loaded, tag
    assert len(store.list()) == 1


def test_the_viewer_is_shown_in_no_frame_and_known_to_no_opener(
    run: Run, base: str, evil: type[EvilSite], victim: Page
) -> None:
    evil.page = f'<iframe src="{base}/runs" name="inside"></iframe>'
    victim.goto(evil.url)  # type: ignore[attr-defined]
    victim.wait_for_timeout(300)
    assert "Runs" not in (victim.frame("inside").content() if victim.frame("inside") else "")
    with victim.expect_popup() as popup:
        victim.evaluate("url => { window.opened = open(url) }", f"{base}/runs")
    popup.value.wait_for_load_state()
    assert victim.evaluate("window.opened.closed || window.opened.length === 0")
    assert popup.value.evaluate("window.opener") is None


def test_files_of_a_run_do_nothing(run: Run, base: str, victim: Page) -> None:
    for name in ("page.html", "picture.svg", "data.xml"):
        victim.goto(f"{base}/runs/{run.id}/files/{name}")
        assert victim.evaluate("window.pwned") is None
        assert victim.evaluate("document.contentType") == "text/plain"
        assert victim.evaluate("origin") == "null"  # not even of the viewer's own site
    victim.goto(f"{base}/runs")
    with victim.expect_download():
        victim.evaluate("url => location.assign(url)", f"{base}/runs/{run.id}/files/page.xhtml")


def test_no_text_of_a_run_becomes_an_element(run: Run, base: str, victim: Page) -> None:
    troubles: list[str] = []
    victim.on("pageerror", lambda error: troubles.append(str(error)))
    victim.on(
        "console",
        lambda message: troubles.append(message.text) if message.type == "error" else None,
    )
    victim.add_init_script(
        "addEventListener('securitypolicyviolation', e => console.error(e.violatedDirective))"
    )
    sections = ("", "/scalars", "/system", "/media", "/output?q=img", "/files", "/source")
    addresses = [f"/runs/{run.id}{section}" for section in sections]
    addresses += ["/runs", f"/compare?run={run.id}", f"/new?from={run.id}"]
    for address in addresses:
        victim.goto(base + address)
        victim.wait_for_load_state("networkidle")
        assert victim.evaluate("window.pwned") is None
        assert victim.locator('img[src="x"], script:not([src])').count() == 0, address
    victim.goto(f"{base}/runs")
    victim.keyboard.press("Control+k")
    victim.get_by_role("option", name="onerror").first.wait_for()
    assert victim.locator('img[src="x"]').count() == 0
    assert troubles == []

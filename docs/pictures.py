"""Makes the pictures of this documentation: the digits example, trained and looked at in Chromium.

    python docs/pictures.py [NAME...]

Each page is taken in light and in dark, into docs/pictures/NAME-light.png and NAME-dark.png. Look
at them before they are committed. Needs the packages of the extra `dev`, and Chromium.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Browser, sync_playwright

PICTURES = Path(__file__).with_name("pictures")
SECRET = "the-secret-of-the-pictures"
START_S = 30
#: Stands in the pictures for the temporary directory of the project, as in the sessions.
HOME = "/home/you"
#: What is trained: a label, then words of the command line.
RUNS = [
    ("baseline", "lr=0.05", "hidden=32"),
    ("wider", "lr=0.05", "hidden=64"),
    ("slower", "lr=0.01", "hidden=64"),
    ("faster", "lr=0.2", "hidden=64"),
    ("large", "lr=0.05", "hidden=256"),
    ("large, slower", "lr=0.01", "hidden=256"),
    ("linear decay", "lr=0.05", "hidden=256"),
]
#: What the script says before, and when the last one is trained.
EDITED = (
    "lr = args.lr * (1 + math.cos(math.pi * step / steps)) / 2  # ends near zero",
    "lr = args.lr * (1 - step / steps)  # ends at zero",
)
#: Puts one text for another wherever it stands in a page.
RENAME = """([from, to]) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.data.includes(from)) node.data = node.data.replaceAll(from, to);
  }
}"""


class Shot(NamedTuple):
    """A page to be taken: where it is, what must be there before, how high it is."""

    path: str
    wait_for: str
    height: int = 800


SHOTS = {
    "runs": Shot("/runs", "table.runs", 540),
    "run": Shot("/runs/{run}", ".tiles"),
    "metrics": Shot("/runs/{run}/scalars", ".plot canvas"),
    "media": Shot("/runs/{run}/media?kind=histogram", ".card svg"),
    "compare": Shot("/compare?run={some}", "table", 900),
    "parallel": Shot("/compare?q=&view=parallel", ".layers canvas"),
    "scatter": Shot("/compare?q=&view=scatter&x=train/loss", ".layers canvas"),
    "output": Shot("/runs/{run}/output?q=epoch", ".log", 560),
    "source": Shot("/runs/{run}/source?against={last}", ".code.diff", 560),
}


def main(names: list[str]) -> None:
    unknown = set(names) - set(SHOTS)
    if unknown:
        raise SystemExit(f"no picture {', '.join(sorted(unknown))}; there are {', '.join(SHOTS)}")
    with tempfile.TemporaryDirectory(prefix="guildlite-pictures-") as text:
        project = Path(text) / "digits"
        train(project)
        ids = sorted(path.name for path in (project / "runs").glob("[!.]*"))
        words = {"run": ids[4], "last": ids[-1], "some": ",".join(ids[:3])}
        with viewing(project) as base, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"),
                args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            )
            for name in names or SHOTS:
                for scheme in ("light", "dark"):
                    take(browser, base, name, scheme, words, project)
                    print(PICTURES / f"{name}-{scheme}.png")
            browser.close()


def gl(directory: Path, *words: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "guildlite", *words],
        cwd=directory, check=True, capture_output=True, timeout=300,
    )  # fmt: skip


def train(project: Path) -> None:
    project.mkdir()
    gl(project, "init", "--example", "digits")
    gl(project, "prepare")
    for label, *flags in RUNS:
        if label == RUNS[-1][0]:
            script = project / "expert.py"
            script.write_text(script.read_text().replace(*EDITED))
        gl(project, "train", "--label", label, *flags)
    gl(project, "evaluate", "3")


@contextmanager
def viewing(project: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    viewer = subprocess.Popen(
        [sys.executable, "-m", "guildlite", "view", "--no-browser", "--port", str(port)],
        cwd=project, env={**os.environ, "GL_TOKEN": SECRET}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    base = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(base)
        yield base
    finally:
        viewer.terminate()
        viewer.wait(20)


def wait_until_up(base: str) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            urllib.request.urlopen(f"{base}/api/v1/health", timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def take(
    browser: Browser, base: str, name: str, scheme: str, words: dict[str, str], project: Path
) -> None:
    shot = SHOTS[name]
    context = browser.new_context(
        viewport={"width": 1200, "height": shot.height},
        color_scheme="dark" if scheme == "dark" else "light",
        extra_http_headers={"authorization": f"Bearer {SECRET}"},
    )
    page = context.new_page()
    page.goto(base + shot.path.format(**words))
    page.wait_for_selector(shot.wait_for, timeout=START_S * 1000)
    page.wait_for_timeout(500)  # charts are drawn one after the other
    page.evaluate(RENAME, [str(project.parent), HOME])
    page.evaluate(RENAME, [sys.executable, f"{HOME}/.venv/bin/python3"])
    PICTURES.mkdir(exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}-{scheme}.png")
    context.close()


if __name__ == "__main__":
    main(sys.argv[1:])

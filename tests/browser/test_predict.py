"""The page of `gl serve` in a browser: draw, drop, ask, copy.

Needs playwright and a Chromium (`support.browsing`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper
from support.models import save_model
from support.servers import running

from guildlite.serve.app import create_app
from guildlite.serve.engine import Engine
from guildlite.serve.runtimes.onnx import OnnxRuntime
from guildlite.serve.signature import Signature

SIGNATURE = Signature(
    classes=tuple(f"pixel {number}" for number in range(32)),
    preprocess={"image": {"width": 8, "height": 8, "range": [0, 16]}},
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A model that gives the upper half of its picture back."""
    path = save_model(
        tmp_path_factory.mktemp("run") / "m.onnx",
        [helper.make_node("Split", ["image"], ["prediction", "rest"], axis=1)],
        [("image", TensorProto.FLOAT, ["n", 64])],
        [("prediction", TensorProto.FLOAT, ["n", 32])],
    )
    engine = Engine(OnnxRuntime(path, run_dir=path.parent, name="m"))
    engine.warm_up()
    app = create_app(engine, title="t", file="m.onnx", signature=SIGNATURE)
    with running(app) as port:
        yield f"http://localhost:{port}"
    engine.close()


@pytest.fixture
def page(address: str, browser: Any) -> Iterator[Any]:
    """The page, with whatever went wrong in it gathered in `page.faults`."""
    context = browser.new_context()
    page = context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on(
        "request",
        lambda asked: (
            asked.url.startswith((address, "blob:", "data:")) or page.faults.append(asked.url)
        ),
    )
    page.goto(address)
    yield page
    context.close()
    assert page.faults == []


def asked(page: Any) -> list[Any]:
    values: list[Any] = page.evaluate("JSON.parse(document.getElementById('request').value)")
    return values


def test_a_drawing_is_asked_for_as_pixels(page: Any) -> None:
    box = page.locator("#pad").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] * 0.06)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.06, steps=8)
    page.mouse.up()
    page.wait_for_selector("#bars .top")
    (instance,) = asked(page)
    assert len(instance["image"]) == 64
    assert all(value > 8 for value in instance["image"][1:7])
    assert set(instance["image"][24:]) == {0}
    assert "answered in" in page.text_content("#status")
    page.click("#clear")
    assert page.locator("#bars .bar").count() == 32


def test_lines_of_a_table_are_instances(page: Any) -> None:
    lines = "\n".join(",".join([str(number)] * 64) for number in range(3))
    page.set_input_files(
        "#csv", {"name": "x.csv", "mimeType": "text/csv", "buffer": lines.encode()}
    )
    page.wait_for_selector("#bars table")
    assert [set(instance["image"]) for instance in asked(page)] == [{0}, {1}, {2}]
    assert page.locator("#bars tr").count() == 4


def test_a_refusal_is_shown_in_its_words(page: Any) -> None:
    page.fill("#request", '[{"image": [1]}]')
    page.click("button[type=submit]")
    page.wait_for_selector("#status.bad")
    assert "expected shape [64], got shape [1]" in page.text_content("#status")


def test_requests_are_copied_as_curl_and_python(page: Any, address: str, tmp_path: Path) -> None:
    import json
    import subprocess
    import sys

    page.fill("#request", json.dumps([{"image": [0.5] * 64}]))
    page.click("#python")
    code = page.text_content("#snippet")
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert printed.strip() == str([{"prediction": [0.5] * 32}])
    page.click("#curl")
    assert page.text_content("#snippet").startswith(f"curl {address}/run -d '[")


def test_nothing_is_loaded_from_elsewhere_in_the_docs(page: Any, address: str) -> None:
    page.goto(f"{address}/docs")
    assert "POST /run" in page.text_content("body")

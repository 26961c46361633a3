"""The walk of the PyTorch tutorial through TensorBoard, behind the viewer, in a real browser.

An image, two losses on a chart, a graph opened twice, embeddings in three dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("playwright")
pytest.importorskip("tensorboardX")
from playwright.sync_api import expect
from support.boards import record
from support.event_files import records, version
from support.run_dirs import make_run
from support.viewing import make_project, viewing

from guildlite.runs import Run

if TYPE_CHECKING:
    from playwright.sync_api import Page


def graph() -> bytes:
    """Return an event file with a graph of nested scopes, named as `add_graph` names modules."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    from tensorboard.compat.proto.node_def_pb2 import NodeDef

    nodes = [
        NodeDef(name="images", op="IO Node"),
        NodeDef(name="Net/Conv2d[conv1]/weight", op="prim::Param"),
        NodeDef(
            name="Net/Conv2d[conv1]/out",
            op="aten::conv2d",
            input=["images", "Net/Conv2d[conv1]/weight"],
        ),
        NodeDef(name="Net/Linear[fc1]/out", op="aten::linear", input=["Net/Conv2d[conv1]/out"]),
        NodeDef(name="output", op="IO Node", input=["Net/Linear[fc1]/out"]),
    ]
    definition = GraphDef(node=nodes).SerializeToString()
    return records(version(), Event(wall_time=1.0, graph_def=definition).SerializeToString())


def write_tutorial(directory: Path) -> None:
    import numpy as np
    from tensorboardX import SummaryWriter  # type: ignore[import-untyped]

    random = np.random.default_rng(1)
    with SummaryWriter(str(directory)) as writer:
        writer.add_image("four_fashion_mnist_images", random.random((3, 30, 120)), 0)
        for step in range(50):
            writer.add_scalars("loss", {"train": 1 / (step + 1), "test": 1.5 / (step + 1)}, step)
        writer.add_embedding(
            random.random((60, 16)),
            metadata=[f"class {index % 10}" for index in range(60)],
            label_img=random.random((60, 3, 8, 8)),
        )
    (directory / "events.out.tfevents.2.graph").write_bytes(graph())


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("GUILDLITE_CACHE", str(tmp_path / "cache"))
    run = make_run(make_project(tmp_path).store)
    write_tutorial(run.path)
    record(run)
    return run


@pytest.fixture
def base(run: Run, tmp_path: Path) -> Iterator[str]:
    with viewing(tmp_path) as client:
        yield str(client.base_url).rstrip("/")


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=False).click()


def open_node(page: Page, name: str) -> None:
    """Open a scope of the graph."""
    node = page.locator(f'tf-graph-scene g.node[data-name="{name}"]')
    node.locator(".nodecolortarget").first.dblclick()


def test_the_walk_of_the_tutorial(page: Page, base: str, run: Run) -> None:
    refused: list[str] = []
    page.on(
        "console",
        lambda said: refused.append(said.text) if "Content Security Policy" in said.text else None,
    )
    page.goto(f"{base}/runs/{run.id}")
    page.get_by_label("Sections of this run").get_by_role("link", name="TensorBoard").click()
    # The page that waits gives way to TensorBoard by itself.
    expect(page.locator("tb-webapp")).to_be_attached(timeout=60_000)

    open_tab(page, "Scalars")
    # Each loss is a line as it is and a smoothed one.
    expect(page.locator("tf-scalar-card path.line")).to_have_count(4)
    expect(page.locator("tf-runs-selector").first).to_contain_text(f"{run.id}/loss/train")

    open_tab(page, "Images")
    image = page.locator("tf-image-loader img")
    expect(image).to_be_visible()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 120

    open_tab(page, "Graphs")
    labels = page.locator("tf-graph-scene text.nodelabel")
    open_node(page, "Net")
    expect(labels.filter(has_text="Linear[fc1]")).to_be_visible()
    open_node(page, "Net/Conv2d[conv1]")
    expect(labels.filter(has_text="weight")).to_be_visible()

    open_tab(page, "Projector")
    projector = page.frame_locator("iframe").frame_locator("iframe")
    expect(projector.get_by_text("Points: 60")).to_be_visible()
    # A third component is on by default, for a scene in three dimensions.
    panel = projector.locator("vz-projector-projections-panel")
    expect(panel).to_contain_text("Total variance described")
    expect(panel.locator("#z-dropdown input")).to_have_value("Component #3")
    expect(projector.locator("#scatter canvas").first).to_be_visible()
    assert refused == []

"""Writes runs.ipynb beside this file: the cells below, executed.

    python docs/notebooks/make.py

It needs nbclient and ipykernel, and what `pip install "guildlite[notebook]"` brings. The cells run
in an empty directory; what changes from machine to machine is left out of the file.
`tests/test_notebook.py` runs the cells too, and fails when the file has others.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("runs.ipynb")
ROOT = Path(__file__).resolve().parents[2]

#: (kind, text) of each cell.
CELLS: list[tuple[str, str]] = [
    ("markdown", """\
# Runs in a notebook

A script that knows nothing of guildlite: gradient descent in a bowl, with noise."""),
    ("code", '''\
from pathlib import Path

Path("train.py").write_text("""
import argparse, random

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

random.seed(args.seed)
w = 5.0
for step in range(1, 31):
    print(f"step {step} loss: {w * w + random.gauss(0, 0.3) ** 2:.4f}", flush=True)
    w -= args.lr * (2 * w + random.gauss(0, 1))
""");'''),
    ("markdown", """\
## Start

Each run goes on by itself, whatever becomes of this notebook; its flags were read from the
script's source."""),
    ("code", """\
import guildlite as gl

runs = [gl.launch("train.py", lr=lr, seed=seed) for lr in (0.01, 0.1, 0.4) for seed in (0, 1, 2)]
[run.wait().status for run in runs]"""),
    ("markdown", """\
## Look

The newest first, with the flags that differ and the curves."""),
    ("code", "gl.runs()"),
    ("code", """\
frame = gl.runs("loss < 1", sort="loss").to_frame()
frame[["flag.lr", "flag.seed", "output/loss"]]"""),
    ("code", """\
best = gl.runs(sort="loss")[0]
best"""),
    ("code", """\
loss = best.series("loss")
loss.values[-5:]"""),
    ("code", "print(best.logs(last=2))"),
    ("code", """\
import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(5, 2.5), dpi=72)
for run in gl.runs("seed = 0"):
    run.plot("loss", smooth=0.6, ax=ax)
ax.set_yscale("log");"""),
    ("markdown", """\
## Compare

Three seeds each: is the best learning rate better than the second beyond noise?"""),
    ("code", """\
groups = gl.compare(columns="loss", by="lr", goal="min")
print(groups.attrs["sentence"])
groups[["flag.lr", "n", "mean", "std"]]"""),
    ("markdown", """\
In a project, `gl.form("expert")` shows the flags of a model as widgets, starts a run and follows
it."""),
]  # fmt: skip


def main() -> None:
    """Execute the cells and write the file. Raises what a cell raises."""
    # The test that runs the cells does without them.
    import nbformat  # noqa: PLC0415
    from nbclient import NotebookClient  # noqa: PLC0415

    notebook = nbformat.v4.new_notebook()
    for kind, text in CELLS:
        new = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
        notebook.cells.append(new(text))
    with tempfile.TemporaryDirectory() as directory:
        os.environ["PYTHONPATH"] = str(ROOT)
        os.environ["GUILDLITE_CACHE"] = str(Path(directory, "cache"))
        here = Path(directory, "bowl")
        here.mkdir()
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(here)}}).execute()
    text = json.dumps(_lasting(notebook), indent=1, ensure_ascii=False) + "\n"
    text = text.replace(directory, "/home/you")
    for private in (directory, str(ROOT), sys.prefix, str(Path.home())):
        assert private not in text, f"{private} is in the output"
    FILE.write_text(text, encoding="utf-8")


def _lasting(notebook: Any) -> dict[str, Any]:
    """Return the notebook without moments, versions and random names."""
    cells = []
    for number, cell in enumerate(notebook.cells):
        kept = {name: cell[name] for name in cell if name not in ("id", "metadata")}
        cells.append({"id": f"cell-{number}", "metadata": {}, **kept})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


if __name__ == "__main__":
    main()

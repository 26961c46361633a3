"""The notebook in the documentation: its cells work, and the file has them as they are."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[1] / "docs/notebooks"


def cells() -> list[tuple[str, str]]:
    spec = importlib.util.spec_from_file_location("make_notebook", NOTEBOOKS / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: list[tuple[str, str]] = module.CELLS
    return found


def test_the_file_has_the_cells_executed() -> None:
    text = (NOTEBOOKS / "runs.ipynb").read_text(encoding="utf-8")
    assert len(text) < 150_000
    assert not re.search(r"/(tmp|root|home)/(?!you)", text), "a path of some machine"
    written = json.loads(text)["cells"]
    again = "run `python docs/notebooks/make.py`"
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in written] == cells(), again
    code = [cell for cell in written if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {
        "execute_result", "stream", "display_data",
    }  # fmt: skip
    assert "<svg" in text and "image/png" in text


def test_the_cells_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_places: None) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    shown = []
    for kind, text in cells():
        if kind == "code" and (
            "matplotlib" not in text or importlib.util.find_spec("matplotlib") is not None
        ):
            if "matplotlib" in text:
                pytest.importorskip("matplotlib").use("Agg")
            shown.append(run_cell(text, names))
    assert ["completed"] * 9 in shown
    assert any("9" in markup and markup.count("<svg") == 9 for markup in map(html_of, shown))
    assert "matplotlib.pyplot" not in sys.modules or not close_figures()


def run_cell(text: str, names: dict[str, Any]) -> Any:
    """Execute a cell and return its last value, None where that is no expression."""
    tree = ast.parse(text)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return (
        None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    )


def html_of(value: Any) -> str:
    return str(value._repr_html_()) if hasattr(value, "_repr_html_") else ""


def close_figures() -> bool:
    plots = sys.modules["matplotlib.pyplot"]
    plots.close("all")
    return bool(plots.get_fignums())

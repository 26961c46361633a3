"""ONNX models of known arithmetic."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save_model(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[tuple[str, int, list[int | str]]],
    outputs: list[tuple[str, int, list[int | str]]],
    weights: dict[str, Any] | None = None,
    **options: Any,
) -> Path:
    """Write one ONNX graph; tensors are (name, element type, shape)."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*tensor) for tensor in inputs],
        [helper.make_tensor_value_info(*tensor) for tensor in outputs],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, os.fspath(path), **options)
    return path


def save_doubler(path: Path, **options: Any) -> Path:
    """Write a model that answers `image` (4 floats) with `prediction`, its first three doubled."""
    return save_model(
        path,
        [helper.make_node("MatMul", ["image", "weights"], ["prediction"])],
        [("image", TensorProto.FLOAT, ["n", 4])],
        [("prediction", TensorProto.FLOAT, ["n", 3])],
        {"weights": 2 * np.eye(4, 3, dtype=np.float32)},
        **options,
    )

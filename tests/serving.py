"""ONNX models of known arithmetic, and real servers to send requests to."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from guildlite import http

ROOT = Path(__file__).resolve().parents[1]


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


@contextmanager
def running(app: http.Application, **limits: Any) -> Iterator[int]:
    """Serve `app` from a thread on a free loopback port; gives the port."""
    server = http.HttpServer(app, http.listen("127.0.0.1", 0), **{"grace_s": 2, **limits})
    ready = threading.Event()
    thread = threading.Thread(target=server.run, args=(ready.set,), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield server.port
    finally:
        server.stop()
        thread.join(30)


_SERVE = """
import json, sys
from pathlib import Path
from guildlite.errors import GuildliteError
from guildlite.serve import serve_run
options = json.loads(sys.argv[2])
try:
    sys.exit(serve_run(Path(sys.argv[1]), out=lambda line: print(line, file=sys.stderr, flush=True),
                       **options))
except GuildliteError as error:
    sys.exit(f"error: {error.message}\\nhint: {error.hint}")
"""


def start_serve(run_dir: Path, options: str) -> subprocess.Popen[str]:
    """Start `serve_run` as a process of its own; `options` is a JSON object."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _SERVE, os.fspath(run_dir), options],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )

"""Tiny models of known arithmetic, one function per format.

Each takes `image`, any number of rows of four floats, and answers `prediction`, the first three of
them doubled. Frameworks other than ONNX are imported inside, and the tests that need them are
skipped where they are not installed.
"""

from __future__ import annotations

import json
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


WEIGHTS = 2 * np.eye(4, 3, dtype=np.float32)
SIGNATURE = {
    "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "prediction", "datatype": "FP32", "shape": [-1, 3]}],
}


def save_signature(path: Path, **content: Any) -> Path:
    """Write a signature file as a script would, with nothing of ours."""
    path = path.with_suffix(".signature.json")
    path.write_text(json.dumps({**SIGNATURE, **content}))
    return path


def _torch_module() -> Any:
    import torch

    class Doubler(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.Parameter(torch.tensor(WEIGHTS))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image @ self.weights

    return Doubler().eval()


def save_pt2(path: Path, sample: Any = None, most: int | None = None) -> Path:
    """Write a program of `torch.export`; `most` bounds its rows."""
    import torch

    sample = torch.zeros(2, 4) if sample is None else sample
    rows = torch.export.Dim("n", max=most) if most else torch.export.Dim("n")
    program = torch.export.export(_torch_module(), (sample,), dynamic_shapes={"image": {0: rows}})
    torch.export.save(program, os.fspath(path))
    return path


def save_torchscript(path: Path) -> Path:
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(_torch_module(), torch.zeros(1, 4)), os.fspath(path))
    save_signature(path)
    return path


def _keras_model() -> Any:
    import keras

    image = keras.Input((4,), name="image")
    layer = keras.layers.Dense(3, use_bias=False, name="prediction")
    model = keras.Model(image, layer(image))
    layer.set_weights([WEIGHTS])
    return model


def save_keras(path: Path) -> Path:
    """Write a `.keras` or `.h5` file, as the path says."""
    import warnings

    with warnings.catch_warnings():
        # Keras says that HDF5 is a legacy format, which is why it is tested.
        warnings.simplefilter("ignore")
        _keras_model().save(os.fspath(path))
    return path


def save_savedmodel(folder: Path) -> Path:
    import tensorflow as tf

    module = tf.Module()
    module.weights = tf.Variable(WEIGHTS)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="image")])
    def serve(image: Any) -> Any:
        return {"prediction": image @ module.weights}

    tf.saved_model.save(module, os.fspath(folder), signatures={"serving_default": serve})
    return folder / "saved_model.pb"


def save_tf1_export(folder: Path) -> Path:
    """Write `export.meta` and its checkpoint the way scripts of 2017 did."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        image = v1.placeholder(tf.float32, [None, 4], name="x")
        weights = v1.get_variable("w", initializer=WEIGHTS, use_resource=False)
        prediction = tf.matmul(image, weights, name="y")
        v1.add_to_collection("inputs", json.dumps({"image": image.name}))
        v1.add_to_collection("outputs", json.dumps({"prediction": prediction.name}))
        session.run(v1.global_variables_initializer())
        folder.mkdir(parents=True, exist_ok=True)
        v1.train.Saver().save(session, os.fspath(folder / "export"))
    return folder / "export.meta"


def save_joblib(path: Path) -> Path:
    import joblib
    from sklearn.linear_model import LinearRegression

    samples = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    model = LinearRegression(fit_intercept=False).fit(samples, samples @ WEIGHTS)
    model.coef_ = WEIGHTS.T.copy()  # exactly, so that answers need no tolerance
    joblib.dump(model, os.fspath(path))
    save_signature(path)
    return path


def save_weights(path: Path) -> Path:
    """Write weights alone, as safetensors or a state_dict, as the path says."""
    if path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file({"weights": WEIGHTS}, os.fspath(path))
    else:
        import torch

        torch.save(_torch_module().state_dict(), os.fspath(path))
    return path


PREDICTORS = {
    ".safetensors": """
from safetensors.numpy import load_file

class Predictor:
    inputs = [("image", "FP32", [-1, 4])]
    outputs = [("prediction", "FP32", [-1, 3])]
    batchable = True

    def __init__(self, run_dir):
        self.weights = load_file(run_dir / "weights.safetensors")["weights"]

    def predict(self, image):
        return image @ self.weights
""",
    ".pt": """
import torch

class Predictor:
    inputs = [("image", "FP32", [-1, 4])]
    batchable = True

    def __init__(self, run_dir):
        self.weights = torch.load(run_dir / "weights.pt", weights_only=True)["weights"]

    def predict(self, image):
        return {"prediction": (torch.tensor(image) @ self.weights).numpy()}
""",
}

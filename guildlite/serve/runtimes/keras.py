"""Keras models, `.keras` and `.h5`, through Keras 3 on whichever back end is installed.

Safe mode refuses Lambda layers and other code. Holes in it were found and closed more than once,
so older versions are not used at all.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guildlite.errors import GuildliteError, MissingExtra
from guildlite.serve.model import ModelInfo, TensorSpec, datatype_of, printable
from guildlite.serve.runtimes.probing import check_shapes, needs_inputs, probe_outputs
from guildlite.serve.signature import Signature, merge_signature

if TYPE_CHECKING:
    from guildlite.serve.model import Array, Arrays

#: CVE-2026-1462 is the last hole in safe mode that we know of; closed in this version.
MIN_VERSION = (3, 13, 2)


class KerasRuntime:
    """A `ModelRuntime` over one Keras model."""

    def __init__(self, path: Path, *, run_dir: Path, name: str, signature: Signature) -> None:
        self._keras = keras = _import_keras()
        model = keras.saving.load_model(os.fspath(path), compile=False, safe_mode=True)
        self._model: Any = model
        inputs = tuple(_spec(tensor) for tensor in getattr(model, "inputs", None) or ())
        if not inputs:
            if not signature.inputs:
                raise needs_inputs(path, f"the model `{printable(path.name)}`")
            inputs = signature.inputs
        outputs = tuple(
            _spec(tensor, output)
            for tensor, output in zip(
                getattr(model, "outputs", None) or (),
                getattr(model, "output_names", None) or (),
                strict=False,
            )
        )
        self._inputs = [spec.name for spec in inputs]
        if not outputs:
            outputs = probe_outputs(
                lambda arrays: dict(zip(_names(signature), self._call(arrays), strict=False)),
                inputs,
            )
        own = ModelInfo(name, inputs, outputs, platform="keras")
        self.info = merge_signature(own, signature, file=path.name)
        self._inputs = [spec.name for spec in self.info.inputs]

    def predict(self, inputs: Arrays) -> dict[str, Array]:
        check_shapes(self.info, inputs)
        arrays = self._call(inputs)
        return {spec.name: array for spec, array in zip(self.info.outputs, arrays, strict=True)}

    def close(self) -> None:
        self._model = None

    def _call(self, inputs: Arrays) -> list[Array]:
        keras = self._keras
        tensors = [keras.ops.convert_to_tensor(inputs[name]) for name in self._inputs]
        structure = getattr(self._model, "input", None)
        packed = (
            keras.tree.pack_sequence_as(structure, tensors)
            if structure is not None
            else tensors[0]
            if len(tensors) == 1
            else tensors
        )
        result = self._model(packed, training=False)
        return [keras.ops.convert_to_numpy(tensor) for tensor in keras.tree.flatten(result)]


def _names(signature: Signature) -> list[str]:
    return [spec.name for spec in signature.outputs] or ["prediction"]


def _import_keras() -> Any:
    """Import Keras, on a back end that is there when nobody chose one."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "KERAS_BACKEND" not in os.environ:
        for backend in ("tensorflow", "torch", "jax"):
            if find_spec(backend):
                os.environ["KERAS_BACKEND"] = backend
                break
        else:
            raise MissingExtra(
                "Keras needs `tensorflow`, `torch` or `jax` to predict", extra="tensorflow"
            )
    import keras

    version = tuple(int(part) for part in keras.__version__.split(".")[:3] if part.isdigit())
    if version < MIN_VERSION:
        raise GuildliteError(
            f"Keras {keras.__version__} can be made to run code by a model file",
            hint=f'pip install "keras>={".".join(map(str, MIN_VERSION))}"',
        )
    return keras


def _spec(tensor: Any, name: str | None = None) -> TensorSpec:
    name = name or str(tensor.name).partition(":")[0]
    datatype = datatype_of(tensor.dtype)
    if datatype is None:
        raise GuildliteError(f"`{printable(name)}` is `{tensor.dtype}`, which cannot be served")
    return TensorSpec(name, datatype, tuple(-1 if size is None else size for size in tensor.shape))

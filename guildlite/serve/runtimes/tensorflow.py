"""TensorFlow models: SavedModel directories, and the `model/export.meta` of TensorFlow 1.

The latter is a meta graph with a checkpoint beside it. Two graph collections, `inputs` and
`outputs`, hold JSON objects from names to tensors; that was how scripts of 2017 exported a model.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guildlite.errors import GuildliteError
from guildlite.serve.model import (
    ModelInfo,
    ModelRefused,
    TensorSpec,
    datatype_of,
    printable,
    reason,
)
from guildlite.serve.runtimes.probing import check_shapes
from guildlite.serve.signature import Signature, merge_signature

if TYPE_CHECKING:
    from guildlite.serve.model import Array, Arrays

_DEFAULT = "serving_default"


class SavedModelRuntime:
    """A `ModelRuntime` over one signature of a SavedModel."""

    def __init__(self, path: Path, *, run_dir: Path, name: str, signature: Signature) -> None:
        self._tf = tf = _import_tensorflow()
        # Held on to: functions of a module that is gone do not find their variables.
        self._module: Any = tf.saved_model.load(os.fspath(path.parent))
        self._function: Any = _serving_function(self._module, path.parent.name)
        _, inputs = self._function.structured_input_signature
        own = ModelInfo(
            name,
            tuple(_spec(key, tensor) for key, tensor in inputs.items()),
            tuple(_spec(key, tensor) for key, tensor in self._function.structured_outputs.items()),
            platform="tensorflow_savedmodel",
        )
        self._keys = list(inputs), list(self._function.structured_outputs)
        self.info = merge_signature(own, signature, file=path.name)

    def predict(self, inputs: Arrays) -> dict[str, Array]:
        check_shapes(self.info, inputs)
        tf, (keys, outputs) = self._tf, self._keys
        tensors = {
            key: tf.constant(inputs[spec.name])
            for key, spec in zip(keys, self.info.inputs, strict=True)
        }
        try:
            result = self._function(**tensors)
        except tf.errors.InvalidArgumentError as error:
            raise _refused(error) from error
        return {
            spec.name: result[key].numpy()
            for key, spec in zip(outputs, self.info.outputs, strict=True)
        }

    def close(self) -> None:
        self._function = self._module = None


class GraphRuntime:
    """A `ModelRuntime` over one session of TensorFlow 1."""

    def __init__(self, path: Path, *, run_dir: Path, name: str, signature: Signature) -> None:
        self._tf = tf = _import_tensorflow()
        v1 = tf.compat.v1
        graph = tf.Graph()
        with graph.as_default():
            saver = v1.train.import_meta_graph(os.fspath(path), clear_devices=True)
            self._session: Any = v1.Session(graph=graph)
            if saver is not None:
                saver.restore(self._session, os.fspath(path.with_suffix("")))
        self._inputs = _collection(graph, "inputs", path.name)
        self._outputs = _collection(graph, "outputs", path.name)
        own = ModelInfo(
            name,
            tuple(_spec(key, tensor) for key, tensor in self._inputs.items()),
            tuple(_spec(key, tensor) for key, tensor in self._outputs.items()),
            platform="tensorflow_graphdef",
        )
        self.info = merge_signature(own, signature, file=path.name)

    def predict(self, inputs: Arrays) -> dict[str, Array]:
        check_shapes(self.info, inputs)
        feed = {
            tensor: inputs[spec.name]
            for tensor, spec in zip(self._inputs.values(), self.info.inputs, strict=True)
        }
        try:
            arrays = self._session.run(list(self._outputs.values()), feed)
        except self._tf.errors.InvalidArgumentError as error:
            raise _refused(error) from error
        return {spec.name: array for spec, array in zip(self.info.outputs, arrays, strict=True)}

    def close(self) -> None:
        self._session.close()


def _import_tensorflow() -> Any:
    # Its start-up notes are not about the model.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow

    return tensorflow


def _serving_function(module: Any, name: str) -> Any:
    signatures = dict(getattr(module, "signatures", {}))
    if _DEFAULT in signatures:
        return signatures[_DEFAULT]
    if len(signatures) == 1:
        return next(iter(signatures.values()))
    raise GuildliteError(
        f"`{printable(name)}` has no signature `{_DEFAULT}`",
        hint="save it with `tf.saved_model.save(model, path, signatures=...)`",
    )


def _collection(graph: Any, word: str, file: str) -> dict[str, Any]:
    """Return name to tensor of one of the two graph collections."""
    tensors: dict[str, Any] = {}
    try:
        for item in graph.get_collection(word):
            for key, tensor in json.loads(item).items():
                tensors[str(key)] = graph.get_tensor_by_name(str(tensor))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise GuildliteError(
            f"the graph collection `{word}` of `{printable(file)}` is not a JSON object from names "
            "to tensors"
        ) from error
    if not tensors:
        raise GuildliteError(
            f"`{printable(file)}` has no graph collection `{word}`",
            hint=f"`tf.add_to_collection('{word}', json.dumps({{'image': x.name}}))` before saving",
        )
    return tensors


def _spec(name: str, tensor: Any) -> TensorSpec:
    dtype = tensor.dtype.name.removesuffix("_ref")
    datatype = datatype_of(dtype)
    if datatype is None:
        raise GuildliteError(f"`{printable(name)}` is `{dtype}`, which cannot be served")
    if tensor.shape.rank is None:
        raise GuildliteError(f"`{printable(name)}` has no shape, so that it cannot be served")
    return TensorSpec(
        name, datatype, tuple(-1 if size is None else int(size) for size in tensor.shape.as_list())
    )


def _refused(error: Exception) -> ModelRefused:
    return ModelRefused(f"the model refused the input: {reason(error)}")

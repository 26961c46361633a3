"""ONNX models, through onnxruntime.

An ONNX file may name other files that hold its weights. Newer versions of onnxruntime refuse names
that lead elsewhere, older ones read whatever they are told to, so `external_files` reads the names
first and the runtime insists that they stay inside the run.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guildlite.errors import GuildliteError, MissingExtra
from guildlite.serve.model import ModelInfo, ModelRefused, TensorSpec, printable, reason
from guildlite.serve.runtimes.probing import zeros
from guildlite.serve.signature import Signature, merge_signature
from guildlite.serve.stats import INLINE_MODEL_S

if TYPE_CHECKING:
    from guildlite.serve.model import Array, Arrays

#: Of a file that is loaded twice in a few milliseconds.
SMALL_BYTES = 16 * 1024 * 1024

_DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
}


class OnnxRuntime:
    """A `ModelRuntime` over one onnxruntime session on the CPU.

    threads: for one call; by default one for a small model that is quick, else one for each core.
    """

    def __init__(
        self,
        path: Path,
        *,
        run_dir: Path,
        name: str,
        signature: Signature | None = None,
        threads: int | None = None,
    ) -> None:
        try:
            import numpy  # noqa: F401
            import onnxruntime  # noqa: F401
        except ImportError as error:
            raise MissingExtra("onnxruntime is needed to serve an ONNX model", extra="onnx") from (
                error
            )
        check_external_files(path, run_dir)
        try:
            self._session: Any = _open_session(path, threads)
        except Exception as error:
            raise GuildliteError(
                f"`{printable(path.name)}` could not be loaded: {_reason(error)}"
            ) from error
        own = ModelInfo(
            name,
            tuple(_spec(tensor) for tensor in self._session.get_inputs()),
            tuple(_spec(tensor) for tensor in self._session.get_outputs()),
            platform="onnxruntime_onnx",
        )
        self.info = merge_signature(own, signature or Signature(), file=path.name)
        self._names = [spec.name for spec in own.outputs]
        self._served = [spec.name for spec in self.info.outputs]
        # Only a signature file can call the inputs by other names.
        self._renamed = [
            (ours.name, theirs.name)
            for ours, theirs in zip(own.inputs, self.info.inputs, strict=True)
        ]
        self._refusals = _refusals()

    def predict(self, inputs: Arrays) -> dict[str, Array]:
        try:
            feed = {own: inputs[served] for own, served in self._renamed}
            outputs = self._session.run(self._names, feed)
        except self._refusals as error:
            raise ModelRefused(f"the model refused the input: {_reason(error)}") from error
        return dict(zip(self._served, outputs, strict=True))

    def close(self) -> None:
        self._session = None


def _open_session(path: Path, threads: int | None) -> Any:
    """Return a session with as many threads; None for as many as the model is worth.

    Handing a part of a small product to another core costs more CPU than computing it.
    """
    if threads is None and path.stat().st_size <= SMALL_BYTES:
        session = _session(path, 1)
        if _is_quick(session):
            return session
    return _session(path, threads or 0)


def _session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    # Threads that spin between two requests cost a core each and win microseconds.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        os.fspath(path), options, providers=["CPUExecutionProvider"]
    )


def _is_quick(session: Any) -> bool:
    """Say whether a row of zeros is predicted so quickly that it will be done in the event loop."""
    try:
        specs = [_spec(tensor) for tensor in session.get_inputs()]
        feed, took = zeros(specs, 1), []
        for _ in range(5):
            begin = time.perf_counter()
            session.run(None, feed)
            took.append(time.perf_counter() - begin)
    except Exception:
        return False  # zeros may be outside of what a sound model takes
    return min(took) < INLINE_MODEL_S


def _refusals() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (state.InvalidArgument,)


def _spec(tensor: Any) -> TensorSpec:
    kind = tensor.type.removeprefix("tensor(").removesuffix(")")
    if kind not in _DATATYPES:
        hint = None
        if kind.startswith("seq(map("):
            hint = "export it with `zipmap` off, so that probabilities are a tensor"
        raise GuildliteError(
            f"`{printable(tensor.name)}` is a `{kind}`, and only tensors can be served", hint=hint
        )
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in tensor.shape)
    return TensorSpec(tensor.name, _DATATYPES[kind], shape)


def _reason(error: Exception) -> str:
    """Return the first line of onnxruntime's message without its bracketed head."""
    text = reason(error)
    return (text.rpartition(" : ")[2] or text) if text.startswith("[") else text


# External data


def check_external_files(path: Path, run_dir: Path) -> None:
    """Raise GuildliteError when the model at `path` names a file outside `run_dir`, or none."""
    shown = printable(path.name)
    try:
        names = set(external_files(path))
    except (ValueError, RecursionError) as error:
        raise GuildliteError(f"`{shown}` is not an ONNX model") from error
    except OSError as error:
        raise GuildliteError(f"`{shown}` cannot be read: {error.strerror}") from error
    root = run_dir.resolve()
    for name in sorted(names):
        target = path.parent / name
        try:
            inside = not os.path.isabs(name) and target.resolve().is_relative_to(root)
            exists = inside and target.is_file()
        except (OSError, ValueError, RuntimeError):
            inside = exists = False
        if not inside:
            raise GuildliteError(
                f"`{shown}` names weights outside the run: `{printable(name)[:200]}`",
                hint="keep a model and its external data together in the run directory",
            )
        if not exists:
            raise GuildliteError(
                f"`{shown}` needs the file `{printable(name)[:200]}` beside it, which is missing"
            )


#: Where tensors hide: message of onnx.proto to its fields that hold messages of interest.
_FIELDS: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
}  # fmt: skip
_KEY, _VALUE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
#: Graphs nest through control flow; real models stay below ten.
_MAX_DEPTH = 200


def external_files(path: Path) -> Iterator[str]:
    """Yield the location of every external tensor of the ONNX file at `path`.

    Raises ValueError when the file is not a protocol buffer message. Weights inside the file are
    stepped over, so a large model costs no more than a small one.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise ValueError("empty file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield from _locations(data, 0, len(data), "Model", 0)


def _locations(data: mmap.mmap, start: int, end: int, kind: str, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    if kind == "Entry":
        entry = {field: data[low:high] for field, low, high in _fields(data, start, end)}
        if entry.get(_KEY) == b"location":
            yield entry.get(_VALUE, b"").decode()
        return
    inner = _FIELDS[kind]
    for field, low, high in _fields(data, start, end):
        if field in inner:
            yield from _locations(data, low, high, inner[field], depth + 1)


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of every length-delimited field of one message."""
    at = start
    while at < end:
        tag, at = _varint(data, at, end)
        wire = tag & 7
        if wire == _BYTES:
            size, at = _varint(data, at, end)
            if size > end - at:
                raise ValueError("field reaches beyond its message")
            yield tag >> 3, at, at + size
            at += size
        elif wire == _VARINT:
            _, at = _varint(data, at, end)
        elif wire == _FIXED64:
            at += 8
        elif wire == _FIXED32:
            at += 4
        else:
            raise ValueError("not a protocol buffer message")
    if at != end:
        raise ValueError("message ends in the middle of a field")


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("number does not end")

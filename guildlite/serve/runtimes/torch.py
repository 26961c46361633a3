"""PyTorch models: programs of `torch.export` (`.pt2`) and TorchScript.

`torch.export.load` unpickles the sample inputs of an archive even where it says that it does not,
so `check_archive` reads the archive first: nothing but data may be in it, and the very bytes that
were checked are the ones that are loaded.
"""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guildlite.errors import GuildliteError
from guildlite.serve.model import ModelInfo, ModelRefused, TensorSpec, datatype_of, printable
from guildlite.serve.runtimes.probing import (
    check_shapes,
    named,
    needs_inputs,
    output_names,
    probe_outputs,
)
from guildlite.serve.signature import Signature, merge_signature

if TYPE_CHECKING:
    from guildlite.serve.model import Array, Arrays

#: What an archive of `torch.export.save` holds below its first folder. A list of what may be, not
#: of what may not: new versions of PyTorch add new kinds of members.
_MEMBERS = re.compile(
    r"archive_format|archive_version|version|byteorder|\.format_version|\.storage_alignment"
    r"|\.data/(version|serialization_id)"
    r"|models/[\w.-]+\.json"
    r"|data/(weights|constants)/([\w.-]+_config\.json|weight_\d+|tensor_\d+)"
    r"|data/sample_inputs/[\w.-]+\.pt"
    r"|extra/[\w./-]+"
)
_SAMPLES = re.compile(r"data/sample_inputs/[\w.-]+\.pt")
_MAX_MEMBERS = 100_000
#: Sample inputs are unpacked in memory, and a zip may promise anything.
_MAX_SAMPLE_BYTES = 256 * 1024 * 1024


class ExportedRuntime:
    """A `ModelRuntime` over one exported program."""

    def __init__(self, path: Path, *, run_dir: Path, name: str, signature: Signature) -> None:
        import torch
        from torch.utils import _pytree as pytree

        data = path.read_bytes()
        check_archive(data, path.name)
        program = torch.export.load(io.BytesIO(data))
        self._torch, self._pytree = torch, pytree
        self._in_spec = program.call_spec.in_spec
        own = ModelInfo(
            name,
            tuple(_placeholders(program)),
            tuple(_outputs(program, pytree)),
            max_batch=_max_batch(program),
            platform="pytorch_export",
        )
        self.info = merge_signature(own, signature, file=path.name)
        self._module = program.module()

    def predict(self, inputs: Arrays) -> dict[str, Array]:
        check_shapes(self.info, inputs)
        torch = self._torch
        tensors = [torch.tensor(inputs[spec.name]) for spec in self.info.inputs]
        args, kwargs = self._pytree.tree_unflatten(tensors, self._in_spec)
        with torch.inference_mode():
            try:
                result = self._module(*args, **kwargs)
            except (AssertionError, IndexError) as error:
                raise _refused(error) from error
        arrays = [_to_numpy(tensor) for tensor in self._pytree.tree_flatten(result)[0]]
        return {spec.name: array for spec, array in zip(self.info.outputs, arrays, strict=True)}

    def close(self) -> None:
        self._module = None


class ScriptRuntime:
    """A `ModelRuntime` over one TorchScript module; its signature file says what it takes."""

    def __init__(self, path: Path, *, run_dir: Path, name: str, signature: Signature) -> None:
        import torch

        self._torch = torch
        if not signature.inputs:
            raise needs_inputs(path, f"the TorchScript model `{printable(path.name)}`")
        with warnings.catch_warnings():
            # That TorchScript is old is no news to somebody who serves an old model.
            warnings.simplefilter("ignore")
            self._module: Any = torch.jit.load(io.BytesIO(path.read_bytes()), map_location="cpu")
        self._module.eval()
        known = [argument.name for argument in self._module.forward.schema.arguments[1:]]
        if len(known) < len(signature.inputs):
            raise GuildliteError(
                f"`{printable(path.name)}` takes {len(known)} inputs, and its signature file "
                f"has {len(signature.inputs)}"
            )
        self._names = [spec.name for spec in signature.inputs]
        outputs = signature.outputs or probe_outputs(self._call, signature.inputs)
        self._outputs = [spec.name for spec in outputs]
        self.info = ModelInfo(name, signature.inputs, outputs, platform="pytorch_torchscript")

    def predict(self, inputs: Arrays) -> dict[str, Array]:
        check_shapes(self.info, inputs)
        arrays = self._call(inputs)
        if arrays.keys() == set(self._outputs):
            return arrays
        return dict(zip(self._outputs, arrays.values(), strict=True))

    def close(self) -> None:
        self._module = None

    def _call(self, inputs: Arrays) -> dict[str, Array]:
        torch = self._torch
        tensors = [torch.tensor(inputs[name]) for name in self._names]
        with torch.inference_mode():
            try:
                result = self._module(*tensors)
            except IndexError as error:
                raise _refused(error) from error
        return {name: _to_numpy(tensor) for name, tensor in named(result).items()}


def _refused(error: Exception) -> ModelRefused:
    # A guard of the program quotes shapes and names, an index error a number of the caller's.
    what = "an index is out of range" if isinstance(error, IndexError) else "its sizes do not fit"
    return ModelRefused(f"the model refused the input: {what}")


def _to_numpy(tensor: Any) -> Array:
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        tensor = tensor.float()
    array: Array = tensor.numpy()
    return array


# The signature of an exported program


def _placeholders(program: Any) -> list[TensorSpec]:
    nodes = {node.name: node for node in program.graph.nodes}
    return [_spec(name, nodes[name]) for name in program.graph_signature.user_inputs]


def _outputs(program: Any, pytree: Any) -> list[TensorSpec]:
    nodes = {node.name: node for node in program.graph.nodes}
    given = program.graph_signature.user_outputs
    shaped = pytree.tree_unflatten(list(range(len(given))), program.call_spec.out_spec)
    names = dict(enumerate(output_names(len(given))))
    if isinstance(shaped, dict):
        names.update({at: str(key) for key, at in shaped.items() if isinstance(at, int)})
    elif hasattr(shaped, "_fields"):
        names.update({at: key for key, at in shaped._asdict().items() if isinstance(at, int)})
    return [_spec(names[at], nodes.get(name)) for at, name in enumerate(given)]


def _spec(name: str, node: Any) -> TensorSpec:
    value = node.meta.get("val") if node is not None else None
    dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
    datatype = "FP32" if dtype == "bfloat16" else datatype_of(dtype)
    if datatype is None or value is None:
        raise GuildliteError(f"`{printable(name)}` of the program is not a tensor")
    return TensorSpec(
        name, datatype, tuple(size if type(size) is int else -1 for size in value.shape)
    )


def _max_batch(program: Any) -> int | None:
    """Return the upper end of the range that the first dimension was exported with."""
    nodes = {node.name: node for node in program.graph.nodes}
    limits = []
    for name in program.graph_signature.user_inputs:
        value = nodes[name].meta.get("val")
        size: Any = value.shape[0] if value is not None and len(value.shape) else 1
        allowed = None if type(size) is int else program.range_constraints.get(size.node.expr)
        if allowed is not None and str(allowed.upper).isdigit():
            limits.append(int(allowed.upper))
    return min((limit for limit in limits if limit < 2**31), default=None)


# Archives


def check_archive(data: bytes, name: str) -> None:
    """Raise GuildliteError when the `.pt2` archive `data` holds anything but data."""
    shown = printable(name)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_members(archive, shown)
    except zipfile.BadZipFile as error:
        raise GuildliteError(f"`{shown}` is not a PyTorch export") from error


def _check_members(archive: zipfile.ZipFile, shown: str) -> None:
    infos = archive.infolist()
    if len(infos) > _MAX_MEMBERS:
        raise GuildliteError(f"`{shown}` has too many members")
    if len({info.filename for info in infos}) != len(infos):
        # Two readers may take two different ones of the same name.
        raise GuildliteError(f"`{shown}` has two members of one name")
    for info in infos:
        member = info.filename.partition("/")[2]
        if not _MEMBERS.fullmatch(member):
            raise _holds_code(shown, member, "which is none of the parts of a program")
        if _SAMPLES.fullmatch(member):
            _check_samples(archive, info, shown)
        elif member.endswith("_config.json"):
            _check_config(archive.read(info), shown, member)


def _check_samples(archive: zipfile.ZipFile, info: zipfile.ZipInfo, shown: str) -> None:
    import torch

    member = info.filename.partition("/")[2]
    if info.file_size > _MAX_SAMPLE_BYTES:
        raise GuildliteError(f"`{shown}` holds sample inputs that are too large")
    if info.file_size == 0:
        return
    try:
        torch.load(io.BytesIO(archive.read(info)), weights_only=True)
    except Exception as error:
        raise _holds_code(shown, member, "which is not plain tensors") from error


def _check_config(content: bytes, shown: str, member: str) -> None:
    def refuse_pickles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if any(key == "use_pickle" and value is not False for key, value in pairs):
            raise _holds_code(shown, member, "which names pickled weights")
        return dict(pairs)

    try:
        json.loads(content, object_pairs_hook=refuse_pickles)
    except ValueError as error:
        raise GuildliteError(f"`{shown}` has a broken `{printable(member)}`") from error


def _holds_code(shown: str, member: str, why: str) -> GuildliteError:
    return GuildliteError(
        f"`{shown}` holds `{printable(member)[:100]}`, {why}, and loading it could run code",
        hint="export it again with `torch.export.save(program, path)`, or to ONNX",
    )

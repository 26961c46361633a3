"""What several runtimes share: checks before a framework sees an array, outputs found by trying."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from guildlite.errors import GuildliteError
from guildlite.serve.model import ModelInfo, ModelRefused, TensorSpec, datatype_of, reason
from guildlite.serve.signature import signature_path

#: The name of the one output of a model that does not name it.
PREDICTION = "prediction"


def check_shapes(info: ModelInfo, inputs: Mapping[str, Any]) -> None:
    """Raise ModelRefused for an array whose shape is not that of the signature.

    Frameworks say it late, in their own words, or not at all.
    """
    for spec in info.inputs:
        shape = inputs[spec.name].shape
        fits = len(shape) == len(spec.shape) and all(
            want in (-1, size) for want, size in zip(spec.shape, shape, strict=True)
        )
        if not fits:
            raise ModelRefused(
                f"the model refused the input: `{spec.name}` has shape {list(shape)}, "
                f"not {list(spec.shape)}"
            )


def output_names(count: int) -> list[str]:
    """Return names for outputs that have none."""
    return [PREDICTION] if count == 1 else [f"{PREDICTION}_{number}" for number in range(count)]


def named(result: Any) -> dict[str, Any]:
    """Return what a model gave as a mapping: a mapping as it is, a sequence by made-up names."""
    if isinstance(result, Mapping):
        return {str(name): value for name, value in result.items()}
    if isinstance(result, (tuple, list)):
        return dict(zip(output_names(len(result)), result, strict=True))
    return {PREDICTION: result}


def probe_outputs(
    predict: Callable[[dict[str, Any]], Mapping[str, Any]], inputs: Sequence[TensorSpec]
) -> tuple[TensorSpec, ...]:
    """Return the outputs of a model that does not tell them: of zeros, for two sizes of batch.

    A dimension that differs is free. Raises GuildliteError when the model does not take zeros.
    """
    try:
        few, more = (
            {name: _described(value) for name, value in predict(zeros(inputs, rows)).items()}
            for rows in (2, 3)
        )
    except Exception as error:
        raise GuildliteError(
            f"the model does not take zeros, which would show its outputs: {reason(error)}",
            hint="write `outputs` into its signature file",
        ) from error
    specs = []
    for name, (datatype, shape) in few.items():
        other = more.get(name, (None, ()))[1]
        same = len(other) == len(shape)
        free = tuple(
            size if same and size == other[place] else -1 for place, size in enumerate(shape)
        )
        specs.append(TensorSpec(name, datatype, free))
    return tuple(specs)


def _described(value: Any) -> tuple[str, tuple[int, ...]]:
    datatype = datatype_of(value.dtype)
    if datatype is None:
        raise ValueError(f"an output of type `{value.dtype}` cannot be served")
    return datatype, value.shape


def zeros(inputs: Sequence[TensorSpec], rows: int) -> dict[str, Any]:
    """Return an array of zeros or empty strings for each input, of `rows` where that is free."""
    import numpy as np

    arrays = {}
    for spec in inputs:
        shape = [
            (rows if place == 0 else 1) if size < 0 else size
            for place, size in enumerate(spec.shape)
        ]
        arrays[spec.name] = np.full(shape, "" if spec.datatype == "BYTES" else 0, dtype=spec.dtype)
    return arrays


def needs_inputs(path: Any, words: str) -> GuildliteError:
    """Return the error for a format that does not tell its inputs, with no signature file."""
    return GuildliteError(
        f"{words} does not say its inputs",
        hint=f"write `{signature_path(path).name}` beside it: "
        '{"inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 64]}]}',
    )

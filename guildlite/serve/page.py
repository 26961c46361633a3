"""What the page at `/` needs to know: which of its tools fit the model.

Pictures and tables become inputs in the browser, so the server needs no library for either. What
the signature file says of a picture is taken as it is; otherwise a shape that can hardly be
anything else is taken for one, and the page says that it was guessed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from guildlite.serve.model import ModelInfo, TensorSpec
from guildlite.serve.signature import Signature

#: Sides of a picture that a shape alone may stand for.
_MIN_SIDE, _MAX_SIDE = 8, 1024
#: Values of a row that is typed or comes from a table.
_MAX_COLUMNS = 256


def page_settings(
    info: ModelInfo,
    shapes: Mapping[str, tuple[int, ...]],
    signature: Signature,
    *,
    token: bool,
    behind: bool = False,
) -> dict[str, Any]:
    """Return the page's settings, which its script reads as JSON."""
    return {
        "classes": list(signature.classes),
        "logits": signature.logits,
        "token": token,
        # The viewer in front takes what says that it is JSON, and nothing else.
        "declared": behind,
        "image": _image(info, shapes, signature),
        "table": _table(info, shapes, signature),
        "output": info.outputs[0].name if info.outputs else None,
    }


def _image(
    info: ModelInfo, shapes: Mapping[str, tuple[int, ...]], signature: Signature
) -> dict[str, Any] | None:
    said = signature.preprocess.get("image")
    if len(info.inputs) != 1:
        return None
    spec = info.inputs[0]
    guessed = _guess(spec, shapes[spec.name])
    if said is None:
        return {**guessed, "guessed": True} if guessed else None
    defaults = {"mode": "L", "layout": "HWC", "range": [0, 1], "invert": True}
    image = {**defaults, **(guessed or {}), "input": spec.name, **said}
    return image if image.get("width") and image.get("height") else None


def _guess(spec: TensorSpec, shape: tuple[int, ...]) -> dict[str, Any] | None:
    if spec.datatype in ("BOOL", "BYTES") or any(size < 0 for size in shape):
        return None
    found = _layout(shape)
    if found is None:
        return None
    height, width, mode, layout = found
    return {
        "input": spec.name,
        "width": width,
        "height": height,
        "mode": mode,
        "layout": layout,
        "range": [0, 1] if spec.datatype.startswith("FP") else [0, 255],
        # What is drawn is what counts in the data sets of handwriting: ink is high, paper zero.
        "invert": mode == "L",
        "whole": not spec.datatype.startswith("FP"),
    }


def _layout(shape: tuple[int, ...]) -> tuple[int, int, str, str] | None:
    """Return height, width, mode and layout of a picture of this shape, None for no picture."""
    if len(shape) == 1:
        side = math.isqrt(max(shape[0], 0))
        square = side * side == shape[0] and side >= _MIN_SIDE
        return (side, side, "L", "HWC") if square and side <= _MAX_SIDE else None
    modes = {1: "L", 3: "RGB"}
    if len(shape) == 3 and shape[2] in modes:
        height, width, mode, layout = shape[0], shape[1], modes[shape[2]], "HWC"
    elif len(shape) == 3 and shape[0] in modes:
        height, width, mode, layout = shape[1], shape[2], modes[shape[0]], "CHW"
    elif len(shape) == 2:
        height, width, mode, layout = shape[0], shape[1], "L", "HWC"
    else:
        return None
    fits = all(_MIN_SIDE <= side <= _MAX_SIDE for side in (height, width))
    return (height, width, mode, layout) if fits else None


def _table(
    info: ModelInfo, shapes: Mapping[str, tuple[int, ...]], signature: Signature
) -> dict[str, Any] | None:
    """Return how a line of a CSV file becomes an instance, None when it cannot."""
    said = signature.preprocess.get("table", {})
    text = {spec.name for spec in info.inputs if spec.datatype == "BYTES"}
    if info.inputs and all(shapes[spec.name] == () for spec in info.inputs):
        return {"columns": [spec.name for spec in info.inputs], "input": None, "text": sorted(text)}
    if len(info.inputs) != 1 or len(shapes[info.inputs[0].name]) != 1:
        return None
    spec = info.inputs[0]
    (count,) = shapes[spec.name]
    if not 0 < count <= _MAX_COLUMNS and not said:
        return None
    return {
        "columns": said.get("columns", []),
        "count": count,
        "input": spec.name,
        "text": sorted(text),
    }

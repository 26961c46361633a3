"""What the framework cannot know of the predict routes: their bodies, made from the signature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guildlite.serve.model import ModelInfo, TensorSpec

_JSON = "application/json"
#: Above this a list's length is only described: tools make examples from it.
_MAX_LENGTH = 64
#: The largest finite value of a datatype.
_LARGEST = {"FP16": 65504.0, "FP32": 3.4028234663852886e38}

_ERRORS = {
    "4XX": {
        "description": "The request is not right; field, index, expected and got say where",
        "content": {
            _JSON: {
                "schema": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {
                        "error": {"type": "string"},
                        "hint": {"type": "string"},
                        "field": {"type": "string"},
                        "index": {"type": "array", "items": {"type": "integer"}},
                        "expected": {"type": "string"},
                        "got": {"type": "string"},
                    },
                }
            }
        },
    },
    "5XX": {
        "description": "The model failed (500), too many requests (503), or out of time (504)",
        "content": {_JSON: {"schema": {"type": "object", "required": ["error"]}}},
    },
}


def run_operation(info: ModelInfo, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return body and answers of `POST /run`. `shapes` are those of one instance, by input."""
    instance: dict[str, Any] = {"type": "object"}
    if not info.free:
        instance = _object({spec.name: _value(spec, shapes[spec.name]) for spec in info.inputs})
    answer = {"type": "object"}
    if info.outputs:
        answer = {**_object({spec.name: {} for spec in info.outputs})}
    return {
        "requestBody": _body({"type": "array", "items": instance, "minItems": 1}),
        "responses": {
            "200": _answer(
                "One object per instance, keyed by output name", {"type": "array", "items": answer}
            ),
            **_ERRORS,
        },
    }


def infer_operation(info: ModelInfo) -> dict[str, Any]:
    """Return body and answers of `POST /v2/models/NAME/infer`."""
    tensors = [
        _object(
            {
                "name": {"const": spec.name},
                "datatype": {"const": spec.datatype},
                "shape": {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 0},
                    "minItems": len(spec.shape),
                    "maxItems": len(spec.shape),
                },
                "data": {"type": "array"},
            }
        )
        for spec in info.inputs
    ]
    count = len(tensors)
    inputs: dict[str, Any] = {"type": "array", "minItems": count, "maxItems": count}
    if tensors:
        inputs["items"] = {"anyOf": tensors}
    return {
        "requestBody": _body(
            {"type": "object", "required": ["inputs"], "properties": {"inputs": inputs}}
        ),
        "responses": {"200": _answer("The outputs as tensors", {"type": "object"}), **_ERRORS},
    }


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {_JSON: {"schema": schema}}}


def _answer(words: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": words, "content": {_JSON: {"schema": schema}}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _value(spec: TensorSpec, shape: tuple[int, ...]) -> dict[str, Any]:
    schema = _element(spec.datatype)
    for size in reversed(shape):
        schema = {"type": "array", "items": schema}
        if 0 <= size <= _MAX_LENGTH:
            schema.update(minItems=size, maxItems=size)
        elif size > 0:
            schema["description"] = f"{size} values"
    return schema


def _element(datatype: str) -> dict[str, Any]:
    if datatype == "BOOL":
        return {"type": "boolean"}
    if datatype == "BYTES":
        return {"type": "string"}
    if datatype.startswith("FP"):
        largest = _LARGEST.get(datatype)
        limits = {"minimum": -largest, "maximum": largest} if largest else {}
        return {"type": "number", **limits}
    bits = int(datatype.lstrip("UINT"))
    low, high = (
        (0, 2**bits - 1) if datatype.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    )
    return {"type": "integer", "minimum": low, "maximum": high}

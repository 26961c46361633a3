"""The signature file: what a model file cannot say of itself, written beside it at export.

`model.signature.json` belongs to `model.pt2`; it is JSON and only data, so reading one is always
safe. Every key may be left out:

    {
      "inputs":  [{"name": "image", "datatype": "FP32", "shape": [-1, 64]}],
      "outputs": [{"name": "prediction", "datatype": "FP32", "shape": [-1, 10]}],
      "classes": ["zero", "one"],
      "logits": true,
      "preprocess": {"image": {"input": "image", "width": 8, "height": 8, "range": [0, 16]}},
      "example": [{"image": [0, 0, 5, 13]}]
    }
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guildlite.errors import GuildliteError, did_you_mean
from guildlite.serve.model import DATATYPES, ModelInfo, TensorSpec, printable

SUFFIX = ".signature.json"
MAX_BYTES = 4 * 1024 * 1024
_KEYS = ("inputs", "outputs", "classes", "logits", "preprocess", "example")
#: What `preprocess` may say of a picture and of a table; all of it is for the page.
_IMAGE_KEYS = (
    "input", "width", "height", "mode", "layout", "range", "invert", "margin", "mean", "std",
)  # fmt: skip
_TABLE_KEYS = ("input", "columns")


class SignatureError(GuildliteError):
    """The signature file is not right, or says other things than the model."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What the file says. Empty tuples and None where it is silent.

    classes: names of the values of the last dimension of the first output.
    logits: whether that output still needs a softmax to be probabilities; None is unknown.
    preprocess: how a picture or a row of a table becomes an input.
    example: a request that works.
    """

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    classes: tuple[str, ...] = ()
    logits: bool | None = None
    preprocess: dict[str, Any] = field(default_factory=dict)
    example: list[Any] | None = None

    def to_json(self) -> dict[str, object]:
        """Return the content of the file; what is not known is left out."""
        content: dict[str, object] = {
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "classes": list(self.classes),
            "preprocess": self.preprocess,
        }
        content = {key: value for key, value in content.items() if value}
        if self.logits is not None:
            content["logits"] = self.logits
        if self.example is not None:
            content["example"] = self.example
        return content


def signature_path(model: Path) -> Path:
    """Return where the signature file of a model lies: beside it, with another suffix."""
    return model.with_suffix(SUFFIX)


def write_signature(model: Path, signature: Signature) -> Path:
    """Write the signature file of the model at `model` whole or not at all; return its path."""
    path = signature_path(model)
    unfinished = path.with_name(f".{os.getpid()}-{path.name}")
    text = json.dumps(signature.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(path)
    return path


def read_signature(model: Path, run_dir: Path) -> Signature:
    """Return what the signature file of `model` says, nothing when there is none.

    Raises SignatureError for a file that is too large, leads out of the run, or is not right.
    """
    path = signature_path(model)
    try:
        if not path.is_file():
            return Signature()
        if not path.resolve().is_relative_to(run_dir.resolve()):
            raise _Wrong("leads out of the run")
        if path.stat().st_size > MAX_BYTES:
            raise _Wrong(f"is larger than {MAX_BYTES // 1024**2} MiB")
        return _parse(json.loads(path.read_bytes()))
    except OSError as error:
        raise SignatureError(f"`{printable(path.name)}` cannot be read: {error.strerror}")
    except (ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, _Wrong) else "is not JSON"
        raise SignatureError(f"`{printable(path.name)}` {said}") from error


def merge_signature(info: ModelInfo, signature: Signature, *, file: str) -> ModelInfo:
    """Return `info` with what the signature file adds; raises SignatureError where they differ.

    A model that knows its own inputs is believed; the file may name what the model leaves unnamed.
    """
    inputs = _merge(info.inputs, signature.inputs, file, "input")
    outputs = _merge(info.outputs, signature.outputs, file, "output")
    return ModelInfo(info.name, inputs, outputs, info.max_batch, info.free, info.platform)


def _merge(
    known: tuple[TensorSpec, ...], said: tuple[TensorSpec, ...], file: str, word: str
) -> tuple[TensorSpec, ...]:
    if not said or not known:
        return said or known
    if len(said) != len(known):
        raise SignatureError(
            f"the signature file of `{printable(file)}` has {len(said)} {word}s, "
            f"and the model {len(known)}"
        )
    for ours, theirs in zip(known, said, strict=True):
        if ours.datatype != theirs.datatype or not _agree(ours.shape, theirs.shape):
            raise SignatureError(
                f"the signature file of `{printable(file)}` says {word} {printable(str(theirs))}, "
                f"and the model {printable(str(ours))}"
            )
    return said


def _agree(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return len(one) == len(other) and all(
        a == b or -1 in (a, b) for a, b in zip(one, other, strict=True)
    )


# Reading


class _Wrong(ValueError):
    """What is wrong with the file, to stand behind its name."""


def _parse(content: object) -> Signature:
    if not isinstance(content, dict):
        raise _Wrong("is not a JSON object")
    _check_keys(content, _KEYS, "")
    return Signature(
        inputs=_specs(content, "inputs"),
        outputs=_specs(content, "outputs"),
        classes=_strings(content.get("classes", []), "classes"),
        logits=_typed(content.get("logits"), bool, "logits"),
        preprocess=_preprocess(content.get("preprocess", {})),
        example=_typed(content.get("example"), list, "example"),
    )


def _check_keys(content: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in content:
        if key not in known:
            said = did_you_mean(key[:40], known)
            raise _Wrong(f"has an unknown key `{where}{printable(key[:40])}` ({said})")


def _typed(value: Any, kind: type, key: str) -> Any:
    if value is not None and not isinstance(value, kind):
        raise _Wrong(f"has a `{key}` that is not a {kind.__name__}")
    return value


def _strings(value: Any, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _Wrong(f"has a `{key}` that is not a list of strings")
    return tuple(value)


def _specs(content: dict[str, Any], key: str) -> tuple[TensorSpec, ...]:
    entries = content.get(key, [])
    if not isinstance(entries, list):
        raise _Wrong(f"has `{key}` that are not a list")
    specs = tuple(parse_spec(entry, f"`{key}[{at}]`") for at, entry in enumerate(entries))
    if len({spec.name for spec in specs}) != len(specs):
        raise _Wrong(f"names one of its `{key}` twice")
    return specs


def parse_spec(entry: Any, where: str) -> TensorSpec:
    """Return one entry of `inputs` or `outputs`, or a predictor's triple; raises ValueError."""
    if isinstance(entry, TensorSpec):
        return entry
    if isinstance(entry, dict):
        entry = (entry.get("name"), entry.get("datatype"), entry.get("shape"))
    if not isinstance(entry, (tuple, list)) or len(entry) != 3:
        raise _Wrong(f"has no name, datatype and shape in {where}")
    name, datatype, shape = entry
    if not isinstance(name, str) or not name:
        raise _Wrong(f"has no name in {where}")
    if datatype not in DATATYPES:
        raise _Wrong(f"has a datatype in {where} that is none of {', '.join(DATATYPES)}")
    if not isinstance(shape, (tuple, list)) or not all(
        type(size) is int and -1 <= size < 2**31 for size in shape
    ):
        raise _Wrong(f"has a shape in {where} that is not a list of whole numbers from -1")
    return TensorSpec(name, datatype, tuple(shape))


def _preprocess(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong("has a `preprocess` that is not an object")
    _check_keys(value, ("image", "table"), "preprocess.")
    for key, known in (("image", _IMAGE_KEYS), ("table", _TABLE_KEYS)):
        if key in value:
            if not isinstance(value[key], dict):
                raise _Wrong(f"has a `preprocess.{key}` that is not an object")
            _check_keys(value[key], known, f"preprocess.{key}.")
    return value

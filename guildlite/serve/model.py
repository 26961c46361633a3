"""What a served model is: its signature, and the four moves every framework has to offer.

Names of datatypes and the meaning of -1 in a shape are those of the Open Inference Protocol, so
that `/info` and `/v2` say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from guildlite.errors import GuildliteError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Arrays = Mapping[str, Array]

#: Of a framework's own words on a refused input or file; they may quote values, so not many.
MAX_REASON = 300

#: Open Inference Protocol datatype to NumPy dtype.
DATATYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "object",
}

_BY_DTYPE = {dtype: datatype for datatype, dtype in DATATYPES.items()}


def datatype_of(dtype: object) -> str | None:
    """Return the datatype for a NumPy dtype or its name, None for one that cannot be served."""
    name = str(dtype)
    return "BYTES" if name.startswith(("<U", "|S", "str", "string")) else _BY_DTYPE.get(name)


def printable(text: str) -> str:
    """Return `text` with nothing in it that would move a terminal's cursor."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def reason(error: BaseException) -> str:
    """Return the first line of a framework's message, short enough for a message of ours."""
    lines = str(error).strip().splitlines()
    return printable(lines[0] if lines else type(error).__name__)[:MAX_REASON].rstrip(". :")


class ModelRefused(GuildliteError):
    """The model does not accept these inputs; the message is the model's own, shortened.

    A predictor raises it to answer 400 with its text.
    """


class ModelFailed(GuildliteError):
    """The model broke while predicting; no change to the request would have helped."""

    http_status = 500


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output. `shape` has -1 where any length goes; `()` is a scalar."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype of arrays of this tensor; strings travel as objects."""
        import numpy as np

        return np.dtype(DATATYPES[self.datatype])

    def to_json(self) -> dict[str, object]:
        """Return the entry of `/info`."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    def __str__(self) -> str:
        return f"{self.name} {self.datatype} {list(self.shape)}"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model's signature. `name` is how it is called in `/info` and `/v2`.

    max_batch: rows the model takes at a time, where it says so; 1 for one that does not go with
        several.
    free: the inputs are not declared, so that any object is an instance; only a predictor is.
    platform: the framework, as `/v2/models/NAME` calls it.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch: int | None = None
    free: bool = False
    platform: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the body of `/info`."""
        return {
            "name": self.name,
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
        }


class ModelRuntime(Protocol):
    """A loaded model. The constructor loads once and raises GuildliteError when it cannot.

    `predict` takes every input of `info` as an array of its dtype, leading dimension included, and
    returns every output of `info`. It may be called from several threads at a time, never keeps
    or changes the arrays it is given, and raises ModelRefused when the inputs are at fault; any
    other exception means that the model failed. After `close` nothing else is called.
    """

    @property
    def info(self) -> ModelInfo: ...

    def predict(self, inputs: Arrays) -> dict[str, Array]: ...

    def close(self) -> None: ...

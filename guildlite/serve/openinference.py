"""The Open Inference Protocol, version 2, with its binary tensor extension.

A request names whole tensors. Their data stand in the JSON, flat or nested, or as raw little-endian
bytes behind it: then `Inference-Header-Content-Length` says how long the JSON is, and each tensor
says in `binary_data_size` how much of the rest is its own, in order. A string among them is four
bytes of length and its text.

Values are checked by `instances.Field`, as those of `/run` are.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guildlite.errors import did_you_mean
from guildlite.http import RequestError
from guildlite.serve.instances import Field, dump_json, got, parse_json, parse_quickly
from guildlite.serve.model import ModelInfo, TensorSpec

if TYPE_CHECKING:
    from guildlite.serve.model import Array

HEADER_LENGTH = "inference-header-content-length"
VERSION = "1"
EXTENSIONS = ("binary_tensor_data",)
#: Values of one tensor; a shape is only a promise of them until they are counted.
MAX_VALUES = 2**28
#: Bytes of binary data that cost as much to read as one byte of JSON.
_BINARY_DISCOUNT = 16
_MAX_NAME, _MAX_ID = 200, 1000


@dataclass(frozen=True, slots=True)
class _Wanted:
    name: str
    binary: bool


class InferRequest:
    """One request to `/infer`, split but not yet checked; `decode` and `encode` may block."""

    def __init__(self, info: ModelInfo, body: bytes, header_length: str | None) -> None:
        self._info = info
        self._head, self._tail = _split(body, header_length)
        self._id: str | None = None
        self._wanted: list[_Wanted] = []

    @property
    def weight(self) -> int:
        """What it costs to read, in bytes of JSON."""
        return len(self._head) + len(self._tail) // _BINARY_DISCOUNT

    def decode(self) -> dict[str, Array]:
        """Return the model's inputs; raises RequestError."""
        request = _parse(self._head)
        if not isinstance(request, dict):
            raise RequestError(
                "the request must be an object", expected="an object", got=got(request)
            )
        self._id = _identifier(request.get("id"))
        inputs = request.get("inputs")
        if not isinstance(inputs, list):
            raise _wrong("inputs", "a list of tensors", got(inputs))
        self._wanted = self._outputs(request)
        if self._info.free:
            raise RequestError("this model does not declare its inputs, and answers at `/run` only")
        given: dict[str, Array] = {}
        offset = 0
        for number, tensor in enumerate(inputs):
            name, array, offset = self._tensor(number, tensor, offset)
            if name in given:
                raise RequestError(f"`{name[:_MAX_NAME]}` comes twice", field=name[:_MAX_NAME])
            given[name] = array
        if offset != len(self._tail):
            raise RequestError(
                "the binary data do not end with the last tensor",
                expected=f"{offset} bytes",
                got=f"{len(self._tail)} bytes",
            )
        missing = [spec.name for spec in self._info.inputs if spec.name not in given]
        if missing:
            raise RequestError(
                f"the input `{missing[0][:_MAX_NAME]}` is missing", field=missing[0][:_MAX_NAME]
            )
        self._check_rows(given)
        return given

    def encode(self, outputs: dict[str, Array]) -> bytes:
        """Return the body of the answer; `header_length` then says how much of it is JSON."""
        import numpy as np

        tensors: list[dict[str, Any]] = []
        tail: list[bytes] = []
        specs = {spec.name: spec for spec in self._info.outputs}
        for wanted in self._wanted:
            array = np.asarray(outputs[wanted.name])
            spec = specs[wanted.name]
            tensor: dict[str, Any] = {
                "name": wanted.name, "datatype": spec.datatype, "shape": list(array.shape),
            }  # fmt: skip
            if wanted.binary:
                data = _to_bytes(array, spec)
                tensor["parameters"] = {"binary_data_size": len(data)}
                tail.append(data)
            else:
                tensor["data"] = np.ascontiguousarray(array).reshape(-1)
            tensors.append(tensor)
        answer: dict[str, Any] = {"model_name": self._info.name, "model_version": VERSION}
        if self._id is not None:
            answer["id"] = self._id
        head = dump_json({**answer, "outputs": tensors})
        self.header_length = len(head) if tail else None
        return b"".join([head, *tail])

    #: Bytes of JSON in front of binary data in the answer, None when there are none.
    header_length: int | None = None

    def _outputs(self, request: dict[str, Any]) -> list[_Wanted]:
        """Return which outputs are wanted, and how; all of them where nothing is said."""
        known = [spec.name for spec in self._info.outputs]
        binary = _flag(_parameters(request, "parameters"), "binary_data_output", False)
        entries = request.get("outputs")
        if entries is None or entries == []:
            return [_Wanted(name, binary) for name in known]
        if not isinstance(entries, list):
            raise _wrong("outputs", "a list", got(entries))
        wanted = []
        for number, entry in enumerate(entries):
            name = entry.get("name") if isinstance(entry, dict) else None
            if name not in known:
                raise RequestError(
                    f"the model has no output `{str(name)[:40]}`"
                    if isinstance(name, str)
                    else f"`outputs[{number}]` has no name",
                    hint=did_you_mean(str(name)[:40], known),
                    field="outputs",
                    index=[number],
                )
            here = _flag(_parameters(entry, f"outputs[{number}]"), "binary_data", binary)
            wanted.append(_Wanted(name, here))
        if len({each.name for each in wanted}) != len(wanted):
            raise RequestError("an output is wanted twice", field="outputs")
        return wanted

    def _tensor(self, number: int, tensor: Any, offset: int) -> tuple[str, Array, int]:
        """Return name and array of one input, and where the next one's binary data begin."""
        where = f"inputs[{number}]"
        if not isinstance(tensor, dict):
            raise _wrong(where, "an object", got(tensor), [number])
        spec = self._spec(tensor.get("name"), number)
        if tensor.get("datatype") != spec.datatype:
            given = tensor.get("datatype")
            shown = (
                given
                if isinstance(given, str) and given.isalnum() and len(given) < 9
                else got(given)
            )
            raise _wrong(spec.name, spec.datatype, shown, [])
        shape = _shape(tensor.get("shape"), spec)
        size = _parameters(tensor, where).get("binary_data_size")
        if size is None:
            if "data" not in tensor:
                raise _wrong(spec.name, "`data`", "nothing", [])
            field = Field(spec, shape, whole=True)
            return spec.name, field.array(tensor["data"], []), offset
        if "data" in tensor:
            raise _wrong(spec.name, "`data` or `binary_data_size`", "both", [])
        if type(size) is not int or not 0 <= size <= len(self._tail) - offset:
            raise _wrong(spec.name, "`binary_data_size` within the body", got(size), [])
        data = memoryview(self._tail)[offset : offset + size]
        return spec.name, _from_bytes(data, spec, shape), offset + size

    def _spec(self, name: object, number: int) -> TensorSpec:
        for spec in self._info.inputs:
            if spec.name == name:
                return spec
        known = [spec.name for spec in self._info.inputs]
        if not isinstance(name, str):
            raise _wrong(f"inputs[{number}].name", "a string", got(name), [number])
        raise RequestError(
            f"the model has no input `{name[:40]}`",
            hint=did_you_mean(name[:40], known),
            field=f"inputs[{number}].name",
            index=[number],
        )

    def _check_rows(self, given: dict[str, Array]) -> None:
        """Free first dimensions count the rows, so they are equal."""
        counted = [spec for spec in self._info.inputs if spec.shape[:1] == (-1,)]
        if len(counted) < 2 or len(counted) != len(self._info.inputs):
            return
        rows = given[counted[0].name].shape[0]
        for spec in counted[1:]:
            if given[spec.name].shape[0] != rows:
                raise _wrong(
                    spec.name,
                    f"{rows} rows as in the first input",
                    str(given[spec.name].shape[0]),
                    [],
                )


def _split(body: bytes, header_length: str | None) -> tuple[bytes, bytes]:
    if header_length is None:
        return body, b""
    if not (header_length.isascii() and header_length.isdigit()) or len(header_length) > 12:
        raise RequestError(f"`{HEADER_LENGTH}` is not a whole number")
    length = int(header_length)
    if length > len(body):
        raise RequestError(
            f"`{HEADER_LENGTH}` is beyond the end of the body",
            expected=f"at most {len(body)}",
            got=str(length),
        )
    return body[:length], body[length:]


def _parse(head: bytes) -> Any:
    hint = 'send {"inputs": [{"name", "shape", "datatype", "data"}]}'
    try:
        return parse_quickly(head)
    except ValueError:
        return parse_json(head, hint)


def _wrong(
    field: str, expected: str, found: str, index: Sequence[int] | None = None
) -> RequestError:
    place = {} if index is None else {"index": list(index)}
    return RequestError(
        f"`{field[:40]}`: expected {expected}, got {found}",
        field=field[:_MAX_NAME],
        **place,  # type: ignore[arg-type]
        expected=expected,
        got=found,
    )


def _identifier(value: object) -> str | None:
    if value is None or (isinstance(value, str) and len(value) <= _MAX_ID):
        return value
    raise _wrong("id", f"a string of at most {_MAX_ID} characters", got(value))


def _parameters(holder: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise _wrong(f"{where}.parameters", "an object", got(parameters))
    return parameters


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise _wrong(name, "true or false", got(value))
    return value


def _shape(value: object, spec: TensorSpec) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(
        type(size) is int and 0 <= size < 2**31 for size in value
    ):
        raise _wrong(spec.name, "`shape`, a list of whole numbers", got(value), [])
    fits = len(value) == len(spec.shape) and all(
        want in (-1, size) for want, size in zip(spec.shape, value, strict=True)
    )
    if not fits:
        raise _wrong(spec.name, f"shape {list(spec.shape)}", f"shape {value[:8]}", [])
    if spec.shape[:1] == (-1,) and value[0] == 0:
        raise _wrong(spec.name, "one or more rows", "none", [])
    if math.prod(value) > MAX_VALUES:
        raise RequestError(f"`{spec.name[:40]}` is too large", status=413, field=spec.name)
    return tuple(value)


# Binary data


def _from_bytes(data: memoryview, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    import numpy as np

    count = math.prod(shape)
    if spec.datatype == "BYTES":
        return _strings(data, spec, count).reshape(shape)
    size = count * spec.dtype.itemsize
    if len(data) != size:
        raise _wrong(spec.name, f"{size} bytes", f"{len(data)} bytes", [])
    if spec.datatype == "BOOL":
        raw = np.frombuffer(data, dtype=np.uint8)
        if raw.size and raw.max() > 1:
            raise _wrong(spec.name, "bytes 0 and 1", "others", [int((raw > 1).argmax())])
    array: Array = np.frombuffer(data, dtype=spec.dtype.newbyteorder("<")).reshape(shape)
    if spec.datatype.startswith("FP") and not np.isfinite(array).all():
        # As in JSON, where there is no word for them; most models answer NaN to NaN.
        place = np.unravel_index(int((~np.isfinite(array)).argmax()), shape) if shape else ()
        raise _wrong(spec.name, "finite numbers", "NaN or an infinity", [int(at) for at in place])
    return array.astype(spec.dtype)


def _strings(data: memoryview, spec: TensorSpec, count: int) -> Array:
    import numpy as np

    array = np.empty(count, dtype=object)
    at = 0
    for number in range(count):
        if len(data) - at < 4:
            raise _wrong(spec.name, f"{count} strings", f"{number}", [number])
        (length,) = struct.unpack_from("<I", data, at)
        at += 4
        if length > len(data) - at:
            raise _wrong(spec.name, "a string within the body", "one beyond its end", [number])
        try:
            array[number] = bytes(data[at : at + length]).decode()
        except UnicodeDecodeError:
            raise _wrong(spec.name, "UTF-8 text", "other bytes", [number])
        at += length
    if at != len(data):
        raise _wrong(spec.name, f"{at} bytes", f"{len(data)} bytes", [])
    return array


def _to_bytes(array: Array, spec: TensorSpec) -> bytes:
    if spec.datatype != "BYTES":
        return array.astype(spec.dtype.newbyteorder("<"), copy=False).tobytes()
    parts = []
    for item in array.ravel().tolist():
        text = item if isinstance(item, bytes) else str(item).encode()
        parts += [struct.pack("<I", len(text)), text]
    return b"".join(parts)


# Descriptions


def server_metadata(name: str, version: str) -> dict[str, object]:
    """Return the body of `GET /v2`."""
    return {"name": name, "version": version, "extensions": list(EXTENSIONS)}


def model_metadata(info: ModelInfo) -> dict[str, object]:
    """Return the body of `GET /v2/models/NAME`."""
    return {
        "name": info.name,
        "versions": [VERSION],
        "platform": info.platform,
        "inputs": [spec.to_json() for spec in info.inputs],
        "outputs": [spec.to_json() for spec in info.outputs],
    }

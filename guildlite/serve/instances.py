"""JSON to arrays and answers back to JSON: every check on the values of a request stands here.

A request to `/run` is a list of objects, one per instance, keyed by input name. What comes out of
`Decoder.decode` is complete, of the right kind and of the right shape, so that whatever goes wrong
after it is the model's affair. Nothing is converted silently: no numbers in strings, no null for
NaN, no fraction cut off, no name ignored.

orjson reads and writes ten times as fast as json where it is installed. It is only the quick way:
what it does not read, or what is then not right, is read again by json, which keeps what is needed
to say where the fault is.

Refusals are `http.RequestError` with `field`, `index` (instance first, then the position inside
it), `expected` and `got`. `got` is the kind of the thing, never the thing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from guildlite.errors import did_you_mean
from guildlite.http import RequestError, json_kind
from guildlite.serve.model import ModelInfo, TensorSpec

try:
    import orjson as _orjson
except ImportError:
    _orjson = None  # type: ignore[assignment, unused-ignore]

if TYPE_CHECKING:
    from guildlite.serve.model import Array

    Instance = dict[str, Array]

orjson: Any = _orjson

#: Instances of one request; small ones could otherwise ask for answers of gigabytes.
MAX_INSTANCES = 65_536
#: Names an error lists, and how much of each.
_MAX_NAMES, _MAX_NAME = 5, 40
#: Integers a double holds exactly, so that `3.0` can stand for 3 and nothing is lost.
_EXACT = 2**53


class Decoder:
    """Turns request bodies into instances of one model.

    info: the model's signature. shapes: what one instance's value looks like, by input name; it
    is the signature's shape, without the leading dimension where that one counts instances.
    """

    def __init__(self, info: ModelInfo, shapes: dict[str, tuple[int, ...]]) -> None:
        self._fields = {spec.name: Field(spec, shapes[spec.name]) for spec in info.inputs}
        self._free = info.free
        self._plain = all(_is_plain(spec) for spec in info.inputs)
        names = "".join(self._fields)
        #: How often these stand in one instance that holds numbers and nothing else.
        self._marks = {
            b":": len(self._fields),
            b'"': 2 * len(self._fields),
            b"t": names.count("t"),
            b"f": names.count("f"),
        }
        example = ", ".join(f'"{_short(name)}": ...' for name in list(self._fields)[:_MAX_NAMES])
        self._hint = f"send a JSON list of objects, as in [{{{example}}}]"

    def decode(self, body: bytes) -> list[Instance]:
        """Return the instances in `body`, at least one; raises RequestError."""
        try:
            return self._decode_quickly(body)
        except (ValueError, TypeError, OverflowError):
            return self._decode(body)

    def _decode_quickly(self, body: bytes) -> list[Instance]:
        """Return the instances of a request of numbers; raises ValueError for any other.

        NumPy would take "1.5" and true for numbers, and orjson takes the last of two equal names
        without a word. All three show in how often some characters stand in the body, which is
        found out in a tenth of the time of a look at every value.
        """
        instances = parse_quickly(body)
        if type(instances) is not list or not 0 < len(instances) <= MAX_INSTANCES:
            raise ValueError("not a list of instances")
        if not self._plain or not self._holds_numbers(body, len(instances)):
            raise ValueError("perhaps something else than numbers")
        import numpy as np

        with np.errstate(over="ignore"):
            return [self._quick_instance(instance) for instance in instances]

    def _holds_numbers(self, body: bytes, instances: int) -> bool:
        return all(
            body.count(mark) == instances * times if times else mark not in body
            for mark, times in self._marks.items()
        )

    def _quick_instance(self, instance: Any) -> Instance:
        if type(instance) is not dict or instance.keys() != self._fields.keys():
            raise ValueError("not the fields of an instance")
        return {name: field.of_numbers(instance[name]) for name, field in self._fields.items()}

    def _decode(self, body: bytes) -> list[Instance]:
        instances = parse_json(body, self._hint)
        if not isinstance(instances, list):
            raise self._not_a_list("the request must be a list", "a list", got(instances))
        if not instances:
            raise self._not_a_list("the list of instances is empty", "one or more objects", "none")
        if len(instances) > MAX_INSTANCES:
            raise RequestError(
                "the request has too many instances",
                status=413,
                expected=f"at most {MAX_INSTANCES}",
                got=str(len(instances)),
            )
        return [self._instance(number, instance) for number, instance in enumerate(instances)]

    def _not_a_list(self, message: str, expected: str, got: str) -> RequestError:
        return RequestError(message, hint=self._hint, expected=expected, got=got)

    def _instance(self, number: int, instance: object) -> Instance:
        if not isinstance(instance, dict):
            raise RequestError(
                f"instance {number} must be an object",
                hint=self._hint,
                index=[number],
                expected="an object",
                got=got(instance),
            )
        if self._free:
            return self._as_it_is(number, instance)
        if instance.keys() != self._fields.keys():
            raise self._names(number, instance)
        return {name: field.array(instance[name], [number]) for name, field in self._fields.items()}

    def _as_it_is(self, number: int, instance: dict[str, Any]) -> Instance:
        """Return an instance whose fields nobody declared; even so it must be JSON."""
        pending: list[Any] = [instance]
        while pending:
            value = pending.pop()
            if isinstance(value, _Constant):
                raise RequestError(
                    f"instance {number} has a value that is not JSON",
                    index=[number],
                    expected="JSON",
                    got=got(value),
                )
            if isinstance(value, dict):
                pending += value.values()
            elif isinstance(value, list):
                pending += value
        return instance

    def _names(self, number: int, instance: dict[str, object]) -> RequestError:
        missing = [name for name in self._fields if name not in instance]
        unknown = [name for name in instance if name not in self._fields]
        said = []
        if missing:
            said.append(f"has no {_names(missing)}")
        if unknown:
            said.append(f"has {_names(unknown)}, which the model does not take")
        hint = did_you_mean(_short(unknown[0]), self._fields) if unknown else None
        return RequestError(
            f"instance {number} {' and '.join(said)}",
            hint=hint,
            index=[number],
            field=_short((missing or unknown)[0]),
            expected=_names(list(self._fields)),
            got=_names(list(instance)) if instance else "no fields",
        )


def parse_quickly(body: bytes) -> Any:
    """Return the JSON value in `body`; raises ValueError when that takes `parse_json` to tell."""
    if orjson is None:
        raise ValueError("orjson is not installed")
    return orjson.loads(body)


def parse_json(body: bytes, hint: str | None = None) -> Any:
    """Return the JSON value in `body`; raises RequestError for what is none.

    NaN and infinities come as objects that `got` can name, so that a check that knows the
    place can refuse them.
    """
    try:
        return json.loads(
            body.decode("utf-8-sig"), object_pairs_hook=_object, parse_constant=_Constant
        )
    except UnicodeDecodeError as error:
        raise RequestError(f"the request is not UTF-8 text (byte {error.start})", hint=hint)
    except json.JSONDecodeError as error:
        if not body.strip():
            raise RequestError("the request is empty", hint=hint)
        raise RequestError(
            f"the request is not JSON: {error.msg}, line {error.lineno}, column {error.colno}",
            hint=hint,
        )
    except RecursionError:
        raise RequestError("the request is nested too deeply", hint=hint)
    except ValueError:
        # Python refuses integers of more than some thousand digits.
        raise RequestError("the request has a number with too many digits")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise RequestError("an object names the same field twice")
    return result


class _Constant:
    """Stands for the `NaN` or `Infinity` of a lax writer, until the check that knows its place."""

    def __init__(self, name: str) -> None:
        self.name = name


def got(value: object) -> str:
    """Say what kind of value this is, without saying the value."""
    return f"{value.name}, which is not JSON" if isinstance(value, _Constant) else json_kind(value)


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(f"`{_short(name)}`" for name in names[:_MAX_NAMES]) + more


def _short(name: str) -> str:
    return name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 3] + "..."


# Values


class Field:
    """Checks and converts the value of one input: of one instance, or a `whole` tensor."""

    def __init__(self, spec: TensorSpec, shape: tuple[int, ...], *, whole: bool = False) -> None:
        self.name = spec.name
        self.whole = whole
        self.shape = shape
        self.dtype = spec.dtype
        self.kind = _Kind.of(spec.datatype)
        fixed = -1 not in shape
        #: Length of a flat list that fills the shape; None where lengths are free.
        self.flat = math.prod(shape) if fixed and len(shape) != 1 else None

    def array(self, value: object, index: list[int]) -> Array:
        """Return `value` as an array of the field's dtype and shape; raises RequestError."""
        shape = self.shape
        if self.flat is not None and _is_flat(value, self.flat):
            shape = (self.flat,)
        lengths = list(shape)
        self._check(value, 0, lengths, index)
        array = self._convert(value, lengths, index)
        return array if shape is self.shape else array.reshape(self.shape)

    def of_numbers(self, value: object) -> Array:
        """Return `value`, in which nothing but numbers and nulls can be, as `array` does.

        NumPy's warnings of overflow must be off.
        Raises ValueError, TypeError or OverflowError for what `array` refuses or has to convert.
        """
        import numpy as np

        if self.kind.words == _Kind.NUMBER:
            array = np.array(value, dtype=self.dtype)
            if not np.isfinite(array).all():
                raise ValueError("null, or out of range")
        else:
            found = np.array(value)
            if found.dtype.kind not in "iu":
                raise ValueError("perhaps a fraction")
            array = found.astype(self.dtype)
            if (array != found).any():
                raise ValueError("out of range")
        if array.size == self.flat and array.ndim == 1:
            return array.reshape(self.shape)
        if len(array.shape) != len(self.shape) or not all(
            want in (-1, size) for want, size in zip(self.shape, array.shape, strict=True)
        ):
            raise ValueError("another shape")
        return array

    def _check(self, value: Any, depth: int, lengths: list[int], index: list[int]) -> None:
        """Walk `value` once; `lengths` gets the free dimensions as they are met."""
        if depth == len(lengths):
            if type(value) not in self.kind.types:
                raise self._wrong(index, self.kind.words, got(value))
            return
        if type(value) is not list:
            expected = f"a list of length {lengths[depth]}" if lengths[depth] >= 0 else "a list"
            raise self._wrong(index, expected, got(value))
        if lengths[depth] < 0:
            lengths[depth] = len(value)
        elif len(value) != lengths[depth]:
            raise self._wrong_length(value, depth, lengths, index)
        if depth < len(lengths) - 1 or not self.kind.types.issuperset(map(type, value)):
            for position, item in enumerate(value):
                self._check(item, depth + 1, lengths, [*index, position])

    def _convert(self, value: Any, lengths: list[int], index: list[int]) -> Array:
        import numpy as np

        if self.kind.words == _Kind.INTEGER:
            self._check_integers(value, lengths, index)
        elif self.kind.words == _Kind.TEXT:
            self._check_text(value, index)
        try:
            with np.errstate(over="ignore"):
                array = np.array(value, dtype=self.dtype)
        except OverflowError:
            array = np.array(np.inf)
        if self.kind.words == _Kind.NUMBER and not np.isfinite(array).all():
            self._find_overflow(value, index)
        # A dimension of length 0 hides those after it from NumPy.
        return array.reshape([max(n, 0) for n in lengths]) if array.size == 0 else array

    def _check_integers(self, value: object, lengths: list[int], index: list[int]) -> None:
        """Refuse fractions and what the dtype cannot hold; NumPy would cut or wrap them."""
        import numpy as np

        limits = np.iinfo(self.dtype)
        low, high = int(limits.min), int(limits.max)
        for row, where in _rows(value, index):
            if all(type(item) is int for item in row) and (
                not row or (min(row) >= low and max(row) <= high)
            ):
                continue
            for position, item in enumerate(row):
                at = [*where, position] if lengths else where
                if type(item) is float and not (item.is_integer() and abs(item) <= _EXACT):
                    raise self._wrong(at, "an integer", "a number with a fraction")
                if not low <= item <= high:
                    raise self._wrong(at, f"an integer from {low} to {high}", "one out of range")

    def _check_text(self, value: object, index: list[int]) -> None:
        for row, where in _rows(value, index):
            for position, item in enumerate(row):
                try:
                    item.encode()
                except UnicodeEncodeError:
                    raise self._wrong([*where, position], "Unicode text", "half a surrogate pair")

    def _find_overflow(self, value: object, index: list[int]) -> None:
        import numpy as np

        largest = float(np.finfo(self.dtype).max)
        for row, where in _rows(value, index):
            for position, item in enumerate(row):
                with np.errstate(over="ignore"):
                    fits = -largest <= item <= largest and np.isfinite(self.dtype.type(item))
                if not fits:
                    at = [*where, position] if isinstance(value, list) else where
                    expected = f"a number from {-largest:.3g} to {largest:.3g}"
                    raise self._wrong(at, expected, "one out of range")

    def _wrong_length(
        self, value: list[Any], depth: int, lengths: list[int], index: list[int]
    ) -> RequestError:
        if depth == 0:
            return self._wrong(index, f"shape {list(self.shape)}", f"shape {_shape(value)}")
        return self._wrong(
            index, f"a list of length {lengths[depth]}", f"one of length {len(value)}"
        )

    def _wrong(self, index: list[int], expected: str, got: str) -> RequestError:
        inside = index if self.whole else index[1:]
        place = "".join(f"[{position}]" for position in inside[:8])
        where = "" if self.whole else f" of instance {index[0]}"
        return RequestError(
            f"`{_short(self.name)}{place}`{where}: expected {expected}, got {got}",
            field=self.name[:200],
            index=index,
            expected=expected,
            got=got,
        )


def _is_plain(spec: TensorSpec) -> bool:
    """Say whether an instance's part of this input is its name, a colon and numbers."""
    return spec.datatype not in ("BYTES", "BOOL") and not any(mark in spec.name for mark in ':"\\')


class _Kind:
    """The JSON types a datatype takes, and what to call them."""

    NUMBER, INTEGER, BOOL, TEXT = "a number", "an integer", "true or false", "a string"

    def __init__(self, words: str, *types: type) -> None:
        self.words = words
        self.types = frozenset(types)

    @classmethod
    def of(cls, datatype: str) -> _Kind:
        if datatype.startswith("FP"):
            return cls(cls.NUMBER, int, float)
        if datatype == "BOOL":
            return cls(cls.BOOL, bool)
        if datatype == "BYTES":
            return cls(cls.TEXT, str)
        return cls(cls.INTEGER, int, float)


def _is_flat(value: object, length: int) -> bool:
    return type(value) is list and len(value) == length and list not in map(type, value)


def _rows(value: Any, index: list[int]) -> Iterator[tuple[list[Any], list[int]]]:
    """Yield the innermost lists of a checked value, each with its place."""
    if not isinstance(value, list):
        yield [value], index
    elif value and isinstance(value[0], list):
        for position, item in enumerate(value):
            yield from _rows(item, [*index, position])
    else:
        yield value, index


def _shape(value: Any) -> list[int]:
    """Return the lengths met going down the first items, as many as anyone would read."""
    shape: list[int] = []
    while type(value) is list and len(shape) < 8:
        shape.append(len(value))
        value = value[0] if value else None
    return shape


# Answers


def encode(answers: list[Instance]) -> bytes:
    """Return the JSON list of one object per instance, keyed by output name.

    NaN and infinities are null: JSON has no word for them. A 32-bit value is written with the
    fewest digits that give it back as a 32-bit value.
    """
    return dump_json(answers)


def dump_json(value: object) -> bytes:
    """Return strict JSON for objects, lists and arrays of any depth."""
    if orjson is not None:
        option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
        return bytes(orjson.dumps(value, default=_plain, option=option))
    return json.dumps(
        _strict(value), ensure_ascii=False, allow_nan=False, separators=(",", ":")
    ).encode()


def _plain(value: Any) -> object:
    """Return what orjson asks about as something that it knows."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(value, "tolist"):
        return to_plain(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _strict(value: Any) -> object:
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    plain = _plain(value)
    return _strict(plain) if isinstance(plain, (list, str)) else plain


def to_plain(array: Array) -> object:
    """Return an array as nested lists, or as one value, that JSON can hold."""
    import numpy as np

    array = np.asarray(array)
    if array.dtype.kind != "f":
        return array.tolist()
    finite = bool(np.isfinite(array).all())
    if finite and array.dtype.itemsize >= 8:
        return array.tolist()
    # str() of a NumPy scalar is its shortest form; through float it would get a double's digits.
    values = [float(str(item)) for item in array.ravel()]
    if not finite:
        values = [item if math.isfinite(item) else None for item in values]  # type: ignore[misc]
    if array.ndim == 1:
        return values
    flat = np.empty(len(values), dtype=object)
    flat[:] = values
    return flat.reshape(array.shape).tolist()

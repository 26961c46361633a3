"""The few computations worth doing on a script's behalf: without effects, bounded in size and time.

Whatever does not work out, or would take too much room, is `UNKNOWN`.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from pathlib import PurePath, PurePosixPath
from typing import Any

from guildlite.scriptflags.values import UNKNOWN, Args, Keywords

#: Longest text or list that is put together, and largest integer.
MAX_LENGTH = 10_000
MAX_INT = 1 << 128


_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
}


def calculate(op: ast.operator, left: Any, right: Any) -> Any:
    """Return the value of a simple constant expression such as `2**10` or `"--" + name`."""
    operate = _OPERATORS.get(type(op))
    if operate is None:
        return UNKNOWN
    texts = isinstance(left, str) and isinstance(right, str)
    lists = type(left) is type(right) and isinstance(left, list | tuple)
    paths = isinstance(left, PurePath) and isinstance(right, str | PurePath)
    numbers = is_number(left) and is_number(right)
    if isinstance(op, ast.Pow | ast.LShift):  # keep a script from asking for 10**10**10
        numbers = numbers and abs(right) <= 128
    if not (
        numbers
        or ((texts or lists) and isinstance(op, ast.Add))
        or (paths and isinstance(op, ast.Div))
    ):
        return UNKNOWN
    try:
        value = bounded(operate(left, right))
    except (ArithmeticError, ValueError, TypeError):
        return UNKNOWN
    return value if isinstance(value, str | int | float | list | tuple | PurePath) else UNKNOWN


def is_number(value: Any) -> bool:
    """Say whether a value is a number small enough to calculate with."""
    return isinstance(value, int | float) and abs(value) < MAX_INT


def bounded(value: Any) -> Any:
    """Return the value, UNKNOWN in place of a text or list that grew too long."""
    if isinstance(value, str | list | tuple) and len(value) > MAX_LENGTH:
        return UNKNOWN
    return value


# Functions and methods ----------------------------------------------------------------------------


def _join(*parts: Any) -> Any:
    return str(PurePosixPath(*parts)) if all(isinstance(each, str) for each in parts) else UNKNOWN


def _listed(values: Any = ()) -> list[Any]:
    if isinstance(values, range):
        values = values[: MAX_LENGTH + 1]
    if len(values) > MAX_LENGTH:
        raise ValueError("too long")
    return list(values)


def _plain_text(value: Any = "") -> str:
    if isinstance(value, list | tuple | dict):  # may share parts, and so be endless as text
        raise ValueError("not plain")
    return str(value)


_PURE: dict[str, Callable[..., Any]] = {
    "pathlib.Path": PurePosixPath,
    "pathlib.PurePath": PurePosixPath,
    "os.path.join": _join,
    "int": int,
    "float": float,
    "str": _plain_text,
    "range": range,
    "list": _listed,
    "tuple": lambda *values: tuple(_listed(*values)),
    "sorted": lambda values: sorted(_listed(values)),
    "dict": lambda *pairs, **named: dict(*pairs, **named),
}

_METHODS: dict[type, set[str]] = {
    dict: {"keys", "values", "items", "get"},
    str: {"lower", "upper", "strip", "split", "replace"},
}


def call_pure(name: str, args: Args, keywords: Keywords) -> Any:
    """Return the value of one of a few functions without effects, or UNKNOWN."""
    function = _PURE.get(name)
    if function is None:
        return UNKNOWN
    if not all(_is_plain(each) for each in args) and name not in ("list", "tuple", "dict"):
        return UNKNOWN
    try:
        return function(*args, **keywords)
    except (TypeError, ValueError, ArithmeticError):
        return UNKNOWN


def call_plain_method(owner: Any, method: str, args: Args, keywords: Keywords) -> Any:
    """Return the value of a method of a dict or text, or UNKNOWN."""
    if method not in _METHODS.get(type(owner), set()) or not all(_is_plain(each) for each in args):
        return UNKNOWN
    try:
        value = getattr(owner, method)(*args, **keywords)
        if isinstance(owner, dict) and method != "get":
            return list(value)
        return UNKNOWN if isinstance(value, str) and len(value) > MAX_LENGTH else value
    except (TypeError, ValueError, LookupError, MemoryError):
        return UNKNOWN


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | list | tuple | range | PurePath | dict | None)

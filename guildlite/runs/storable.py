"""What SQLite can take of what a script may write: text, moments and numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from guildlite.series import MAX_STEP, MIN_STEP


def storable(text: str) -> str:
    """Escape what SQLite cannot take, lone surrogates, and NUL, at which its shell would stop."""
    if "\0" in text:
        text = text.replace("\0", "\\x00")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def moment(at: int | None) -> int | None:
    """Return a moment in ms, None if it is beyond 64 bits."""
    return at if at is not None and MIN_STEP <= at <= MAX_STEP else None


def are_storable(numbers: Sequence[int]) -> bool:
    """Tell whether all of these fit into 64 bits."""
    return not numbers or (min(numbers) >= MIN_STEP and max(numbers) <= MAX_STEP)


def number(value: float) -> float:
    """Return a number as a double, infinity where it is beyond any."""
    try:
        return float(value)
    except OverflowError:  # a Python int beyond any double
        return math.inf if value > 0 else -math.inf

"""Numbers a script printed beside those it logged: which of them say the same again."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from guildlite.series import Summary

#: What the names of numbers begin with that were caught in the output.
_OUTPUT = "output/"
#: A printed number has been rounded; this is how far it may be from the value itself.
_ROUNDED = 0.006


def said_again(summaries: Iterable[Summary]) -> set[str]:
    """Return the keys of printed numbers that another series of the run has as well.

    That is, one whose name has all the words of the printed one, with the same last value: as
    printed, rounded, or in percent. `evaluate/output/test_loss` says again what `test/loss` says.
    """
    known = list(summaries)
    written = [each for each in known if _printed_name(each.key) is None]
    return {
        each.key
        for each in known
        if (name := _printed_name(each.key)) is not None
        and any(_words(name) <= _words(other.key) and _same(each, other) for other in written)
    }


def _printed_name(key: str) -> str | None:
    """Return the name a number was printed with, None for a series from anywhere else."""
    _, found, name = f"/{key}".partition(f"/{_OUTPUT}")
    return name if found else None


def _words(key: str) -> set[str]:
    return {word for word in re.split(r"[^a-z0-9]+", key.lower()) if word}


def _same(printed: Summary, written: Summary) -> bool:
    if printed.last is None or written.last is None:
        return False
    return any(
        math.isclose(printed.last, written.last * scale, rel_tol=_ROUNDED) for scale in (1, 100)
    )

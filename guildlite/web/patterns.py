"""Regular expressions that people type, refused where a search could go on without an end.

Python's `re` tries every way in which an expression can match, holds the interpreter meanwhile and
cannot be stopped: one search would keep the viewer from everybody.
"""

from __future__ import annotations

import re
import sys
import warnings
from typing import Any

if sys.version_info >= (3, 11):
    from re import _constants as sre  # type: ignore[attr-defined]
    from re import _parser as parser  # type: ignore[attr-defined]
else:
    import sre_constants as sre
    import sre_parse as parser

#: Repeats up to here are few ways each; above, as good as without an end.
_FEW = 10
#: Largest count, of nested repeats multiplied: `(?:(?:){999}){999}` turns without reading a letter.
_MOST_TURNS = 1000
#: Repeats without an end one after the other; each multiplies the time by the length of the text.
_MOST_REPEATS = 6
#: The same of those that take nearly every letter, as `.*`.
_MOST_WIDE = 3
#: Ways through optional parts and alternatives.
_MOST_WAYS = 10_000

_REPEATS = [sre.MAX_REPEAT, sre.MIN_REPEAT]
_REPEATS += [sre.POSSESSIVE_REPEAT] if hasattr(sre, "POSSESSIVE_REPEAT") else []


class _Endless(Exception):
    """An expression that is refused; its text says why."""


def compile_pattern(text: str, flags: int = 0) -> tuple[re.Pattern[str] | None, str]:
    """Return the expression, or None and why it cannot be searched for; else ""."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _Look().over(parser.parse(text, flags), 1)
            return re.compile(text, flags), ""
    except _Endless as error:
        return None, str(error)
    except (re.error, RecursionError, OverflowError) as error:
        return None, str(error)


class _Look:
    """Counts the ways in which an expression can match."""

    def __init__(self) -> None:
        self.ways = 1
        self.repeats = 0
        self.wide = 0

    def over(self, parts: Any, turns: int) -> None:
        """Look at parts that are run through up to `turns` times; raise _Endless."""
        for kind, value in parts:
            if kind in _REPEATS:
                self._repeat(value, turns)
            elif kind is sre.BRANCH:
                self._choose(len(value[1]), turns)
                for each in value[1]:
                    self.over(each, turns)
            else:
                for each in _within(value):
                    self.over(each, turns)

    def _repeat(self, value: Any, turns: int) -> None:
        least, most, body = value
        if most is not sre.MAXREPEAT or least > 0:
            count = least if most is sre.MAXREPEAT else most
            if count * turns > _MOST_TURNS:
                raise _Endless(f"a repeat of more than {_MOST_TURNS:,} times would take too long")
        if least != most:
            if most is sre.MAXREPEAT or most - least > _FEW:
                self._without_end(body, turns)
            else:
                self._choose(most - least + 1, turns)
        if most is sre.MAXREPEAT or most > _FEW:
            if _varies(body):
                raise _Endless("a repeat within a repeat could be searched for without an end")
            most = max(least, 1)
        self.over(body, turns * max(1, most))

    def _without_end(self, body: Any, turns: int) -> None:
        self.repeats += turns
        self.wide += turns * any(_is_wide(part) for part in body)
        if self.repeats > _MOST_REPEATS or self.wide > _MOST_WIDE:
            raise _Endless("so many repeats could be searched for without an end")

    def _choose(self, ways: int, turns: int) -> None:
        self.ways *= ways ** min(turns, _MOST_TURNS)
        if self.ways > _MOST_WAYS:
            raise _Endless("so many alternatives could be searched for without an end")


def _within(value: Any) -> list[Any]:
    """Return the expressions in a part, whatever it is: groups, conditions, what is looked for."""
    if isinstance(value, parser.SubPattern):
        return [value]
    if isinstance(value, (tuple, list)):
        return [found for each in value for found in _within(each)]
    return []


def _varies(parts: Any) -> bool:
    """Say whether the same text can be matched in several ways, or lengths, by these parts."""
    for kind, value in parts:
        if kind in _REPEATS:
            if value[0] != value[1] or _varies(value[2]):
                return True
        elif kind is sre.BRANCH:
            if not _tells_apart(value[1]):
                return True
        elif kind is sre.GROUPREF or any(_varies(each) for each in _within(value)):
            return True
    return False


def _tells_apart(alternatives: Any) -> bool:
    """Say whether the first letter says which alternative it is, and each is plain text."""
    firsts = set()
    for each in alternatives:
        if not len(each) or any(kind is not sre.LITERAL for kind, _ in each):
            return False
        firsts.add(chr(each[0][1]).lower())
    return len(firsts) == len(alternatives)


def _is_wide(part: Any) -> bool:
    kind, value = part
    return kind in (sre.ANY, sre.NOT_LITERAL) or (kind is sre.IN and value[0][0] is sre.NEGATE)

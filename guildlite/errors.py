"""Errors for people: one sentence that says what is wrong, one hint that says what to do.

Library code raises these. They are rendered once per edge: `cli.main` prints message and hint
and exits with `exit_code`; `http` makes the JSON envelope with `http_status`.
A message has no full stop, and quotes names in backticks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: Exit status after Ctrl-C: 128 and the number of SIGINT, as shells count.
INTERRUPTED = 130


class GuildliteError(Exception):
    """Something a user can act on."""

    exit_code = 1
    http_status = 400

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def hint(self) -> str | None:
        """What to do about it. Python 3.11 and Jupyter print it below a traceback, as a note."""
        return self._hint

    @hint.setter
    def hint(self, hint: str | None) -> None:
        self._hint = hint
        # What `add_note` keeps its notes in; it is not there before 3.11, which prints none.
        others = [note for note in self.__dict__.get("__notes__", ()) if note[:6] != "hint: "]
        self.__notes__ = [f"hint: {hint}", *others] if hint else others

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are made again of `args` alone, without the keywords that some of these need.
        return _made_again, (type(self), self.args, self.__dict__)


def _made_again(
    kind: type[GuildliteError], args: tuple[object, ...], facts: dict[str, object]
) -> GuildliteError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


class UsageError(GuildliteError):
    """The words of the command or request are wrong."""

    exit_code = 2


class ProjectFileError(UsageError):
    """The project file cannot be used; `message` already names file, line, column and key.

    `line` and `column` count from 1; `key` is the dotted path, as in `models.intro.train`.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        path: str | None = None,
        line: int | None = None,
        column: int | None = None,
        key: str | None = None,
    ) -> None:
        where = ":".join(str(part) for part in (path, line, column) if part is not None)
        super().__init__(f"{where}: {message}" if where else message, hint=hint)
        self.path, self.line, self.column, self.key = path, line, column, key


class FlagError(UsageError):
    """A flag's name or value is not accepted."""


class FilterError(UsageError):
    """A filter, a column or a question in SQL cannot be understood.

    `text` is what was given and `position` where the trouble begins, in characters from 0; the
    message says it as a column from 1. `expected` names what could have stood there.
    """

    def __init__(
        self,
        message: str,
        *,
        text: str,
        position: int,
        expected: tuple[str, ...] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(f"column {position + 1} of `{text}`: {message}", hint=hint)
        self.text, self.position, self.expected = text, position, expected


class RunNotFound(GuildliteError):
    """No run answers to that name."""

    http_status = 404


class RunUnreadable(GuildliteError):
    """The run is there but its files cannot be read; other runs are not affected."""

    http_status = 422


class LaunchError(GuildliteError):
    """gl failed before the script started."""

    exit_code = 125


class MissingExtra(GuildliteError):
    """An optional package is needed for this and is not installed."""

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(what, hint=f'pip install "guildlite[{extra}]"')
        self.extra = extra


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like `name`, or None when nothing is close."""
    # difflib costs 5 ms to import and is only needed when something is already wrong.
    from difflib import get_close_matches

    matches = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return the hint line for a misspelt name, or the list of known names, or None."""
    known = list(known)
    match = nearest(name, known)
    if match:
        return f"did you mean `{match}`?"
    if known:
        return "known: " + ", ".join(known)
    return None

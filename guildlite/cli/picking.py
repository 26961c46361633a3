"""Which runs the words and options of a command mean, answered from the index."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from guildlite.cli.context import Context
from guildlite.errors import UsageError
from guildlite.index import Index
from guildlite.query import Found, Vocabulary, find_runs, read_vocabulary
from guildlite.runs.paths import TRASH_DIR

if TYPE_CHECKING:
    from guildlite.runs import Run

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Choice(NamedTuple):
    """What the command line says of runs: a FILTER and the options that narrow it further."""

    filter: str = ""
    statuses: Sequence[str] = ()
    model: str | None = None
    since: str | None = None
    trash: bool = False

    @property
    def narrows(self) -> bool:
        """Whether it leaves out any run at all."""
        return bool(self.filter.strip() or self.statuses or self.model is not None or self.since)


class Picked(NamedTuple):
    """The runs that were chosen, and the names there are among all."""

    found: Found
    vocabulary: Vocabulary

    def runs(self) -> list[Run]:
        """Return the run directories, as bulk commands need them."""
        from guildlite.runs import Run

        return [Run(Path(row.path)) for row in self.found.rows]


def pick_runs(
    context: Context, choice: Choice, *, sort: str = "", limit: int | None = None
) -> Picked:
    """Return the runs of the project that a choice means, notices said on stderr.

    Runs that nobody finished are brought to rest first. Raises FilterError and UsageError.
    """
    with open_index(context, choice) as index:
        picked = pick_again(context, index, choice, sort=sort, limit=limit)
    for notice in picked.found.notices:
        context.say(notice)
    return picked


def open_index(context: Context, choice: Choice) -> Index:
    """Return the index of the runs that a choice is made among, to be closed by the caller."""
    root = context.store().root
    return Index(root / TRASH_DIR if choice.trash else root)


def pick_again(
    context: Context, index: Index, choice: Choice, *, sort: str = "", limit: int | None = None
) -> Picked:
    """Return what `pick_runs` does out of an index that stays open; says nothing."""
    now = time.time()
    narrowing = _narrowing(choice, now)
    if choice.trash:
        index.refresh()
    else:
        from guildlite.execute.catchup import settle

        index.refresh(settle)
    known = _known(context) if choice.filter or sort else Vocabulary()
    vocabulary = read_vocabulary(index).joined(known)
    text = choice.filter
    if narrowing and text.strip():
        from guildlite.query.fields import parse_filter

        parse_filter(text, vocabulary)  # an error speaks of what was typed, and of that alone
        text = f"({text})"
    text = " and ".join(part for part in (text, *narrowing) if part)
    found = find_runs(
        index, text, sort=sort, limit=limit, count=limit is not None, known=known, now=now
    )  # fmt: skip
    return Picked(found, vocabulary)


def _narrowing(choice: Choice, now: float) -> list[str]:
    """Return the options as filters."""
    if not (choice.statuses or choice.model is not None or choice.since):
        return []
    from guildlite.query.syntax import quote

    parts = []
    if choice.statuses:
        parts.append(f"attr.status in ({', '.join(choice.statuses)})")
    if choice.model is not None:
        parts.append(f"attr.model = {quote(choice.model)}")
    if choice.since:
        age_s = max(0.0, now - parse_since(choice.since, now))
        parts.append(f"attr.started >= {age_s:.3f}s ago")
    return parts


def _known(context: Context) -> Vocabulary:
    """Return the names that the project declares: no mistake although no run has them yet."""
    project = context.readable_project()
    if project is None:
        return Vocabulary()
    return Vocabulary(sorted(project.flag_names()), tuple(project.metrics))


def parse_since(text: str, now: float) -> float:
    """Return the moment that `2h`, `30m`, `3d`, `1w` or a local date (and time) means.

    Raises UsageError for anything else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)(?:\s*ago)?", text.strip())
    if match:
        return now - float(match[1]) * _UNITS_S[match[2]]
    for pattern in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"):
        try:
            return time.mktime(time.strptime(text.strip(), pattern))
        except (ValueError, OverflowError):
            continue
    raise UsageError(
        f"`{text}` is not a time", hint="write 30m, 2h, 3d, 2026-11-20 or 2026-11-20T17:45"
    )

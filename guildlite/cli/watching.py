"""`gl runs --watch`: the list of runs, kept up to date on the terminal."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence

from guildlite.cli.context import Context
from guildlite.cli.output import coloured, fit, for_terminal
from guildlite.cli.picking import Choice, Picked, open_index, pick_again
from guildlite.cli.screen import Screen, can_redraw
from guildlite.errors import GuildliteError, UsageError
from guildlite.index import Index
from guildlite.wording import format_count

#: How often it looks: durations and "5m ago" are right to the second.
LOOK_S = 1.0
#: Lines of the screen that are no runs: the head, an empty line, the foot.
_FRAME = 3
_QUIT = "qQ"

#: Makes the lines of the table: of these runs, for a terminal of so many columns.
Table = Callable[[Picked, int], list[str]]
#: Says why there is nothing to list.
Comment = Callable[[Picked], str]


def watch_runs(
    context: Context,
    choice: Choice,
    sort: str,
    limit: int | None,
    table: Table,
    comment: Comment,
) -> None:
    """Show the runs of a choice until `q` or Ctrl-C, then leave the last table on the terminal.

    As many as the window has lines for, at most `limit`. What goes wrong meanwhile is said at the
    foot, below the last table that could be made. Raises UsageError where nothing can be redrawn,
    and whatever is wrong with the choice, before the screen is taken.
    """
    if not can_redraw():
        raise UsageError(
            "`--watch` redraws a terminal, and stdout is none",
            hint="`gl runs` prints the list once, `gl runs --json` for programs",
        )
    live = _LiveTable(context, choice, sort, limit, table, comment)
    screen = Screen()
    live.look(*screen.size())
    for notice in live.notices:
        context.say(notice)
    try:
        with screen:
            while True:
                size = screen.size()
                live.look_again(*size)
                screen.draw(live.lines(*size), size)
                if any(key in _QUIT for key in screen.wait(LOOK_S)):
                    return
    finally:
        live.close()
        with contextlib.suppress(OSError):  # a terminal that has gone
            for line in live.table:
                context.write(line)


class _LiveTable:
    """The table and what is to be said below it; the index stays open from look to look."""

    def __init__(
        self,
        context: Context,
        choice: Choice,
        sort: str,
        limit: int | None,
        table: Table,
        comment: Comment,
    ) -> None:
        self._context, self._choice, self._sort, self._limit = context, choice, sort, limit
        self._table, self._comment = table, comment
        self._index: Index | None = None
        self.table: list[str] = []
        self.notices: Sequence[str] = ()
        self._foot = ""

    def close(self) -> None:
        """Close the index."""
        if self._index is not None:
            self._index.close()
            self._index = None

    def look(self, width: int, height: int) -> None:
        """Take in what has changed. Raises GuildliteError, OSError and sqlite3.Error."""
        if self._index is None:
            self._index = open_index(self._context, self._choice)
        fitting = max(1, height - _FRAME)
        picked = pick_again(
            self._context, self._index, self._choice,
            sort=self._sort, limit=min(fitting, self._limit or fitting),
        )  # fmt: skip
        self.table = self._table(picked, width)
        self.notices = picked.found.notices
        self._foot = self._about(picked)

    def look_again(self, width: int, height: int) -> None:
        """As `look`, but say at the foot what is wrong; the next look begins anew."""
        try:
            self.look(width, height)
        except (GuildliteError, OSError, sqlite3.Error) as error:
            self.close()
            text = error.message if isinstance(error, GuildliteError) else str(error)
            self._foot = f"looking again: {for_terminal(text)}"

    def lines(self, width: int, height: int) -> list[str]:
        """Return the lines of the screen."""
        foot = f"{time.strftime('%H:%M:%S')}  q ends  {self._foot}"
        # The table may be of an earlier look, at another size.
        above = [*self.table, ""] if self.table else []
        return [*above[: max(0, height - 1)], coloured(fit(foot, width), "dim")]

    def _about(self, picked: Picked) -> str:
        found = picked.found
        listed = len(found.rows)
        if not listed:
            return self._comment(picked)
        chosen = listed if found.total is None else found.total
        running = sum(row.record.status == "running" for row in found.rows)
        words = format_count(chosen, "run")
        if listed < chosen:
            words = f"{listed} of {words}"
        return f"{words}, {running} running" if running else words

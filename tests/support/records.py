"""An index filled from records, without a directory: for tests of questions alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from guildlite.index import RunRecord
from guildlite.index.fill import Filler
from guildlite.index.reading import Examined
from guildlite.index.record import LiveState, Reduced, Seen
from guildlite.index.schema import create_indexes, create_tables, prepare

T = TypeVar("T")


def record(number: int = 1, **given: Any) -> RunRecord:
    """Return the record of a completed run; what matters to a test is given."""
    plain: dict[str, Any] = {
        "id": f"20261120T1745{number:02d}Z-expert", "uid": f"uid-{number}", "project": "digits",
        "model": "expert", "operation": "train", "status": "completed", "status_note": None,
        "created": 1_795_196_700.0 + number, "started": 1_795_196_701.0 + number,
        "stopped": 1_795_196_765.0 + number, "duration": 64.0, "exit_code": 0,
        "exit_signal": None, "label": "", "note": "", "marked": False, "error": "", "flags": {},
        "attrs": {}, "series": {},
    }  # fmt: skip
    return RunRecord(**{**plain, **given})


def reduced(last: float | None, **given: Any) -> Reduced:
    """Return the summary of a series with this last value."""
    plain: dict[str, Any] = {
        "count": 3, "first": last, "last": last, "min": last, "max": last, "mean": last,
        "first_step": 0, "last_step": 2, "min_step": 0, "max_step": 0,
    }  # fmt: skip
    return Reduced(**{**plain, **given})


class Held:
    """What of an `Index` questions need, over records in memory. `live` have not ended."""

    root = "/runs"

    def __init__(self, records: Iterable[RunRecord], live: Mapping[str, LiveState] | None = None):
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        prepare(self.connection)
        create_tables(self.connection)
        live = live or {}
        Filler(self.connection).put(
            [Examined(each, Seen(0, 0, 0, 0, 0), each.id not in live) for each in records]
        )
        create_indexes(self.connection)
        for name, state in live.items():
            self.connection.execute(
                "INSERT INTO live SELECT id, ?, ?, ?, ?, ?, ?, ? FROM run WHERE name = ?",
                (*state, name),
            )

    def __del__(self) -> None:
        self.connection.close()  # Python 3.13 warns of those that are left to it

    def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        return question(self.connection)

"""A disposable index over the many runs of one runs root."""

from __future__ import annotations

from guildlite.index.index import Difference, Index, Progress, Settle
from guildlite.index.record import RunRecord, read_record

__all__ = ["Difference", "Index", "Progress", "RunRecord", "Settle", "read_record"]

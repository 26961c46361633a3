"""Contents of values, kept in memory for a while."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from guildlite.runs import Run, RunReader

if TYPE_CHECKING:
    from guildlite.runs.media import MediaItem
    from guildlite.tfevents import Content


class ContentCache:
    """Contents that pages and their images ask for again and again, up to `most_bytes` of them.

    An entry is found by file, place and checksum, so it is never another value's. Thread-safe.
    """

    def __init__(self, most_bytes: int = 160 * 1024 * 1024) -> None:
        self._most = most_bytes
        self._held = 0
        self._entries: OrderedDict[object, tuple[Content, int]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, run: Run, reader: RunReader, item: MediaItem) -> Content:
        """Return what a value holds; raises ContentLost, BadContent."""
        key = (run.path, item.path, item.reference, item.key, item.kind)
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
                return found[0]
        content = reader.content(item)
        # A record of several values is counted for each. Numbers take more as Python's.
        factor = 1 if item.kind in ("image", "audio", "graph") else 4
        cost = 200 + factor * item.reference.length
        with self._lock:
            if key not in self._entries and cost <= self._most:
                self._entries[key] = (content, cost)
                self._held += cost
            while self._held > self._most:
                _, (_, freed) = self._entries.popitem(last=False)
                self._held -= freed
        return content

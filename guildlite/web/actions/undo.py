"""What the last actions moved to the trash, so that one press brings all of it back.

A few runs fit into the address of the page that offers to; of thousands the viewer remembers the
ids for as long as it runs, under a word such as `@k3Jx`.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

_MARK = "@"
_KEPT = 50


class Undo:
    """Remembers the runs of the last actions; shared by all requests."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, ids: Iterable[str]) -> str:
        """Return a word that stands for all of `ids`."""
        word = f"{_MARK}{secrets.token_urlsafe(9)}"
        with self._lock:
            self._kept[word] = tuple(ids)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return word

    def expand(self, words: Iterable[str]) -> list[str]:
        """Return the ids that words name or stand for, each once; forgotten words name none."""
        found: dict[str, None] = {}
        with self._lock:
            for word in words:
                ids: Sequence[str] = self._kept.get(word, ()) if word[:1] == _MARK else (word,)
                found.update(dict.fromkeys(each for each in ids if each))
        return [*found]

"""Which runs a person means by some words."""

from __future__ import annotations

from collections.abc import Iterable

from guildlite.runs.run import Run


def mentions(run: Run, words: Iterable[str]) -> bool:
    """Return whether every word stands in the name, label or model of a run, in whatever case."""
    words = [word.casefold() for word in words]
    if not words:
        return True  # each of the three is a look into a file
    texts = [text.casefold() for text in (run.id, run.label, run.model)]
    return all(any(word in text for text in texts) for word in words)

"""Addresses of pages, files and series."""

from __future__ import annotations

import os
from urllib.parse import quote, urlencode

from guildlite.web import cards


def run_url(run_id: str) -> str:
    """Return the address of a run's overview."""
    return f"/runs/{quote(os.fsencode(run_id), safe='')}"


def file_url(run_id: str, path: str) -> str:
    """Return the address of a run's file."""
    return f"{run_url(run_id)}/files/{quote(os.fsencode(path))}"


def series_url(source: cards.Source) -> str:
    """Return the address of every point of a series, as JSON."""
    query = urlencode({"run": source.run, "tag": source.tag, "px": 20_000})
    return f"/api/v1/series?{query}"

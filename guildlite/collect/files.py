"""Where collectors look for the script's own files: below the run directory, beside gl's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from guildlite.runs.paths import OWN_DIR
from guildlite.tfevents import FileTree, Watch

#: Directories directly below the run directory that are not the script's.
SKIPPED_DIRS = frozenset({OWN_DIR})


def run_files(run_dir: Path, wanted: Callable[[str], bool], watch: Watch | None = None) -> FileTree:
    """Return the files of a run that `wanted` accepts, by name relative to the run directory."""
    return FileTree(run_dir, wanted, skip=SKIPPED_DIRS, watch=watch)


def series_key(path: str, name: str) -> str:
    """Return the key of a series found in the file `path`: its directory in the run, its name."""
    directory = path.rpartition("/")[0]
    return f"{directory}/{name}" if directory else name

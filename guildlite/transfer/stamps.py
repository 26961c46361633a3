"""What an import leaves in a run so that the next one knows the run and what is new for it.

`gl.d/import.json` holds where the run came from and how each event file looked when it was read:
a file that still has the same size and times has nothing new. It is written after the commit, so
that a crash between the two costs one more look and nothing else. Without it the run would be
imported anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from guildlite.runs.facts import read_fact
from guildlite.runs.paths import OWN_DIR, TRASH_DIR
from guildlite.transfer.grouping import EventFile

STAMP_FILE = "import.json"


class FileStamp(NamedTuple):
    """An event file as it was when it was last read; `digest` is of its first record."""

    size: int
    mtime_ns: int
    ctime_ns: int
    digest: str = ""

    def is_of(self, file: EventFile) -> bool:
        """Return whether the file has not been touched since."""
        return self[:3] == file[1:4]


@dataclass(slots=True)
class Stamp:
    """Where a run came from.

    `source` is the absolute directory of the run, `directories` (relative to it, "" is itself) are
    those whose event files it has, `files` are these by relative path. `started` and `ended` are
    seconds since the epoch, of the first and last event; `failed` tells that the script said so.
    """

    source: str
    copied: bool = False
    directories: list[str] = field(default_factory=list)
    files: dict[str, FileStamp] = field(default_factory=dict)
    started: float = 0.0
    ended: float = 0.0
    failed: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(slots=True)
class ImportedRun:
    """A run that was imported; `trashed` if it lies in the trash."""

    path: Path
    stamp: Stamp
    trashed: bool = False


def stamp_path(run_dir: Path) -> Path:
    """Return where the stamp of a run is."""
    return run_dir / OWN_DIR / STAMP_FILE


def iter_imported(root: Path) -> Iterator[ImportedRun]:
    """Yield the imported runs below a runs root, those in the trash too; never raises."""
    for folder, trashed in ((root, False), (root / TRASH_DIR, True)):
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        for name in names:
            if not name.startswith("."):
                stamp = _read_stamp(f"{folder}/{name}/{OWN_DIR}/{STAMP_FILE}")
                if stamp is not None:
                    yield ImportedRun(folder / name, stamp, trashed)


def _read_stamp(path: str) -> Stamp | None:
    data = read_fact(Path(path))
    if data is None:
        return None
    try:
        stamp = Stamp(**data)  # type: ignore[arg-type]
        stamp.files = {name: FileStamp(*values) for name, values in stamp.files.items()}
    except (TypeError, AttributeError, ValueError):
        return None
    return stamp

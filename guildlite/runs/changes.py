"""The list of changed runs beside the runs: what an index looks at before it looks at everything.

One name a line, appended to by whoever changes a run that may have ended: a label, a note, the
star, an evaluation, the seal, a move to the trash and back. Each line is one write, so writers need
no lock. The list only saves time: a change that is not in it is found by the hourly look at all
runs, and the list may be deleted.
"""

from __future__ import annotations

import os
from pathlib import Path

from guildlite.runs.paths import CHANGED_LIST, TRASH_DIR

#: What a list may grow to before it is begun anew; a new file makes readers look at all runs once.
_MOST_BYTES = 4 * 1024 * 1024


def note_change(run_dir: Path) -> None:
    """Say that a run has changed. Never raises: a read-only disk or a full one is no reason to."""
    root, name = run_dir.parent, run_dir.name
    if root.name == TRASH_DIR:
        root = root.parent
    if "\n" in name:
        return
    path = root / CHANGED_LIST
    try:
        descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644
        )
        try:
            os.write(descriptor, os.fsencode(name) + b"\n")
            full = os.fstat(descriptor).st_size > _MOST_BYTES
        finally:
            os.close(descriptor)
        if full:
            path.unlink()
    except OSError:
        pass

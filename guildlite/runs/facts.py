"""Small files of `meta/`: facts written once, and the three words that may change later.

A fact is a JSON object that appears whole or not at all: temporary file, fsync, hard link, so
that of two writers the first wins and no reader sees half of one. Label, note and mark are
replaced by rename.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from guildlite.platform import open_regular, sync_directory

#: A manifest with every flag at the kernel's limits stays below this; what is larger is not ours.
MAX_FACT_BYTES = 32 * 1024 * 1024


def write_fact(path: Path, fact: Mapping[str, object]) -> bool:
    """Write `fact` as `path` unless it is there; False when somebody was first. Raises OSError."""
    temporary = _write_temporary(path, json.dumps(fact, indent=1).encode())
    try:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:
            # File systems without hard links: the rename may replace a fact of the same instant.
            if path.exists():
                return False
            os.replace(temporary, path)
        sync_directory(path.parent)
        return True
    finally:
        _remove(temporary)


def read_fact(path: Path | str) -> dict[str, object] | None:
    """Return the fact in `path`, or None when it is not there or is no fact."""
    text = read_text(path)
    if text is None:
        return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def write_text(path: Path, text: str) -> None:
    """Replace the small file `path`; an empty text removes it. Raises OSError."""
    if not text:
        _remove(path)
        return
    os.replace(_write_temporary(path, text.encode("utf-8", "replace")), path)


def read_text(path: Path | str) -> str | None:
    """Return the text of a small file, or None when it cannot be read."""
    try:
        # Not a link or FIFO somebody left there: those could lead away or hang.
        with open_regular(path) as file:
            # Python makes room for as much as it is asked to read, 32 MB each time.
            size = min(MAX_FACT_BYTES, os.fstat(file.fileno()).st_size + 1)
            return (file.read(size) or b"").decode("utf-8", "replace")
    except (OSError, ValueError):
        return None


def _write_temporary(path: Path, data: bytes) -> Path:
    # Random, because threads of one viewer may write at once, and pids repeat across hosts.
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        _remove(temporary)
        raise
    return temporary


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        pass

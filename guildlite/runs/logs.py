"""The ends of logs, and errors.log: what gl had trouble with, a line each.

The script may put anything in the place of a log: a link or a FIFO of that name is neither read nor
written.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from guildlite.platform import open_regular
from guildlite.runs.paths import OperationPaths

#: What a reader of notices looks at: gl tells each fault once, so that there are few.
_NOTICES_BYTES = 64 * 1024


def read_tail(path: Path, size_bytes: int) -> bytes:
    """Return the last `size_bytes` of a log, which may begin inside a line; none without one."""
    try:
        with open_regular(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size_bytes))
            return file.read(size_bytes)
    except OSError:
        return b""


def append_notice(paths: OperationPaths, text: str) -> None:
    """Append a line to errors.log with the time, UTC; quietly nothing where it cannot be written.

    A run must not fail because its troubles cannot be told.
    """
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(paths.errors, flags, 0o644)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(f"{when} {text}\n")
    except OSError:
        pass


def read_notices(paths: OperationPaths, most: int = 50) -> list[str]:
    """Return the last lines of errors.log, empty ones left out."""
    lines = read_tail(paths.errors, _NOTICES_BYTES).decode("utf-8", "replace").splitlines()
    return [line for line in lines if line.strip()][-most:]

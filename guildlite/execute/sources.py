"""The source snapshot: the script's text as it was when the run started.

Only text that a person wrote: never data, weights, environments or other runs. Limits end it
with a notice, never with an error, because a run must not wait for a huge folder.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

#: What is taken when the project does not say: code, and configuration of modest size.
CODE = frozenset(
    [".py", ".pyx", ".pyi", ".sh", ".bash", ".r", ".jl", ".lua", ".c", ".h", ".cc", ".cpp", ".hpp",
     ".cu", ".cuh", ".rs", ".go", ".java", ".js", ".ts", ".sql", ".ipynb", ".md", ".rst", ".proto"]
)  # fmt: skip
CONFIGURATION = frozenset([".yml", ".yaml", ".toml", ".cfg", ".ini", ".json", ".txt", ".gin"])
MOST_FILES = 500
MOST_BYTES = 20 * 1024 * 1024
MOST_CODE_BYTES = 1024 * 1024
MOST_CONFIGURATION_BYTES = 128 * 1024
#: Directory entries looked at; past that the folder holds data.
MOST_ENTRIES = 20_000
_SKIPPED = frozenset(
    ["__pycache__", "node_modules", "site-packages", "venv", "env", "data", "datasets", "wandb",
     "mlruns", "build", "dist"]
)  # fmt: skip


class Snapshot(NamedTuple):
    """What was copied. `digest` names paths and contents together."""

    files: tuple[str, ...]
    digest: str
    notices: tuple[str, ...]


def copy_sources(
    directory: Path, target: Path | None, *, patterns: Sequence[str] | None, skip: Sequence[Path]
) -> Snapshot:
    """Copy the source files of `directory` to `target`, times kept; unreadable ones are left out.

    Without a target nothing is written and only the digest is taken.

    `patterns` are those of `sources:`, matched against the path relative to the project and the
    bare name; None takes code and small configuration. `skip` are directories never entered
    (the runs root).
    """
    digest = hashlib.sha256()
    files: list[str] = []
    notices: list[str] = []
    total = 0
    for relative, path, size in _candidates(directory, patterns, skip, notices):
        if len(files) >= MOST_FILES or total + size > MOST_BYTES:
            notices.append(
                f"the source snapshot ends at {len(files)} files, {total // 1024} KiB;"
                " name what matters in `sources:`"
            )
            break
        data = _read(path)
        if data is None:
            continue
        if target is not None:
            _write(target / relative, data, path)
        digest.update(f"{relative}\0{len(data)}\0".encode("utf-8", "surrogateescape"))
        digest.update(data)
        files.append(relative)
        total += len(data)
    return Snapshot(tuple(files), digest.hexdigest(), tuple(notices))


def _candidates(
    directory: Path, patterns: Sequence[str] | None, skip: Sequence[Path], notices: list[str]
) -> Iterator[tuple[str, Path, int]]:
    skipped = {os.path.realpath(path) for path in skip}
    looked_at = 0
    for folder, names, files in os.walk(directory):
        names[:] = sorted(name for name in names if _is_entered(folder, name, skipped))
        looked_at += len(names) + len(files)
        if looked_at > MOST_ENTRIES:
            notices.append(f"the source snapshot stopped looking after {MOST_ENTRIES} files")
            return
        for name in sorted(files):
            path = Path(folder, name)
            relative = path.relative_to(directory).as_posix()
            size = _wanted_size(path, relative, patterns)
            if size is not None:
                yield relative, path, size


def _is_entered(folder: str, name: str, skipped: set[str]) -> bool:
    path = os.path.join(folder, name)
    if name.startswith(".") or name in _SKIPPED or os.path.realpath(path) in skipped:
        return False
    return not os.path.exists(os.path.join(path, "pyvenv.cfg")) and not os.path.exists(
        os.path.join(path, "conda-meta")
    )


def _wanted_size(path: Path, relative: str, patterns: Sequence[str] | None) -> int | None:
    """Return the size of a file that belongs into the snapshot, else None."""
    suffix = path.suffix.lower()
    if patterns is None:
        most = MOST_CODE_BYTES if suffix in CODE else 0
        most = MOST_CONFIGURATION_BYTES if suffix in CONFIGURATION else most
    else:
        most = MOST_CODE_BYTES if _matches(relative, patterns) else 0
    if not most or path.name.startswith("."):
        return None
    try:
        stat = path.lstat()
    except OSError:
        return None
    is_file = (stat.st_mode & 0o170000) == 0o100000
    return stat.st_size if is_file and stat.st_size <= most else None


def _matches(relative: str, patterns: Sequence[str]) -> bool:
    name = relative.rpartition("/")[2]
    return any(
        fnmatch.fnmatch(relative, pattern) or fnmatch.fnmatch(name, pattern) for pattern in patterns
    )


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _write(target: Path, data: bytes, original: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    try:
        stat = original.stat()
        os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    except OSError:
        pass

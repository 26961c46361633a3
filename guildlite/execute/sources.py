"""The source snapshot: the script's text as it was when the run started.

Only text that a person wrote: never data, weights, environments or other runs. Limits end it
with a notice, never with an error, because a run must not wait for a huge folder.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from guildlite.platform import open_regular
from guildlite.runs.paths import OWN_DIR

if TYPE_CHECKING:
    from guildlite.project import Project
    from guildlite.runs.run import OperationRecord
    from guildlite.runs.sourcediff import SourceTree

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


#: What a virtual environment, a conda environment and a run have in them.
_MARKS_OF_FOREIGN = ("pyvenv.cfg", "conda-meta", OWN_DIR)


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
    unread: list[str] = []
    for relative, path, size in _candidates(directory, patterns, skip, notices):
        if len(files) >= MOST_FILES or total + size > MOST_BYTES:
            notices.append(
                f"the source snapshot ends at {len(files)} files, {total // 1024} KiB;"
                " name what matters in `sources:`"
            )
            break
        data = _read(path, size)
        if data is None:
            unread.append(relative)
            continue
        if target is not None:
            _write(target / relative, data, path)
        digest.update(f"{relative}\0{len(data)}\0".encode("utf-8", "surrogateescape"))
        digest.update(data)
        files.append(relative)
        total += len(data)
    if unread:
        notices.append(f"the source snapshot lacks what cannot be read: {_shown(unread)}")
    return Snapshot(tuple(files), digest.hexdigest(), tuple(notices))


def snapshot_patterns(project: Project | None, patterns: Sequence[str] | None, script: str | None
                      ) -> Sequence[str] | None:  # fmt: skip
    """Return the patterns by which an operation's sources are kept; None is code and settings.

    Without a project the folder may be anything, a home directory too: only the script.
    """
    if project is None:
        return [] if script is None else [script]
    return None if patterns is None else [*patterns, project.file.name]


def working_tree(
    project: Project | None, directory: Path, record: OperationRecord, kept: SourceTree
) -> SourceTree | None:
    """Return the source files of `directory` as a snapshot of the run's operation took them now.

    What a snapshot would not take is not in it, whatever the run's own directory says it kept. Of
    an operation that the project has not any more, and without a project, only files that the run
    kept too. None where the run was started in another folder.
    """
    from guildlite.runs.sourcediff import SourceTree, read_file

    if project is None and not _is_from(record, directory):
        return None
    model = project.models.get(record.model) if project is not None else None
    operation = model.operations.get(record.operation) if model is not None else None
    root, skip = (directory, []) if project is None else (project.dir, [project.runs_root])
    patterns = snapshot_patterns(project, operation.sources, None) if operation else None
    files: dict[str, int] = {}
    total = 0
    for relative, _, size in _candidates(root, patterns, skip, []):
        if operation is None and relative not in kept.files:
            continue
        total += size
        if len(files) >= MOST_FILES or total > MOST_BYTES:
            break
        files[relative] = size
    return SourceTree(files, lambda path: read_file(root / path))


def _is_from(record: OperationRecord, directory: Path) -> bool:
    where = record.manifest.get("directory")
    return isinstance(where, str) and os.path.realpath(where) == os.path.realpath(directory)


def _candidates(
    directory: Path, patterns: Sequence[str] | None, skip: Sequence[Path], notices: list[str]
) -> Iterator[tuple[str, Path, int]]:
    skipped = {os.path.realpath(path) for path in skip}
    looked_at = 0
    large: list[str] = []
    for folder, names, files in os.walk(directory):
        names[:] = sorted(name for name in names if _is_entered(folder, name, skipped))
        looked_at += len(names) + len(files)
        if looked_at > MOST_ENTRIES:
            notices.append(f"the source snapshot stopped looking after {MOST_ENTRIES} files")
            break
        for name in sorted(files):
            path = Path(folder, name)
            relative = path.relative_to(directory).as_posix()
            size, most = _wanted_size(path, relative, patterns)
            if size <= most:
                yield relative, path, size
            elif patterns is not None and most >= 0:
                large.append(relative)
    if large:
        notices.append(
            f"the source snapshot lacks files above {MOST_CODE_BYTES // 1024} KiB: {_shown(large)}"
        )


def _is_entered(folder: str, name: str, skipped: set[str]) -> bool:
    path = os.path.join(folder, name)
    if name.startswith(".") or name in _SKIPPED or os.path.realpath(path) in skipped:
        return False
    return not any(os.path.exists(os.path.join(path, mark)) for mark in _MARKS_OF_FOREIGN)


def _wanted_size(path: Path, relative: str, patterns: Sequence[str] | None) -> tuple[int, int]:
    """Return the size of a file and the most that the snapshot takes of its kind, -1 for none."""
    suffix = path.suffix.lower()
    if patterns is None:
        most = MOST_CODE_BYTES if suffix in CODE else -1
        most = MOST_CONFIGURATION_BYTES if suffix in CONFIGURATION else most
    else:
        most = MOST_CODE_BYTES if _matches(relative, patterns) else -1
    if most < 0 or path.name.startswith("."):
        return 0, -1
    try:
        found = path.lstat()
    except OSError:
        return 0, -1
    return (found.st_size, most) if stat.S_ISREG(found.st_mode) else (0, -1)


def _matches(relative: str, patterns: Sequence[str]) -> bool:
    name = relative.rpartition("/")[2]
    return any(
        fnmatch.fnmatch(relative, pattern) or fnmatch.fnmatch(name, pattern) for pattern in patterns
    )


def _read(path: Path, size: int) -> bytes | None:
    """Return the first `size` bytes of a file, which may have grown or gone since it was listed."""
    try:
        # It may also have become a link or a FIFO.
        with open_regular(path) as file:
            return file.read(size)
    except OSError:
        return None


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(f"`{name}`" for name in names[:3]) + more


def _write(target: Path, data: bytes, original: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    try:
        times = original.stat()
        os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
    except OSError:
        pass

"""Which model files on this machine were written by a run that was made here.

Some formats run code when they are loaded. A run that was copied from elsewhere cannot vouch for
its files, whatever it holds, so the digests of such files are noted outside of the run when its
operation ends. A file whose digest is still the same needs nobody's word to be loaded.

The notes are part of the cache: without them `gl serve` asks for `--trust`, and nothing is lost.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from guildlite.cache import cache_dir
from guildlite.runs.paths import OWN_DIR

#: Files whose loading can run code, and those that belong to them.
_FILES = re.compile(r".*\.(pt|pth|ts|pkl|pickle|joblib)|export\.(meta|index|data-[\w-]+)")
_SAVED_MODEL = "saved_model.pb"
#: Entries looked at, and bytes read at the end of an operation: about a second.
_MAX_ENTRIES = 20_000
_MAX_BYTES = 1024**3
_UID = re.compile(r"[0-9A-Za-z-]{8,64}")


def note_own_files(run_dir: Path, uid: str) -> None:
    """Note the digests of the run's files that can run code; raises OSError.

    What is larger than a gibibyte together is left out, largest first.
    """
    files = sorted(_iter_files(run_dir), key=lambda file: file.stat().st_size)
    digests: dict[str, str] = {}
    left = _MAX_BYTES
    for file in files:
        left -= file.stat().st_size
        if left < 0:
            break
        digests[file.relative_to(run_dir).as_posix()] = _digest(file)
    if not digests or not _UID.fullmatch(uid):
        return
    path = _note(uid)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = path.with_name(f".{os.getpid()}-{path.name}")
    unfinished.write_text(json.dumps(digests, indent=1))
    unfinished.replace(path)


def is_own_file(run_dir: Path, uid: str, path: Path) -> bool:
    """Say whether the model at `path` is, byte for byte, what the run `uid` wrote here.

    A model of several files is its own only when all of them are.
    """
    try:
        if not _UID.fullmatch(uid):
            return False
        digests = json.loads(_note(uid).read_bytes())
        root = run_dir.resolve()
        return all(
            digests.get(file.resolve().relative_to(root).as_posix()) == _digest(file)
            for file in _parts(path)
        )
    except (OSError, ValueError, AttributeError):
        return False


def _note(uid: str) -> Path:
    return cache_dir() / "own" / f"{uid}.json"


def _parts(path: Path) -> list[Path]:
    """Return the files that loading `path` reads."""
    if path.name == _SAVED_MODEL:
        return [file for file in path.parent.rglob("*") if not file.is_dir()]
    if path.name == "export.meta":
        return [file for file in path.parent.glob("export.*") if _FILES.fullmatch(file.name)]
    return [path]


def _iter_files(run_dir: Path) -> Iterator[Path]:
    seen = 0
    for folder, folders, names in os.walk(run_dir):
        if folder == os.fspath(run_dir):
            folders[:] = [name for name in folders if name != OWN_DIR]
        inside = any(
            (parent / _SAVED_MODEL).exists()
            for parent in (Path(folder), Path(folder).parent)
            if parent.is_relative_to(run_dir)
        )
        for name in names:
            seen += 1
            if seen > _MAX_ENTRIES:
                return
            path = Path(folder, name)
            wanted = inside or _FILES.fullmatch(name.lower())
            if wanted and stat.S_ISREG(path.lstat().st_mode):
                yield path


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1024 * 1024):
            digest.update(block)
    return digest.hexdigest()

"""Flags read from scripts, kept by file times: parsing 2,000 lines takes 100 ms, a stat nothing.

A cache like the project's: it may be damaged, unwritable or deleted at any time.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from guildlite import __version__
from guildlite.flags import Flag
from guildlite.platform import cache_dir

#: A file younger than this may change again within one tick of its clock.
_SETTLED_S = 2.0


class KnownFlags(NamedTuple):
    """The part of `ScriptFlags` that a launch needs."""

    flags: Mapping[str, Flag]
    aliases: Mapping[str, str]
    accepts_unknown: bool


def read_cached_flags(script: Path, arguments: Sequence[str]) -> KnownFlags:
    """Return the flags a script's source shows, from the cache when no file changed."""
    name = "\0".join((os.path.abspath(script), *arguments))
    path = _cache_file(name)
    kept = _read(path, name)
    if kept is not None:
        return kept
    from guildlite.scriptflags import read_script_flags

    found = read_script_flags(script, subcommand=arguments)
    known = KnownFlags(found.flags, found.aliases, found.accepts_unknown)
    _write(path, name, known, found.files)
    return known


def _cache_file(name: str) -> Path:
    return cache_dir() / "scripts" / f"{zlib.crc32(name.encode('utf-8', 'replace')):08x}.json"


def _identify(path: str) -> list[Any]:
    stat = os.stat(path)
    return [path, stat.st_mtime_ns, stat.st_size, stat.st_ino]


def _read(path: Path, name: str) -> KnownFlags | None:
    try:
        data = json.loads(path.read_bytes())
        # The name too: two scripts may share a checksum.
        if data["version"] != __version__ or data["name"] != name or not data["files"]:
            return None
        if any(_identify(identity[0]) != identity for identity in data["files"]):
            return None
        flags = {name: _flag(fields) for name, fields in data["flags"].items()}
        return KnownFlags(flags, data["aliases"], data["accepts_unknown"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _flag(fields: dict[str, Any]) -> Flag:
    if fields.get("choices") is not None:
        fields["choices"] = tuple(fields["choices"])
    return Flag(**fields)


def _write(path: Path, name: str, known: KnownFlags, files: Sequence[Path]) -> None:
    try:
        identities = [_identify(os.path.abspath(file)) for file in files]
        newest = max(identity[1] for identity in identities) / 1e9
        if time.time() - newest < _SETTLED_S:
            return
        data = {
            "version": __version__,
            "name": name,
            "files": identities,
            "flags": {name: _fields(flag) for name, flag in known.flags.items()},
            "aliases": dict(known.aliases),
            "accepts_unknown": known.accepts_unknown,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(data), encoding="utf-8")
        os.replace(temporary, path)
    except (OSError, ValueError, TypeError):
        pass


def _fields(flag: Flag) -> dict[str, Any]:
    return flag._asdict()

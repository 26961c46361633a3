"""Flags read from scripts, kept by file times: parsing 2,000 lines takes 100 ms, a stat nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from guildlite import __version__
from guildlite.cache import CacheFile, file_stamp, is_settled
from guildlite.flags import Flag


class KnownFlags(NamedTuple):
    """The part of `ScriptFlags` that a launch needs."""

    flags: Mapping[str, Flag]
    aliases: Mapping[str, str]
    accepts_unknown: bool


def read_cached_flags(script: Path, arguments: Sequence[str]) -> KnownFlags:
    """Return the flags a script's source shows, from the cache when no file changed."""
    kept = CacheFile("scripts", "\0".join((os.path.abspath(script), *arguments)))
    known = _known(kept.read(__version__))
    if known is not None:
        return known
    from guildlite.scriptflags import read_script_flags

    found = read_script_flags(script, subcommand=arguments)
    known = KnownFlags(found.flags, found.aliases, found.accepts_unknown)
    stamps = {os.path.abspath(file): file_stamp(file) for file in found.files}
    if all(stamp is not None and is_settled(stamp) for stamp in stamps.values()):
        flags = {name: flag._asdict() for name, flag in known.flags.items()}
        kept.write([stamps, [flags, known.aliases, known.accepts_unknown]], __version__)
    return known


def _known(value: Any) -> KnownFlags | None:
    """Return the flags in a kept value whose files are still as they were."""
    try:
        stamps, (flags, aliases, accepts_unknown) = value
        if not stamps or any(file_stamp(path) != stamp for path, stamp in stamps.items()):
            return None
        return KnownFlags(
            {name: _flag(fields) for name, fields in flags.items()}, aliases, accepts_unknown
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _flag(fields: dict[str, Any]) -> Flag:
    if fields.get("choices") is not None:
        fields["choices"] = tuple(fields["choices"])
    return Flag(**fields)

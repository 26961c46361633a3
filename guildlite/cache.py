"""The user's cache directory: what was worked out once and can be worked out again.

Everything kept here may be damaged, unwritable or deleted at any time; then there is merely nothing
kept. Files are their owner's alone, and one that belongs to another user is not believed.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from pathlib import Path
from typing import Any

from guildlite.platform import open_regular

# A file changed twice within one tick of its clock has the same time before and after. As in git's
# index, a time is believed only once it is well in the past; file systems tick in up to 2 s (FAT).
_RACY_NS = 2_000_000_000


def cache_dir() -> Path:
    """Return the user's cache directory for guildlite; it may not exist yet."""
    own = os.environ.get("GUILDLITE_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "guildlite"


class CacheFile:
    """One value, anything JSON holds, kept for `name` in the folder `kind` of the cache.

    `root` stands in for the user's cache directory.
    """

    def __init__(self, kind: str, name: str, *, root: Path | None = None) -> None:
        self._name = name
        # The name itself stands inside; two names of one checksum merely take turns.
        checksum = zlib.crc32(name.encode("utf-8", "surrogatepass"))
        self.path = (root or cache_dir()) / kind / f"{checksum:08x}.json"

    def read(self, stamp: object = None) -> Any:
        """Return the value kept with an equal `stamp`, None when there is none."""
        try:
            with open_regular(self.path) as file:
                if hasattr(os, "getuid") and os.fstat(file.fileno()).st_uid != os.getuid():
                    return None
                head, checksum, body = file.read().split(b"\n", 2)
            if head != self._head(stamp) or int(checksum) != zlib.crc32(body):
                return None
            return json.loads(body)
        except (OSError, ValueError, RecursionError):
            return None

    def write(self, value: object, stamp: object = None) -> None:
        """Keep a value until its `stamp` is another; quietly nothing where that is not possible."""
        temporary = self.path.with_suffix(f".{os.urandom(6).hex()}")
        try:
            body = json.dumps(value).encode()
            data = b"\n".join((self._head(stamp), b"%d" % zlib.crc32(body), body))
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Private before anything is in it.
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            os.replace(temporary, self.path)
        except (ValueError, TypeError):
            pass  # JSON does not hold it
        except OSError:
            _remove(temporary)

    def remove(self) -> None:
        """Forget the value."""
        _remove(self.path)

    def _head(self, stamp: object) -> bytes:
        return json.dumps([self._name, stamp]).encode()


def file_stamp(path: str | os.PathLike[str]) -> list[int] | None:
    """Return what changes when a file does, None for one that cannot be looked at."""
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return None
    return [facts.st_mtime_ns, facts.st_size, facts.st_ino]


def is_settled(stamp: list[int]) -> bool:
    """Return whether a file's next change is certain to change its stamp."""
    return time.time_ns() - stamp[0] >= _RACY_NS


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        pass

"""Embeddings: what every `projector_config.pbtxt` of a run lists, also when it is rewritten."""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from guildlite.collect.files import SKIPPED_DIRS, series_key
from guildlite.series import Cursor, EmbeddingSeen, FileSeen, Reading
from guildlite.tfevents import BadContent, FileTree, FoundFile, open_regular
from guildlite.tfevents.contents import PROJECTOR_CONFIG, Embedding, parse_projector_config
from guildlite.tfevents.tree import unescape_name

KIND = "projector"
#: Seconds between two looks: nobody waits for an embedding as for a loss.
LOOK_S = 1.0
#: Longer configurations are not believed.
_MOST_BYTES = 1 << 20
#: Files whose change is noticed; of more only when their configuration changes.
_MOST_WATCHED = 1_000


class Projectors:
    """Finds configurations below `root`; goes on from cursors of kind `projector`.

    Which embeddings there are, with which files, is given again as soon as a configuration or a
    file it names differs from what the cursor says. A configuration that is half written is left
    for later; one that was deleted lists no embeddings any more. `wanted` tells by a directory's
    name whether to read there.
    """

    def __init__(
        self, root: Path, cursors: Iterable[Cursor], wanted: Callable[[str], bool]
    ) -> None:
        self._root = os.path.abspath(root)
        self._tree = FileTree(root, lambda name: _is_config(name, wanted), skip=SKIPPED_DIRS)
        self._seen = {
            each.path: each.state.get("seen")
            for each in cursors
            if each.kind == KIND and _is_config(each.path, wanted)
        }
        self._configs: dict[str, _Config] = {}
        self._bad: dict[str, str] = {}
        self._said: set[str] = set()
        self._next_look = 0.0

    def sample(self, final: bool = False) -> Iterator[Reading]:
        """Yield a reading for each configuration that is new or says something new."""
        now = time.monotonic()
        if now < self._next_look and not final:
            return
        self._next_look = now + LOOK_S
        for found in self._tree.changed(everything=final):
            self._read(found)
            self._tree.done(found)
        self._tree.notices = []  # the event files say the same
        yield from self._deleted()
        watched = sum(len(config.embeddings) for config in self._configs.values())
        for config in self._configs.values():
            if config.is_new or final or watched <= _MOST_WATCHED:
                yield from self._reading(config)
        if final:
            yield from self._complaints()

    def _read(self, found: FoundFile) -> None:
        try:
            with open_regular(found.path) as file:
                text = (file.read(_MOST_BYTES) or b"").decode()
                modified = round(os.fstat(file.fileno()).st_mtime * 1000)
            self._configs[found.name] = _Config(found.name, text, modified)
        except (OSError, UnicodeDecodeError, BadContent) as error:
            self._bad[found.name] = str(error)
        else:
            self._bad.pop(found.name, None)

    def _deleted(self) -> Iterator[Reading]:
        """Yield a reading without embeddings for each configuration that is gone."""
        for path in [path for path, seen in self._seen.items() if seen is not None]:
            if is_deleted(self._root, path):
                self._configs.pop(path, None)
                self._seen[path] = None
                yield Reading(Cursor(path, KIND, "", 0, {}), embeddings=[])

    def _status(self, name: str) -> os.stat_result | None:
        """Return the status of what has that name below the root, None if nothing has."""
        for each in dict.fromkeys((name, unescape_name(name))):
            try:
                return os.stat(os.path.join(self._root, each), follow_symlinks=False)
            except (OSError, ValueError):
                continue
        return None

    def _reading(self, config: _Config) -> Iterator[Reading]:
        config.is_new = False
        directory = posixpath.dirname(config.path)
        notices: list[str] = []
        embeddings = [self._embedding(config, directory, each) for each in config.embeddings]
        for each in config.embeddings:
            for path in _paths(each):
                if path and self._below_root(directory, path) is None:
                    notices += self._once(
                        f"`{config.path}` names `{path}`, which is not in the run and not read"
                    )
        seen = hashlib.blake2b(repr(embeddings).encode(), digest_size=16).hexdigest()
        if seen != self._seen.get(config.path):
            self._seen[config.path] = seen
            cursor = Cursor(config.path, KIND, "", config.size, {"seen": seen})
            yield Reading(cursor, embeddings=embeddings, notices=notices)

    def _embedding(self, config: _Config, directory: str, each: Embedding) -> EmbeddingSeen:
        tensor, labels, sprite, bookmarks = (self._file(directory, path) for path in _paths(each))
        key = series_key(config.path, each.name or "embedding")
        return EmbeddingSeen(
            key, each.name, tensor, labels, sprite, bookmarks,
            each.shape, each.sprite_size, config.modified,
        )  # fmt: skip

    def _file(self, directory: str, path: str) -> FileSeen | None:
        name = self._below_root(directory, path) if path else None
        if name is None:
            return None
        status = self._status(name)
        if status is None or not stat.S_ISREG(status.st_mode):
            return None
        return FileSeen(name, status.st_size, round(status.st_mtime * 1000))

    def _below_root(self, directory: str, path: str) -> str | None:
        """Return a path that a configuration in `directory` names, relative to the root."""
        if os.path.isabs(path):
            path = os.path.relpath(path, self._root)
            directory = ""
        name = posixpath.normpath(posixpath.join(directory, path))
        return None if name == ".." or name.startswith("../") or name == "." else name

    def _complaints(self) -> Iterator[Reading]:
        notices = []
        for path, reason in self._bad.items():
            notices += self._once(f"`{path}` cannot be read: {reason}")
        if notices:
            yield Reading(notices=notices)

    def _once(self, notice: str) -> list[str]:
        if notice in self._said:
            return []
        self._said.add(notice)
        return [notice]


def is_deleted(root: str | Path, name: str) -> bool:
    """Tell whether a configuration is gone from `root`.

    It is not known to be while the root itself is missing, as of a disk that comes back, or when
    the system would not say.
    """
    for each in dict.fromkeys((name, unescape_name(name))):
        try:
            os.lstat(os.path.join(root, each))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError):
            pass
        return False
    return os.path.isdir(root)


class _Config:
    """A configuration as it was read; raises `BadContent`."""

    def __init__(self, path: str, text: str, modified: int) -> None:
        self.path, self.size, self.modified = path, len(text.encode()), modified
        self.embeddings = parse_projector_config(text)
        self.is_new = True


def _is_config(name: str, wanted: Callable[[str], bool]) -> bool:
    directory, _, base = name.rpartition("/")
    return base == PROJECTOR_CONFIG and wanted(directory)


def _paths(each: Embedding) -> tuple[str, str, str, str]:
    return each.tensor_path, each.metadata_path, each.sprite_path, each.bookmarks_path

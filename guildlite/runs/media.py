"""What a run.db says of values that are no scalars, and the way to their bytes.

Images, audio, text, histograms and the rest stay in the script's own files; run.db knows where.
`RunReader` answers with the types below; `FilesRoot` opens the files, and only those below the run.
"""

from __future__ import annotations

import os
import stat
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from guildlite.series import FileSeen
from guildlite.tfevents import ContentLost, Reference
from guildlite.tfevents.tree import unescape_name

#: The attribute that says where the files of a run are that was imported by reference.
LOGDIR_ATTR = "logdir"


class MediaSeries(NamedTuple):
    """A series that is no scalar. Moments in ms; texts are empty where nothing was stated."""

    key: str
    kind: str
    count: int  # type: ignore[assignment]  # the tuple method of that name is not missed
    first_step: int | None
    last_step: int | None
    first_time: int | None
    last_time: int | None
    segments: int
    plugin: str
    display_name: str
    description: str


class MediaItem(NamedTuple):
    """One value of such a series: what it is, and where it lies.

    `seq` counts the values of the series from 0; `path` is relative to the root of the run's files.
    """

    key: str
    kind: str
    seq: int
    step: int
    time: int | None
    segment: int
    path: str
    reference: Reference


class HParamSession(NamedTuple):
    """A trial as an event file tells of it; `session` is the file's directory in the run."""

    session: str
    group: str | None
    status: str | None
    started: int | None
    ended: int | None
    values: dict[str, float | str | bool]


class EmbeddingRow(NamedTuple):
    """An embedding and its files; `config` is the projector_config.pbtxt that lists it."""

    key: str
    name: str
    config: str
    tensor: FileSeen | None
    metadata: FileSeen | None
    sprite: FileSeen | None
    bookmarks: FileSeen | None
    shape: tuple[int, ...]
    sprite_size: tuple[int, ...]


class SourceRow(NamedTuple):
    """A file that was read, and how far; see `series.Cursor`."""

    id: int
    path: str
    kind: str
    digest: str
    offset: int
    state: dict[str, object]
    error: str | None


def logdir_path(text: str) -> Path:
    """Return the directory that the attribute names.

    Bytes of its name that are not UTF-8 stand there as `\\xNN`.
    """
    return Path(text if os.path.lexists(text) else unescape_name(text))


class FilesRoot:
    """The directory that a run's files are in. Nothing outside it is ever opened.

    The root itself may be a symbolic link; below it none is followed, so that a run from elsewhere
    cannot show this machine's files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, name: str) -> FileIO:
        """Open a regular file by its name below the root, for reading; raise `ContentLost`."""
        parts = name.split("/")
        if not all(part not in ("", ".", "..") for part in parts):
            raise ContentLost(f"`{name}` is not a file of the run")
        try:
            return _open_below(self.path, parts)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ContentLost(f"`{name}` cannot be opened: {reason}") from error


_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


def _open_below(root: Path, parts: list[str]) -> FileIO:
    directory = os.open(root, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        for part in parts[:-1]:
            below = _open_entry(part, directory, getattr(os, "O_DIRECTORY", 0))
            os.close(directory)
            directory = below
        descriptor = _open_entry(parts[-1], directory, getattr(os, "O_NONBLOCK", 0))
    finally:
        os.close(directory)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(22, "not a regular file")
        return FileIO(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _open_entry(name: str, directory: int, flags: int) -> int:
    try:
        return os.open(name, _FLAGS | flags, dir_fd=directory)
    except FileNotFoundError:
        if "\\x" not in name:
            raise
    # Bytes that are not UTF-8 stand in names as `\xNN`, see `tfevents.FoundFile`.
    return os.open(unescape_name(name), _FLAGS | flags, dir_fd=directory)

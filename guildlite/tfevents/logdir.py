"""Follows the event files below a directory: what is new since the last look, and from where.

A file is its path plus a digest of its first record, never an inode: a copied log directory
continues, and a file replaced under the same name is another file. A file is open only while it
is read. What cannot be read costs at most the rest of that one file.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from guildlite.tfevents.columns import Batch, Columns, Reference, StoredValue
from guildlite.tfevents.event import ScalarValue
from guildlite.tfevents.plain import read_plainly
from guildlite.tfevents.record import (
    FOOTER_BYTES,
    HEADER_BYTES,
    BadFraming,
    RecordReader,
    frame,
    payload_size,
)
from guildlite.tfevents.templates import TemplateDecoder
from guildlite.tfevents.tree import FileTree, FoundFile, Watch, open_regular

if TYPE_CHECKING:
    from guildlite.tfevents.blocks import BlockDecoder

#: Most points in one chunk, so that whoever commits chunks commits little at a time.
MOST_POINTS = 20_000
#: Most bytes read for one chunk, so that a file of images moves its cursor now and then.
MOST_BYTES = 32 << 20
#: With this much to read, some 20,000 scalars, NumPy is worth its import of 0.1 s and 20 MB.
CATCH_UP_BYTES = 1 << 20
#: Bytes decoded at once when catching up: some 20,000 scalars. Larger blocks gained no speed, and
#: took 12 MB more for each MiB in what is read for one commit.
BLOCK_BYTES = 1 << 20
#: Kinds that cannot be read without their tag's plugin data.
_KINDS_WITH_METADATA = ("mesh", "other")
#: With fewer records in a block, they are images and the like.
_LEAST_BLOCK_RECORDS = 2000
#: Where NumPy has been imported already, blocks are faster from so little on: 1,000 files of 1,000
#: scalars take 1.2 s instead of 4.1 s.
_LOADED_BYTES, _LOADED_BLOCK_RECORDS = 10 << 10, 200
#: Of a longer first record this much is digested. In practice it has some forty bytes.
_DIGEST_BYTES = 64 << 10


@dataclass(slots=True)
class Cursor:
    """How far one event file has been read.

    `path` is relative to the log directory, `/` between parts. `digest` names the first record.
    `offset` is the byte after the last record taken. `error` says what damage ended the file.
    `state` holds JSON-able values, each there only when it says something: `plugins` (plugin to
    its tags, from values that stated it), `metadata` (tag to where its plugin data was first
    stated, a `Reference`), `skipped` (damaged records), `other` (kind to the number of values that
    are not scalars), `shrunk` (the file is shorter than `offset`).
    """

    path: str
    digest: str = ""
    offset: int = 0
    state: dict[str, object] = field(default_factory=dict)
    error: str | None = None


@dataclass(slots=True)
class Chunk:
    """A stretch of one file, and where the file stands behind it.

    `columns` maps tag to its scalars in the order written, the tags in order of their first
    appearance. `others` are the values that are not scalars, by reference, in file order. `notices`
    are for people. `restart` is the step at which a session began before the first of these values:
    what the file held of that step and later is written anew from here on.
    """

    cursor: Cursor
    columns: dict[str, Columns] = field(default_factory=dict)
    others: list[StoredValue] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    restart: int | None = None

    @property
    def scalars(self) -> Iterator[ScalarValue]:
        """The scalars one by one: tag by tag, each in the order written."""
        for tag, columns in self.columns.items():
            for step, wall_time, value in columns:
                yield ScalarValue(tag, step, wall_time, value)


def is_event_file(name: str) -> bool:
    """Tell whether a path names an event file, the way TensorBoard tells."""
    return "tfevents" in name.rpartition("/")[2]


class LogDir:
    """The event files below `root`, symbolic links excepted.

    `cursors` are those of earlier chunks; of several for one file the furthest counts. `skip`
    names directories directly below the root to leave out. `wanted` tells by a file's name,
    relative to the root, whether it is read. `watch` tells what changed, where files would be
    polled otherwise. For one thread.
    """

    def __init__(
        self,
        root: Path | str,
        cursors: Iterable[Cursor] = (),
        *,
        skip: Collection[str] = (),
        wanted: Callable[[str], bool] = is_event_file,
        watch: Watch | None = None,
    ) -> None:
        self._tree = FileTree(root, wanted, skip=skip, watch=watch)
        self._files: dict[tuple[str, str], _EventFile] = {}
        self._unreadable: set[str] = set()
        self._notices: list[str] = []
        for cursor in sorted(cursors, key=lambda cursor: cursor.offset):
            self._files[cursor.path, cursor.digest] = _EventFile(cursor)

    def look(self, *, everything: bool = False) -> Iterator[Chunk]:
        """Yield what was written since the last look, file by file.

        Lazily and in bounded chunks; a caller may stop between two and look again later. With
        `everything`, files that have long been quiet are visited too instead of in turns. Never
        raises for what a file or directory holds.
        """
        for found in self._tree.changed(everything=everything):
            try:
                with open_regular(found.path) as file:
                    yield from self._read(found, file)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._notice_unreadable(found.name, error)
            else:
                self._tree.done(found)

    def take_notices(self) -> list[str]:
        """Return what is to be said of files that gave no chunk, each once."""
        notices = self._tree.notices + self._notices
        self._tree.notices, self._notices = [], []
        return notices

    def _read(self, found: FoundFile, file: FileIO) -> Iterator[Chunk]:
        digest = first_record_digest(file)
        if digest is None:
            return
        key = (found.name, digest)
        if key not in self._files:
            self._files[key] = _EventFile(Cursor(found.name, digest))
        yield from self._files[key].read(file)

    def _notice_unreadable(self, name: str, error: OSError) -> None:
        if name not in self._unreadable:
            self._unreadable.add(name)
            self._notices.append(f"`{name}` cannot be read: {error.strerror or error}")


def first_record_digest(file: FileIO) -> str | None:
    """Return a name for the file's first record, or None while that is not complete."""
    size = os.fstat(file.fileno()).st_size
    if size < HEADER_BYTES:
        return None
    header = os.pread(file.fileno(), HEADER_BYTES, 0)
    try:
        length = HEADER_BYTES + payload_size(header) + FOOTER_BYTES
    except BadFraming:
        length = HEADER_BYTES
    if size < length:
        return None
    record = os.pread(file.fileno(), min(length, _DIGEST_BYTES), 0)
    return hashlib.blake2b(record, digest_size=16).hexdigest()


class _EventFile:
    """One file: its cursor while it is being read, with the decoder's memory kept alive."""

    def __init__(self, cursor: Cursor) -> None:
        self._path, self._digest = cursor.path, cursor.digest
        self._offset, self._error = cursor.offset, cursor.error
        state = _State.parse(cursor.state)
        self._decoder = TemplateDecoder(state.plugins)
        self._blocks: BlockDecoder | None = None
        self._skipped, self._others, self._shrunk = state.skipped, state.others, state.shrunk
        self._metadata = state.metadata
        #: The tags of each plugin, as of so many tags.
        self._tags: dict[str, list[str]] = {}
        self._grouped = 0
        #: Sessions begin so close to each other that blocks gain nothing before this offset.
        self._plain_until = 0

    def read(self, file: FileIO) -> Iterator[Chunk]:
        """Yield the records that are complete now; what is appended meanwhile is for next time."""
        if self._error is not None:
            return
        size = os.fstat(file.fileno()).st_size
        if size < self._offset:
            if not self._shrunk:
                self._shrunk = True
                notice = f"`{self._path}` is shorter than what was read of it"
                yield Chunk(self._cursor(), notices=[notice])
            return
        self._shrunk = False
        reader = RecordReader(file, self._offset)
        while self._error is None and reader.offset < size:
            batch = self._read_block(file, size)
            if batch is None:
                reader.skip_to(self._offset)
                end = min(size, self._offset + MOST_BYTES)
                batch = read_plainly(reader, self._decoder, end, MOST_POINTS)
                if reader.offset == self._offset and batch.framing is None:
                    return
                self._offset = reader.offset
            yield self._chunk(batch)

    def _read_block(self, file: FileIO, size: int) -> Batch | None:
        """Read many records at once if there are many, else return None."""
        loaded = sys.modules.get("numpy") is not None
        if self._blocks is None and size - self._offset < (
            _LOADED_BYTES if loaded else CATCH_UP_BYTES
        ):
            return None
        if self._offset < self._plain_until:
            return None
        block = os.pread(file.fileno(), min(BLOCK_BYTES, size - self._offset), self._offset)
        starts = frame(block)
        if len(starts) <= (_LOADED_BLOCK_RECORDS if loaded else _LEAST_BLOCK_RECORDS):
            return None
        if self._blocks is None:
            try:
                from guildlite.tfevents.blocks import BlockDecoder
            except ImportError:  # no NumPy, or one that does not fit this interpreter
                self._plain_until = size
                return None
            self._blocks = BlockDecoder(self._decoder)
        start = self._offset
        batch, self._offset = self._blocks.decode(block, start, starts)
        if self._offset - start < starts[-1] // 8:
            self._plain_until = start + starts[-1]
        return batch

    def _chunk(self, batch: Batch) -> Chunk:
        notices = []
        if batch.damage is not None and not self._skipped:
            offset, reason = batch.damage
            notices.append(
                f"`{self._path}` has a damaged record at byte {offset}, which was skipped: {reason}"
            )
        if batch.framing is not None:
            self._error = batch.framing.message
            notices.append(f"`{self._path}` is {self._error}; the rest was not read")
        self._skipped += batch.skipped
        others = [self._with_metadata(value) for value in batch.others]
        self._others.update(value.kind for value in others)
        return Chunk(self._cursor(), batch.columns, others, notices, batch.restart)

    def _with_metadata(self, value: StoredValue) -> StoredValue:
        """Return a value that knows where its tag's plugin data was stated."""
        if value.kind not in _KINDS_WITH_METADATA:
            return value
        if value.states:
            self._metadata.setdefault(value.tag, value.reference)
            return value
        return value._replace(metadata=self._metadata.get(value.tag))

    def _cursor(self) -> Cursor:
        plugins = self._decoder.plugins
        if len(plugins) != self._grouped:  # it only grows; there may be a hundred thousand
            self._grouped, self._tags = len(plugins), _by_plugin(plugins)
        state = _State(plugins, self._metadata, self._skipped, self._others, self._shrunk).to_json(
            self._tags
        )
        return Cursor(self._path, self._digest, self._offset, state, self._error)


@dataclass(slots=True)
class _State:
    """`Cursor.state` as typed values."""

    plugins: dict[str, str]
    metadata: dict[str, Reference]
    skipped: int
    others: Counter[str]
    shrunk: bool

    @classmethod
    def parse(cls, state: dict[str, object]) -> _State:
        plugins, others, skipped = state.get("plugins"), state.get("other"), state.get("skipped")
        metadata = state.get("metadata")
        return cls(
            {tag: plugin for plugin, tags in plugins.items() for tag in tags}
            if isinstance(plugins, dict)
            else {},
            {tag: Reference(*place) for tag, place in metadata.items()}
            if isinstance(metadata, dict)
            else {},
            skipped if isinstance(skipped, int) else 0,
            Counter(others if isinstance(others, dict) else {}),
            bool(state.get("shrunk")),
        )

    def to_json(self, tags: dict[str, list[str]]) -> dict[str, object]:
        """Return the state; `tags` is `plugins` the other way round."""
        state = {
            "plugins": tags,
            "metadata": {tag: list(place) for tag, place in self.metadata.items()},
            "skipped": self.skipped,
            "other": dict(self.others),
            "shrunk": self.shrunk,
        }
        return {name: value for name, value in state.items() if value}


def _by_plugin(plugins: dict[str, str]) -> dict[str, list[str]]:
    tags: dict[str, list[str]] = {}
    for tag, plugin in plugins.items():
        tags.setdefault(plugin, []).append(tag)
    return tags

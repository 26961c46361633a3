"""Which directories of a log directory are one run.

To TensorBoard every directory with an event file is a run. Writers open further directories for
reasons of their own, and `group` puts those back:

- `train` and `validation` of Keras' callback, and their like, belong to the directory they are in;
- what `add_scalars` of PyTorch and tensorboardX made (`DIR/TAG_name` or `DIR/TAG/name`, holding
  the tag TAG and no other) belongs to DIR;
- directories below one that states hparams belong to it, as TensorBoard's HParams has it;
- the one directory in which `add_hparams` stated the hparams of its parent belongs to that.

Directories are named by absolute paths.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import NamedTuple

from guildlite.runs.paths import OWN_DIR, TRASH_DIR
from guildlite.tfevents import (
    BadFraming,
    BadPayload,
    EventDecoder,
    OtherValue,
    RecordReader,
    ScalarValue,
    UnreadableEvent,
    open_regular,
)
from guildlite.tfevents.contents import PROJECTOR_CONFIG
from guildlite.tfevents.logdir import is_event_file

#: Directories that writers open beside each other for the parts of one training.
PHASES = frozenset(
    ["train", "training", "validation", "valid", "val", "test", "eval", "evaluation"]
)
#: Records of a file that tell what its directory is: writers state hparams at the start, and what
#: `add_scalars` writes is the same from the first value to the last.
_PEEKED_RECORDS = 200
_PEEKED_BYTES = 1 << 20
_SESSION_TAG = "_hparams_/session_start_info"


class EventFile(NamedTuple):
    """An event file as a directory listing shows it. `path` opens it."""

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(slots=True)
class LogTree:
    """The event files below `root`: directory → name → file, both in order.

    `root` and the directories are absolute paths without links.

    `runs` counts directories left out because they are runs of guildlite. `notices` are for people.
    """

    root: str
    directories: dict[str, dict[str, EventFile]] = field(default_factory=dict)
    runs: int = 0
    notices: list[str] = field(default_factory=list)


class Contents(NamedTuple):
    """What the beginnings of a directory's files hold: scalar tags, whether there is anything else,
    and whether a session of HParams starts."""

    scalars: frozenset[str]
    others: bool
    session: bool

    def __bool__(self) -> bool:
        return bool(self.scalars or self.others)


def find_event_files(root: str) -> LogTree:
    """List the event files below `root`; links are not followed. Never raises.

    A file is an event file when its name contains `tfevents`, as for TensorBoard. The projector's
    configuration beside one counts as another.
    """
    tree = LogTree(os.path.realpath(root))
    found: dict[str, dict[str, EventFile]] = {}
    waiting = [tree.root]
    while waiting:
        path = waiting.pop()
        entries = _entries(tree, path)
        if path != tree.root and any(entry.name == OWN_DIR for entry in entries):
            tree.runs += 1
            continue
        files: dict[str, EventFile] = {}
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in (OWN_DIR, TRASH_DIR):
                    waiting.append(entry.path)
            elif entry.is_symlink():
                _notice_link(tree, entry)
            elif _is_wanted(entry.name) and entry.is_file(follow_symlinks=False):
                files.update(_stat(entry))
        if any(map(is_event_file, files)):
            found[path] = files
    tree.directories = {
        path: {name: found[path][name] for name in sorted(found[path])} for path in sorted(found)
    }
    return tree


def _entries(tree: LogTree, path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except FileNotFoundError:
        return []  # gone since its parent was listed
    except OSError as error:
        tree.notices.append(f"`{path}` cannot be listed: {error.strerror}")
        return []


def _is_wanted(name: str) -> bool:
    return is_event_file(name) or name == PROJECTOR_CONFIG


def _notice_link(tree: LogTree, entry: os.DirEntry[str]) -> None:
    if is_event_file(entry.name) or os.path.isdir(entry.path):
        tree.notices.append(f"`{entry.path}` is a symbolic link and is not followed")


def _stat(entry: os.DirEntry[str]) -> Iterator[tuple[str, EventFile]]:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return  # gone since it was listed
    yield (
        entry.name,
        EventFile(entry.path, status.st_size, status.st_mtime_ns, status.st_ctime_ns),
    )


def peek(files: Collection[EventFile]) -> Contents:
    """Return what the beginnings of a directory's event files hold; never raises."""
    tags: set[str] = set()
    others = session = False
    for file in files:
        for value in islice(_values(file.path), _PEEKED_RECORDS):
            if isinstance(value, ScalarValue):
                tags.add(value.tag)
            elif isinstance(value, OtherValue):
                others = True
                session = session or value.tag == _SESSION_TAG
    return Contents(frozenset(tags), others, session)


def _values(path: str) -> Iterator[object]:
    decoder = EventDecoder()
    try:
        with open_regular(path) as file:
            reader = RecordReader(file)
            while reader.offset < _PEEKED_BYTES:
                try:
                    payload = reader.read()
                except BadPayload:
                    continue
                if payload is None:
                    return
                try:
                    yield from decoder.decode(payload)
                except UnreadableEvent:
                    continue
    except (OSError, BadFraming):
        return  # whoever reads the file says so


def group(
    tree: LogTree, look: Callable[[str], Contents], known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return each directory's home: the directory of the run it belongs to.

    The home of a run need not have event files itself. `look` says what a directory holds and is
    asked only where a name does not decide. `known` are homes that are settled already, of
    directories that were imported before; they may lie outside of the tree.
    """
    return _Grouping(tree, look, known or {}).homes()


class _Grouping:
    def __init__(
        self, tree: LogTree, look: Callable[[str], Contents], known: Mapping[str, str]
    ) -> None:
        self._root = tree.root
        self._directories = tree.directories.keys()
        self._known = known
        self._look = cache(look)
        self._children: dict[str, list[str]] = {}
        for path in self._directories:
            self._children.setdefault(os.path.dirname(path), []).append(path)

    def homes(self) -> dict[str, str]:
        homes: dict[str, str] = {}
        # Parents come before their children.
        for path in sorted(self._directories, key=lambda path: path.count(os.sep)):
            owner = self._known.get(path) or self._owner(path) or path
            homes[path] = homes.get(owner, owner)
        return homes

    def _owner(self, path: str) -> str | None:
        """Return the directory whose run takes `path` in, None when it is a run itself."""
        if path == self._root:
            return None
        above = [each for each in self._ancestors(path) if each in self._directories]
        for ancestor in above:
            if self._is_of_add_scalars(ancestor, path):
                return ancestor
        if self._is_phase(path):
            return os.path.dirname(path)
        return self._owner_by_hparams(path, above) if above else None

    def _ancestors(self, path: str) -> Iterator[str]:
        """Yield the directories above `path`, the nearest first, the root last."""
        while path != self._root:
            path = os.path.dirname(path)
            yield path

    def _is_phase(self, path: str) -> bool:
        """Tell `train` beside `validation`, or alone, from a run somebody called `train`."""
        parent = os.path.dirname(path)
        if not _has_phase_name(path):
            return False
        siblings = self._children[parent]
        phases = sum(map(_has_phase_name, siblings))
        return parent in self._directories or phases > 1 or len(siblings) == 1

    def _is_of_add_scalars(self, ancestor: str, path: str) -> bool:
        contents = self._look(path)
        if len(contents.scalars) != 1 or contents.others:
            return False
        (tag,) = contents.scalars
        below = os.path.relpath(path, ancestor)
        # PyTorch makes one name of tag and name, tensorboardX directories.
        starts = (f"{tag.replace('/', '_')}_", f"{tag}_", f"{tag}/")
        return any(len(below) > len(start) and below.startswith(start) for start in starts)

    def _owner_by_hparams(self, path: str, above: Sequence[str]) -> str | None:
        if not self._look(path).session:
            return next((each for each in above if self._look(each).session), None)
        owner = self._look(above[0])
        sessions = [each for each in self._children.get(above[0], ()) if self._look(each).session]
        return above[0] if sessions == [path] and owner and not owner.session else None


def _has_phase_name(path: str) -> bool:
    return os.path.basename(path).lower() in PHASES

"""A log directory of our own making: links to the event files of runs that are sound.

One bad file makes TensorBoard stumble for all runs: a record that claims 1 TiB ends its data
server, a pipe that nobody writes to stops it for ever. So it is never given a run directory but
a folder with a link for each event file that was read without finding damage, as run.db says.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from guildlite.cache import cache_dir
from guildlite.errors import RunUnreadable
from guildlite.platform import FileLock
from guildlite.runs import Run
from guildlite.runs.media import LOGDIR_ATTR, logdir_path

#: TensorBoard shows embeddings whose description lies beside an event file.
PROJECTOR_CONFIG = "projector_config.pbtxt"
_KIND = "tfevents"
_LOCK = "lock"

_Stamp = tuple[tuple[int, int, int], ...]


class EventLinks:
    """One such folder in the user's cache; for one thread at a time.

    runs: gives the runs that may be in it now.

    Folders whose owner is gone are removed when the next one is made. Raises OSError where the
    cache cannot be written.
    """

    def __init__(self, runs: Callable[[], Iterable[Run]]) -> None:
        self._runs = runs
        self._links: dict[str, str] = {}
        self._known: dict[str, tuple[_Stamp, _EventFiles]] = {}
        place = cache_dir() / "tensorboard"
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_abandoned(place)
        self._home = Path(tempfile.mkdtemp(dir=place))
        self._lock = FileLock(self._home / _LOCK)
        self._lock.try_acquire()
        self.folder = self._home / "runs"
        self.folder.mkdir()

    @property
    def empty(self) -> bool:
        """Whether no run had anything to show at the last `refresh`."""
        return not self._links

    def refresh(self) -> None:
        """Link what is new, drop what is gone or was found damaged. Raises nothing of a run's."""
        wanted: dict[str, str] = {}
        known: dict[str, tuple[_Stamp, _EventFiles]] = {}
        for run in self._runs():
            found = self._event_files(run)
            if found is not None:
                known[run.id] = found
                wanted.update(_links_of(run, found[1]))
        self._known = known
        self._replace(wanted)

    def close(self) -> None:
        """Remove the folder. The links only, never what they lead to."""
        shutil.rmtree(self._home, ignore_errors=True)
        self._lock.release()

    def _event_files(self, run: Run) -> tuple[_Stamp, _EventFiles] | None:
        """Return what run.db says of a run's event files, read anew when it changed."""
        stamp = _stamp(run)
        known = self._known.get(run.id)
        if known is not None and known[0] == stamp:
            return known
        if run.error is not None:
            return None
        try:
            with run.read() as reader:
                return stamp, _EventFiles(reader.sources(), reader.attrs().get(LOGDIR_ATTR))
        except RunUnreadable:
            return None

    def _replace(self, wanted: dict[str, str]) -> None:
        for name in [name for name in self._links if self._links[name] != wanted.get(name)]:
            self._unlink(name)
        for name, target in wanted.items():
            if name not in self._links:
                self._link(name, target)

    def _unlink(self, name: str) -> None:
        del self._links[name]
        place = self.folder / name
        try:
            place.unlink()
            # A folder may have to make room for a link of the same name.
            for folder in place.relative_to(self.folder).parents[:-1]:
                (self.folder / folder).rmdir()
        except OSError:
            pass  # the folder still holds others

    def _link(self, name: str, target: str) -> None:
        place = self.folder / name
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(target)
        except OSError:
            return  # tried again at the next look
        self._links[name] = target


class _EventFiles:
    """The event files of one run, by their names below it.

    An imported run has them where they were: `logdir` leads there.
    """

    def __init__(
        self, sources: Iterable[tuple[str, str, int, str | None]], logdir: str | None
    ) -> None:
        self.root = logdir_path(logdir) if logdir else None
        read = [
            (path, damage)
            for path, kind, _, damage in sources
            if kind == _KIND and not path.startswith("/") and ".." not in path.split("/")
        ]
        self.damaged = {path for path, damage in read if damage is not None}
        self.sound = {path for path, damage in read} - self.damaged
        self.folders = sorted({path.rpartition("/")[0] for path in self.sound})


def _links_of(run: Run, files: _EventFiles) -> Iterator[tuple[str, str]]:
    """Yield (name in the log directory, target) for one run."""
    root = os.path.abspath(files.root or run.path)
    whole: list[str] = []
    for folder in files.folders:
        if any(_is_below(folder, other) for other in whole):
            continue
        # The files of an embedding must lie below their description even once links are followed.
        config = os.path.join(root, folder, PROJECTOR_CONFIG)
        damaged = any(_is_below(path, folder) for path in files.damaged)
        if not damaged and _is_readable_file(config):
            whole.append(folder)
            yield f"{run.id}/{folder}".rstrip("/"), os.path.join(root, folder).rstrip("/")
    for path in sorted(files.sound):
        target = os.path.join(root, path)
        if not any(_is_below(path, folder) for folder in whole) and _is_readable_file(target):
            yield f"{run.id}/{path}", target


def _is_below(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(f"{folder}/")


def _is_readable_file(path: str) -> bool:
    """Whether this is a regular file, no link and no pipe, that may be read."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode) and os.access(path, os.R_OK)
    except (OSError, ValueError):
        return False


def _stamp(run: Run) -> _Stamp:
    """Return what changes whenever something is committed to the run's run.db."""
    stamp = []
    for path in (str(run.paths.db), f"{run.paths.db}-wal"):
        try:
            facts = os.stat(path)
        except OSError:
            continue
        stamp.append((facts.st_mtime_ns, facts.st_size, facts.st_ino))
    return tuple(stamp)


def _remove_abandoned(place: Path) -> None:
    """Remove folders of viewers that were killed: their locks are free."""
    for home in place.iterdir():
        lock = FileLock(home / _LOCK)
        try:
            # One without a lock file is being made right now.
            if (home / _LOCK).exists() and lock.try_acquire():
                shutil.rmtree(home, ignore_errors=True)
        except OSError:
            continue
        finally:
            lock.release()

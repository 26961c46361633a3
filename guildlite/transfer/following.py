"""Log directories seen through the viewer: imported into the user's cache, and followed there.

The cache has a runs root for each set of log directories, which may be deleted at any time. A
thread imports what is there and looks again for what is new, as long as the viewer runs.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from guildlite.cache import cache_dir
from guildlite.errors import GuildliteError
from guildlite.platform import ProcessIdentity
from guildlite.transfer.imports import GROWN, NEW, Importer

#: A look costs a stat for each file and a listing for each directory. It comes twice a second, or
#: so seldom that looking takes a twentieth of a core.
LOOK_EVERY_S = 0.5
_SHARE = 20


class Following:
    """The runs of `logdirs`, kept current while the context lasts; `tell` gets each notice once.

    `directory` has them in its `runs`.
    """

    def __init__(self, logdirs: Sequence[Path], tell: Callable[[str], None]) -> None:
        self._logdirs = sorted({Path(os.path.realpath(one)) for one in logdirs})
        self._tell = tell
        self._told: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="import", daemon=True)

    @property
    def directory(self) -> Path:
        """The directory of the viewer, the same for the same log directories."""
        told = "\0".join(map(str, self._logdirs))
        digest = hashlib.blake2b(os.fsencode(told), digest_size=8).hexdigest()
        return cache_dir() / "logdirs" / digest

    @property
    def name(self) -> str:
        """What people call the log directories."""
        first = self._logdirs[0].name or str(self._logdirs[0])
        more = len(self._logdirs) - 1
        return f"{first} and {more} more" if more else first

    def __enter__(self) -> Following:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        # The import of one large run may take longer; killed, it is finished by the next.
        self._thread.join(5)

    def _run(self) -> None:
        importer = Importer(self.directory / "runs", follower=ProcessIdentity.of(os.getpid()))
        try:
            pause_s = 0.0
            while not self._stop.wait(pause_s):
                begun = time.monotonic()
                news = self._look(importer)
                idle_s = 0.0 if news else time.monotonic() - begun
                pause_s = max(LOOK_EVERY_S, _SHARE * idle_s)
        finally:
            importer.close()

    def _look(self, importer: Importer) -> bool:
        """Import what is new and return whether there was anything."""
        try:
            report = importer.look(self._logdirs, stop=self._stop.is_set)
        except GuildliteError as error:
            self._tell_once(error.message)
            return False
        except Exception as error:  # the viewer goes on with what it has
            self._tell_once(f"following is interrupted: {type(error).__name__}: {error}")
            return False
        for notice in report.all_notices():
            self._tell_once(notice)
        return any(outcome.state in (NEW, GROWN) for outcome in report.outcomes)

    def _tell_once(self, notice: str) -> None:
        if notice not in self._told:
            self._told.add(notice)
            self._tell(notice)

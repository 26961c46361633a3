"""What is looked up once, after the script started: hardware, packages, git.

Each takes its time, so they are looked up on a thread of their own, which a hung repository keeps
from nothing else.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from guildlite.runs.paths import RunPaths
from guildlite.series import Reading

#: How long the end of a run may wait for git.
GIT_TIMEOUT_S = 10.0


class LateFacts:
    """Attributes of a run's surroundings, by its manifest; the changes since the commit as a file.

    Begins with its construction. Never raises: what cannot be looked up becomes a notice.
    """

    def __init__(self, paths: RunPaths, manifest: Mapping[str, object]) -> None:
        self._paths, self._manifest = paths, manifest
        self._found: deque[Reading] = deque()
        self._thread = threading.Thread(target=self._run, name="facts", daemon=True)
        self._thread.start()

    def take(self) -> list[Reading]:
        """Return what was found since the last call; never waits."""
        readings = []
        while self._found:
            readings.append(self._found.popleft())
        return readings

    def done(self) -> bool:
        """Return whether everything was looked up, and no helper program runs any more."""
        return not self._thread.is_alive()

    def join(self) -> None:
        """Wait for the rest, which takes `GIT_TIMEOUT_S` at most."""
        self._thread.join(GIT_TIMEOUT_S + 1)

    def _run(self) -> None:
        for look in (self._hardware, self._packages, self._git):
            try:
                self._found.append(look())
            except Exception as error:
                name = look.__name__.strip("_")
                text = f"{name} could not be recorded: {type(error).__name__}: {error}"
                self._found.append(Reading(notices=[text]))

    def _hardware(self) -> Reading:
        from guildlite.collect.facts import read_hardware

        return Reading(attrs=read_hardware())

    def _packages(self) -> Reading:
        from guildlite.collect.facts import list_packages

        directories = [Path(str(one)) for one in _list(self._manifest.get("site_packages"))]
        packages = [f"{name}=={version}" for name, version in list_packages(directories)]
        return Reading(attrs={"packages": json.dumps(packages)} if packages else {})

    def _git(self) -> Reading:
        from guildlite.collect.facts import read_git

        directory = str(self._manifest.get("directory", ""))
        git = read_git(Path(directory), GIT_TIMEOUT_S) if directory else None
        if git is None:
            return Reading()
        if git.diff:
            self._paths.sources.mkdir(exist_ok=True)
            self._paths.git_diff.write_bytes(git.diff)
        attrs = {
            "git.commit": git.commit,
            "git.branch": git.branch,
            "git.dirty": str(git.dirty).lower(),
            "git.remote": git.remote or "",
            "git.untracked": json.dumps(list(git.untracked)) if git.untracked else "",
        }
        kept = {name: value for name, value in attrs.items() if value}
        return Reading(attrs=kept, notices=list(git.notices))


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()

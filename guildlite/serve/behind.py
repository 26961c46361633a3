"""A prediction server behind the viewer, executed as a file.

Standard input brings one line of JSON, `{"secret", "fd", "run_dir", "name", "uid", "file",
"predictor", "folder"}`: what must not be in an argument, which every user of the machine can read,
the listening socket to serve on, and what `gl serve` would serve. Then it stays open for as long as
whoever started this lives. Its end, however that came about, ends this process.

It answers only requests that carry the secret: a port on loopback is open to everybody. Nothing
here grants trust to a run.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from pathlib import Path


def command() -> list[str]:
    """Return the command that executes this file."""
    return [sys.executable, __file__]


def main() -> int:
    words = json.loads(sys.stdin.buffer.readline())
    # From here on even an import that hangs ends with the viewer.
    threading.Thread(target=_end_with_owner, daemon=True).start()
    from guildlite.errors import GuildliteError
    from guildlite.http.behind import READY, REFUSED
    from guildlite.serve.command import Source, serve_behind

    source = Source(
        run_dir=Path(words["run_dir"]),
        name=words["name"],
        uid=words["uid"],
        file=words["file"],
        predictor=words["predictor"],
        folder=Path(words["folder"]),
    )
    try:
        return serve_behind(
            source,
            socket.socket(fileno=words["fd"]),
            secret=words["secret"],
            on_ready=lambda: _say(READY),
            out=_say,
        )
    except GuildliteError as error:
        _say(f"error: {error.message}")
        if error.hint:
            _say(f"hint: {error.hint}")
        return REFUSED


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _end_with_owner() -> None:
    # Not through `sys.stdin`, whose lock this thread would hold while the interpreter ends.
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    # This folder has modules named as others'; what is needed is the package above it.
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    sys.exit(main())
